"""MuJoCo Playground's environments as worlds of ours: a stand-in of its interface by hand, and a real one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.envs import adapters, registry
from skillhier.envs.adapters import playground_to_env
from skillhier.policies.flat import sequence
from skillhier.rollout import rollout, start


class State(NamedTuple):
    """As mujoco_playground.State: data, obs, reward, done, metrics, info."""

    data: jax.Array
    obs: dict
    reward: jax.Array
    done: jax.Array
    metrics: dict
    info: dict


class Walk:
    """Counts its steps; ends when the sum of its actions passes 3, is timed out at -3, breaks at a NaN action."""

    action_size, dt = 1, 0.1

    def reset(self, key):
        start = jax.random.uniform(key)
        zero = jnp.zeros(())
        return State(zero, self.shown(zero, start), 0.0, zero, {}, {"start": start, "time_out": zero, "rng": key})

    def step(self, state, action):
        total = state.data + action[0]
        info = {**state.info, "time_out": (total < -3).astype(float)}
        done = (jnp.abs(total) > 3).astype(float)
        return State(total, self.shown(total, state.info["start"]), total * 2, done, state.metrics, info)

    def shown(self, total, start):
        return {"state": jnp.stack([total, start]), "privileged_state": total[None]}


def roll(env, actions, key):
    """Row by row, eager, so that each world may have actions of its own: [T, B]."""
    state, step = env.reset(key)
    rows = [step]
    for action in actions:
        state, step = jax.jit(env.step)(state, jnp.asarray(action, jnp.float32)[:, None])
        rows.append(step)
    return jax.device_get(jax.tree.map(lambda *x: jnp.stack(x), *rows))


def test_ends_cuts_and_breaks_by_hand():
    """Worlds 0: the clock; 1: an end; 2: a time-out of its own; 3: broken at the third step."""
    env = playground_to_env.wrapped(Walk(), worlds=4, limit=5, stack=2)
    assert env.spec.privileged == ("privileged_state",) and env.spec.interval == 0.1
    assert {k: v.shape for k, v in env.spec.obs.items()} == {"state": (2, 2), "privileged_state": (1, 1)}
    actions = np.array([[0.0, 1, -1, 0.25]] * 7)
    actions[2, 3] = np.nan
    rows = roll(env, actions, jax.random.key(0))
    f, t = False, True
    assert rows.first.T.tolist() == [
        [t, f, f, f, f, f, t, f],
        [t, f, f, f, f, t, f, f],
        [t, f, f, f, f, t, f, f],
        [t, f, f, t, f, f, f, f],
    ]
    assert rows.last.T.tolist() == [
        [f, f, f, f, f, t, f, f],
        [f, f, f, f, t, f, f, f],
        [f, f, f, f, t, f, f, f],
        [f, f, f, f, f, f, f, f],
    ]
    assert np.argwhere(rows.discount == 0).tolist() == [[4, 1]]  # the one true end
    assert rows.reward[:, 1].tolist() == [0, 2, 4, 6, 8, 0, 2, 4]
    assert np.isfinite(rows.obs["state"]).all()
    total, opened = rows.obs["state"][:, :, 0, 0], rows.obs["state"][:, :, 0, 1]
    assert total[:, 3].tolist() == [0, 0.25, 0.5, 0, 0.25, 0.5, 0.75, 1]
    assert rows.obs["state"][:, 3, 1, 0].tolist() == [0, 0, 0.25, 0, 0, 0.25, 0.5, 0.75]  # the older frame
    changes = (np.diff(opened, axis=0) != 0).T
    np.testing.assert_array_equal(changes, rows.first[1:].T)  # each episode has a start of its own


def test_actions_beyond_the_bounds_are_those_at_the_bounds():
    env = playground_to_env.wrapped(Walk(), worlds=2, limit=5)
    rows = roll(env, [[1e3, -1e3], [0.5, -0.5]], jax.random.key(0))
    np.testing.assert_array_equal(rows.obs["state"][:, :, 0, 0], [[0, 0], [1, -1], [1.5, -1.5]])


def test_repeats_are_paid_together():
    env = playground_to_env.wrapped(Walk(), worlds=1, limit=9, repeat=3)
    rows = roll(env, np.full((1, 1), 0.5), jax.random.key(0))
    assert env.spec.interval == pytest.approx(0.3)
    assert rows.reward[1, 0] == 2 * (0.5 + 1 + 1.5)


def test_one_program_and_the_same_rows_in_a_scan():
    env = playground_to_env.wrapped(Walk(), worlds=2, limit=5)
    policy = sequence(jnp.full((1, 1), 0.5))
    actor = start(env, policy, jax.random.key(1))
    _, seen = jax.jit(lambda actor: rollout(env, policy, {}, actor, jax.random.key(0), 12))(actor)
    rows = roll(env, np.full((11, 2), 0.5), jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, seen.step, rows)


def test_the_package_is_asked_for_by_name(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "mujoco_playground", None)
    with pytest.raises(ValueError, match="needs the extra 'playground'") as caught:
        adapters.from_playground("CartpoleBalance")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_real_one():
    """CartpoleBalance in two worlds: shapes, its own clock, and its own rows for one world stepped by hand."""
    playground = pytest.importorskip("mujoco_playground").registry
    env = registry.make("playground:CartpoleBalance", worlds=2, limit=4)
    assert env.spec.obs["observation"].shape == (1, 5) and env.spec.action == ((1,), -1.0, 1.0)
    assert env.spec.interval == pytest.approx(0.01)
    assert adapters.from_playground("CartpoleBalance").spec.limit == 1000
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 1)).astype(np.float32)
    policy = sequence(jnp.asarray(actions))
    key = jax.random.key(3)
    _, seen = jax.jit(lambda actor: rollout(env, policy, {}, actor, key, 7))(jax.jit(lambda: start(env, policy, key))())
    assert np.asarray(seen.step.last)[:, 0].tolist() == [False] * 4 + [True, False, False]
    assert np.asarray(seen.step.first)[:, 0].tolist() == [True] + [False] * 4 + [True, False]
    inner = playground.load("CartpoleBalance", config_overrides={"impl": "jax"})
    state = jax.jit(inner.reset)(jax.random.fold_in(jax.random.split(key, 2)[1], 0))
    step = jax.jit(inner.step)
    for t in range(4):
        np.testing.assert_allclose(seen.step.obs["observation"][t, 1, 0], state.obs, atol=1e-5)
        state = step(state, actions[t])
        assert seen.step.reward[t + 1, 1] == pytest.approx(float(state.reward), abs=1e-5)
    with pytest.raises(ValueError, match="no environment 'CartpoleBalanse'"):
        adapters.from_playground("CartpoleBalanse")
    with pytest.raises(ValueError, match="does not make"):
        adapters.from_playground("CartpoleBalance", gravity=3)
