"""Faults made on purpose in a run that acts and learns: bad rewards, worlds that fly apart, bad batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faulty import regression

from skillhier.data import online, replay
from skillhier.envs import registry
from skillhier.policies.open_loop import constant
from skillhier.train import loop

WORLD = "sawyer.stack_red_on_blue.set4"
SETTINGS = {"worlds": 2, "engine": "native", "limit": 12, "starts": 8}


@pytest.fixture(scope="module")
def env():
    return registry.make(WORLD, **SETTINGS)


def running(env, rows=200, patience=50):
    """(epoch of 5 updates, state) of a learner of rewards, from a replay of real worlds."""
    memory = replay.make(rows, env.spec)
    source = online.online(
        env,
        constant(jnp.zeros(5)),
        memory,
        unroll_length=2,
        batch_size=8,
        sequence_length=3,
        prefill=6,
        success="task.success",
    )
    learner = regression(patience)
    return loop.epoch(learner, source, 5), loop.start(learner, source, jax.random.key(0))


def sound(state) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.learner.params, state.learner.opt)))


@pytest.mark.parametrize("velocity", [1e8, np.nan])
def test_a_world_that_flies_apart_is_opened_anew_and_counted_and_reaches_no_learner(env, velocity):
    run_epoch, state = running(env)
    state, before, _ = run_epoch(state)
    assert before["episodes/broken"] == 0 or np.isnan(before["episodes/broken"])
    data = state.source.actor.env.data
    thrown = data._replace(state=data.state._replace(qvel=data.state.qvel.at[1].set(velocity)))
    actor = state.source.actor._replace(env=state.source.actor.env._replace(data=thrown))
    state, told, _ = run_epoch(state._replace(source=state.source._replace(actor=actor)))
    assert told["episodes/broken"] > 0 and told["total/episodes"] > 0
    rows = state.source.replay.rows
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(rows))
    opened = np.asarray(rows.step.first & ~jnp.roll(rows.step.last, 1, axis=0))[1 : int(state.source.replay.filled)]
    assert opened[:, 1].sum() == 1 and opened[:, 0].sum() == 0  # its neighbour noticed nothing
    assert sound(state) and int(state.learner.health.skipped) == 0


def test_a_reward_that_is_no_number_costs_the_updates_that_meet_it_and_no_more(env):
    """The row stays in the replay, so batches meet it now and then, until the ring has turned."""
    run_epoch, state = running(env, rows=24)
    state, _, _ = run_epoch(state)
    kept = state.source.replay
    head = (int(kept.head) - 1) % 24
    reward = kept.rows.step.reward.at[head, 0].set(jnp.nan)
    spoiled = kept._replace(rows=kept.rows._replace(step=kept.rows.step._replace(reward=reward)))
    state = state._replace(source=state.source._replace(replay=spoiled))
    skipped = []
    for _ in range(6):  # 60 rows: the ring turns twice
        state, told, _ = run_epoch(state)
        skipped.append(int(state.learner.health.skipped))
        assert sound(state) and np.isfinite(told["learner/loss"])
    assert 0 < skipped[0] < 5 + 1 and skipped[-1] == skipped[3] < 30  # met, then forgotten
    assert not state.learner.health.stuck


def test_a_learner_that_meets_nothing_but_bad_numbers_stops_with_its_batch(env):
    run_epoch, state = running(env, patience=3)
    kept = state.source.replay
    reward = jnp.full_like(kept.rows.step.reward, jnp.nan)
    spoiled = kept._replace(rows=kept.rows._replace(step=kept.rows.step._replace(reward=reward)))
    state = state._replace(source=state.source._replace(replay=spoiled))
    with pytest.raises(loop.NonFiniteError) as found:
        loop.run(state, run_epoch, budget=50, updates=5)
    assert found.value.done <= 15 and np.isnan(found.value.suspect.batch.step.reward).any()
