"""Actions that are trees of parts go through policies, rollouts, replay, sources and checkpoints as arrays do."""

import jax
import jax.numpy as jnp
import numpy as np
from leftovers import same
from parts_world import ACTION, parts_world

from skillhier import rollout
from skillhier.data import on_policy, online, replay
from skillhier.policies.open_loop import constant, uniform
from skillhier.train import checkpoint
from skillhier.types import Bounds

ENV = parts_world(3)


def rows(policy, length=50):
    actor = rollout.start(ENV, policy, jax.random.key(0))
    return jax.jit(lambda: rollout.rollout(ENV, policy, (), actor, jax.random.key(1), length)[1])()


def test_uniform_actions_fill_the_range_of_each_part():
    action = rows(uniform(ACTION), 500).action
    assert {name: part.shape for name, part in action.items()} == {"move": (500, 3, 2), "grip": (500, 3, 1)}
    for name, bounds in ACTION.items():
        drawn = np.asarray(action[name])
        assert bounds.low <= drawn.min() < bounds.low + 0.02 and bounds.high - 0.02 < drawn.max() <= bounds.high
    unit = np.concatenate([(action["move"] + 1) / 2, action["grip"] - 2], -1).reshape(-1, 3)
    assert np.abs(np.corrcoef(unit.T) - np.eye(3)).max() < 0.1  # 1500 draws: five standard errors are 0.13


def test_one_part_draws_what_it_always_drew():
    bounds, key = Bounds((2,), -1.0, 3.0), jax.random.key(7)
    step = rows(constant({"move": jnp.zeros(2), "grip": jnp.ones(1)}), 1).step
    first = jax.tree.map(lambda x: x[0], step)
    _, action, _ = uniform(bounds).act((), (), first, key)
    np.testing.assert_array_equal(action, jax.random.uniform(key, (3, 2), minval=-1.0, maxval=3.0))


def test_a_constant_action_may_have_parts():
    action = rows(constant({"move": jnp.array([0.5, -0.5]), "grip": jnp.array([2.5])})).action
    assert (action["move"] == jnp.array([0.5, -0.5])).all() and (action["grip"] == 2.5).all()
    assert action["move"].shape == (50, 3, 2) and action["grip"].shape == (50, 3, 1)


def test_the_replay_stores_and_samples_parts(tmp_path):
    memory = replay.make(20, ENV.spec)
    assert replay.bytes_per_row(ENV.spec) == 4 * 3 + 4 + 4 + 1 + 1 + 4 * 2 + 4
    source = online.online(
        ENV,
        uniform(ACTION),
        memory,
        unroll_length=4,
        batch_size=64,
        sequence_length=5,
        prefill=8,
        updates_per_collect=2,
    )
    state = jax.jit(source.init)(jax.random.key(0))
    for key in jax.random.split(jax.random.key(1), 5):
        state, batch, _ = jax.jit(source.next)(state, (), key)
    assert int(state.replay.filled) == 20
    assert batch.action["move"].shape == (5, 64, 2) and batch.action["grip"].shape == (5, 64, 1)
    done = np.concatenate([batch.action["move"], batch.action["grip"]], -1)[:-1]
    np.testing.assert_array_equal(batch.step.obs["x"][1:, :, 0], done)  # each row shows what was done on the one before
    saved = checkpoint.Checkpoints(tmp_path, rings=("replay",))
    saved.save(1, state)
    assert same(saved.restore(jax.jit(source.init)(jax.random.key(2))), state)
    saved.close()


def test_on_policy_batches_have_parts():
    source = on_policy.on_policy(ENV, uniform(ACTION), unroll_length=4)
    state = jax.jit(source.init)(jax.random.key(0))
    _, batch, _ = jax.jit(source.next)(state, (), jax.random.key(1))
    done = np.concatenate([batch.action["move"], batch.action["grip"]], -1)
    np.testing.assert_array_equal(batch.step.obs["x"][1:, :, 0], done[:-1])
    assert (done[-1] == 0).all()
