"""On-policy batches are one long rollout, cut: every transition once, with the params of its time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counters import NOISE, counters
from faulty import regression
from leftovers import same

from skillhier import rollout
from skillhier.data import on_policy, online, replay
from skillhier.train import loop
from skillhier.types import Policy

LENGTHS = (1, 2, 9)
T = 5


def make(env=None, policy=NOISE, **settings):
    return on_policy.on_policy(counters(LENGTHS) if env is None else env, policy, unroll_length=T, **settings)


def batches(source, count, params=()):
    state, results = jax.jit(source.init)(jax.random.key(1)), []
    for key in jax.random.split(jax.random.key(2), count):
        state, batch, metrics = jax.jit(source.next)(state, params, key)
        results.append((batch, metrics))
    return state, results


def test_batches_are_one_rollout_and_each_ends_with_the_row_that_the_next_begins_with():
    env = counters(LENGTHS)
    state, results = batches(make(env), 4)
    actor = rollout.start(env, NOISE, jax.random.key(1))
    for at, key in enumerate(jax.random.split(jax.random.key(2), 4)):
        actor, rows = rollout.rollout(env, NOISE, (), actor, key, T)
        batch = results[at][0]
        assert all(len(leaf) == T + 1 for leaf in jax.tree.leaves(batch))
        assert same(jax.tree.map(lambda x: x[:T], batch), rows)
        assert same(jax.tree.map(lambda x: x[T], batch.step), actor.step)
        assert not np.any(batch.action[T]) and not np.any(batch.extras["seen"][T])
        if at:
            assert same(jax.tree.map(lambda x: x[0], batch.step), jax.tree.map(lambda x: x[T], results[at - 1][0].step))
    assert same(state.actor, actor)
    seen = np.concatenate([batch.extras["seen"][:T, 0] for batch, _ in results])
    assert seen.tolist() == list(range(4 * T))  # every row acted on once, by a policy that is never restarted


def test_the_policy_acts_with_the_params_of_this_update():
    policy = Policy(lambda worlds: (), lambda params, carry, step, key: (carry, jnp.full((3, 1), params), {}))
    state = jax.jit(make(policy=policy).init)(jax.random.key(0))
    for value in (0.5, 0.25):
        state, batch, _ = jax.jit(make(policy=policy).next)(state, jnp.float32(value), jax.random.key(1))
        assert (batch.action[:T] == value).all()


def test_it_counts_as_the_online_source_counts():
    """World 0 closes an episode every 2 rows, world 1 every 3, world 2 at row 9; row 21 breaks its second."""
    env = counters(LENGTHS, breaks=((2, 17),))
    env = env._replace(spec=env.spec._replace(success="told"))
    _, results = batches(make(env), 4)
    off_policy = online.online(
        env, NOISE, replay.make(40, env.spec, extras={}), unroll_length=T, batch_size=1, sequence_length=1, prefill=0
    )
    _, expected = batches(off_policy, 4)
    for (_, ours), (_, theirs) in zip(results, expected, strict=True):
        assert ours.keys() == theirs.keys() and "episodes/success" in ours
        assert jax.tree.map(float, ours) == pytest.approx(jax.tree.map(float, theirs), nan_ok=True)
    assert [int(metrics["total/env_steps"]) for _, metrics in results] == [15, 30, 45, 60]
    assert [int(metrics["total/episodes"]) for _, metrics in results] == [2 + 1, 5 + 3 + 1, 7 + 5 + 1, 10 + 6 + 2]
    assert float(results[-1][1]["episodes/broken"]) == pytest.approx(1 / 3)


def test_a_run_trains_on_it_and_a_second_epoch_compiles_nothing():
    traced = []
    source = make(counters(LENGTHS, traced=traced))
    run_epoch = loop.epoch(regression(), source, 4)
    state = loop.start(regression(), source, jax.random.key(0))
    state, metrics, _ = run_epoch(state)
    count = len(traced)
    state, metrics, _ = run_epoch(state)
    assert count and len(traced) == count and int(metrics["total/env_steps"]) == 8 * T * 3


def test_seeds_side_by_side_are_the_seeds_alone():
    source, keys = make(), jax.random.split(jax.random.key(7), 3)
    together = jax.jit(jax.vmap(source.init))(keys)
    together, batch, _ = jax.jit(jax.vmap(lambda state, key: source.next(state, (), key)))(together, keys)
    alone, batch_alone, _ = jax.jit(source.next)(jax.jit(source.init)(keys[1]), (), keys[1])
    second = lambda tree: jax.tree.map(lambda x: x[1], tree)  # noqa: E731
    assert same(second(together), alone) and same(second(batch), batch_alone)


def test_worlds_are_told_from_other_leaves():
    source = make()
    axes = source.worlds(jax.eval_shape(source.init, jax.random.key(0)))
    assert axes.actor.step.obs["count"] == 0 and axes.stats.total == 0 and axes.stats.rows == -1


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="^unroll_length must be >= 1, got 0; set train.unroll_length$"):
        on_policy.on_policy(counters(LENGTHS), NOISE, unroll_length=0)
