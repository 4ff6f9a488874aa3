"""Every registered world keeps what the house promises of a world: shapes, limits, keys, one trace.

Sawyer's worlds are many names of few programs (the pair is data), so one of each program stands for them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier import rollout
from skillhier.envs import registry
from skillhier.types import Policy

WORLDS, LIMIT, ROWS = 2, 4, 11
SUITE = tuple(name for name in registry.names() if name.startswith("dmc.") and "@" not in name)
MAZES = tuple(f"antmaze.{maze}" for maze in registry.MAZES)
FETCH = tuple(f"fetch.{name}" for name in registry.FETCH)
SAWYER = tuple(f"sawyer.{task}.set{n}" for n in registry.SETS for task in ("stack_all", "pyramid"))


def made(name: str):
    few = dict(starts=8) if name.startswith("sawyer") else {}
    return registry.make(name, worlds=WORLDS, limit=LIMIT, engine="native", **few)


@pytest.mark.parametrize(
    "name",
    [*SUITE, *MAZES, *FETCH, "point.path", SAWYER[0], *(pytest.param(n, marks=pytest.mark.slow) for n in SAWYER[1:])],
)
def test_a_world_keeps_its_promises(name):
    """Reset and step under jit: traced once each; shapes are the spec's; finite; `last` at the limit; keys decide."""
    env, traces = made(name), []

    def act(params, carry, step, key):
        return carry, jax.random.uniform(key, (WORLDS, *env.spec.action.shape), minval=-1.0, maxval=1.0), {}

    policy = Policy(lambda worlds: (), act)
    counted = env._replace(step=lambda state, action: (traces.append(1), env.step(state, action))[1])
    start = jax.jit(lambda key: rollout.start(env, policy, key))
    go = jax.jit(lambda actor, key: rollout.rollout(counted, policy, None, actor, key, ROWS))

    actor, rows = go(start(jax.random.key(0)), jax.random.key(1))
    first, step = len(traces), rows.step
    assert {k: (ROWS, WORLDS, *v.shape) for k, v in env.spec.obs.items()} == {k: v.shape for k, v in step.obs.items()}
    assert {k: v.dtype for k, v in env.spec.obs.items()} == {k: v.dtype for k, v in step.obs.items()}
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(step))
    closes = np.arange(ROWS) % (LIMIT + 1) == LIMIT
    np.testing.assert_array_equal(step.last, np.tile(closes[:, None], WORLDS))
    np.testing.assert_array_equal(step.first[1:], step.last[:-1])
    np.testing.assert_array_equal(step.discount, 1)
    assert (step.reward <= 1).all() and (np.asarray(step.reward)[np.asarray(step.first)] == 0).all()

    again = go(start(jax.random.key(0)), jax.random.key(1))[1]
    for a, b in zip(jax.tree.leaves(step), jax.tree.leaves(again.step), strict=True):
        np.testing.assert_array_equal(a, b)
    other = go(start(jax.random.key(5)), jax.random.key(1))[1]
    assert any(not np.array_equal(step.obs[k], other.step.obs[k]) for k in env.spec.obs)

    go(actor, jax.random.key(2))  # goes on from where it stood, through resets
    assert len(traces) == first and go._cache_size() == start._cache_size() == 1


def test_names_that_stand_for_one_program_differ_in_data_only():
    one, two = (registry.make(f"dmc.walker_{t}", worlds=WORLDS, engine="native") for t in ("walk", "run"))
    state, action = one.reset(jax.random.key(0))[0], jnp.zeros((WORLDS, 6))
    for a, b in zip(*(jax.tree.leaves(env.step(state, action)[0].data) for env in (one, two)), strict=True):
        np.testing.assert_array_equal(a, b)
