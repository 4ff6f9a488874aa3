"""What the suite `imagination` counts: kernels in loops, operations of planning, rows, compile times."""

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmarks import imagination


def operations(**changes):
    of = imagination.prepare("lsp", "debug", **{f"agent__{name}": value for name, value in changes.items()})
    state = jax.eval_shape(of.agent.learner.init, jax.random.key(0))
    return imagination.operations(of, state, of.batch, jax.random.key(0))


def test_planning_counts_once_a_period_and_not_at_each_row():
    """Of 4 imagined rows a search begins at the first, or with skills of 2 rows at two of them."""
    searches = {
        period: operations(period=period, plan_horizon=2, iterations=2)
        - operations(period=period, plan_horizon=2, iterations=1)
        for period in (2, 4)
    }
    assert searches[2] == 2 * searches[4] > 0


def test_kernels_are_counted_in_the_bodies_of_loops():
    def program(x, w):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), x.sum()), x, None, length=5)

    text = jax.jit(program).lower(jnp.ones((64, 64)), jnp.ones((64, 64))).compile().as_text()
    (inside,) = imagination.loop_kernels(text)
    assert 2 <= inside <= 8  # a product, its tanh, a sum, and what writes them to their places
    assert imagination.loop_kernels(jax.jit(jnp.sin).lower(jnp.ones(3)).compile().as_text()) == []


def test_rows_a_second_are_those_of_learning_and_of_plans():
    of = imagination.prepare("lsp", "debug", agent__cem_starts=3)  # 16 starts, 4 rows; 4 plans, 2 iterations, 4 rows
    rows = {"learning_rows_per_second": 10.0 * 16 * 4, "planning_rows_per_second": 10.0 * 3 * 4 * 2 * 4}
    assert imagination.imagined(of, 10.0) == rows


def test_a_program_that_was_compiled_is_found_again_and_the_cache_stays_as_it_was():
    former = jax.config.jax_compilation_cache_dir
    x = jnp.ones(3)
    program, (cold, warm) = imagination.compiled(lambda: jax.jit(lambda x: jnp.linalg.svd(jnp.outer(x, x))).lower(x))
    assert program(x).S[0] == pytest.approx(3.0) and 0 < warm < cold
    assert jax.config.jax_compilation_cache_dir == former
