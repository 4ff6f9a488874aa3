"""Our worlds behind brax's interface, under brax's own wrappers."""

import counting_worlds
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax import envs
from brax.envs.wrappers import training

from skillhier.envs import adapters, registry
from skillhier.rollout import rollout, start
from skillhier.types import Policy

PENDULUM = "dmc.pendulum_swingup"


def test_one_world_by_hand():
    """Observations in the order of their names: sum, then where; the privileged entry is not among them."""
    env = adapters.to_brax(counting_worlds.make(1, offset=1)._replace(spec=without_pictures()))
    assert isinstance(env, envs.Env)
    assert (env.observation_size, env.action_size) == (4, 2)
    state = env.reset(jax.random.PRNGKey(0))
    assert state.obs.tolist() == [0, 0, 0, 0] and state.reward == 0 and state.done == 0
    for t in (1, 2, 3):
        state = env.step(state, jnp.array([0.5, -0.5]))
        assert state.obs.tolist() == [0.5 * t, -0.5 * t, 0, t]
        assert (state.reward, state.done, state.metrics["broken"]) == (t, float(t == 3), 0)


def test_actions_beyond_the_bounds_are_those_at_the_bounds():
    """The counting world adds up what it is handed, without bounds of its own."""
    env = adapters.to_brax(counting_worlds.make(1), flat=False)
    state = env.step(env.reset(jax.random.PRNGKey(0)), jnp.array([1e3, -1e3]))
    assert state.obs["sum"].tolist() == [[1, -1]]


def test_entries_by_name():
    env = adapters.to_brax(counting_worlds.make(1), flat=False)
    state = env.reset(jax.random.key(0))  # typed keys are welcome too
    assert env.observation_size == {"hidden": (1, 1), "picture": (1, 2, 2, 3), "sum": (1, 2), "where": (1, 2)}
    assert {k: v.shape for k, v in state.obs.items()} == env.observation_size


def test_a_broken_world_is_done_and_shows_the_last_sound_observation():
    env = adapters.to_brax(counting_worlds.make(1, offset=2), flat=False)
    state = env.reset(jax.random.PRNGKey(0))
    for _ in range(3):
        state = env.step(state, jnp.ones(2))
    assert (state.done, state.reward, state.metrics["broken"]) == (1, 0, 1)
    assert state.obs["where"].tolist() == [[0, 2]] and state.obs["sum"].tolist() == [[2, 2]]


def without_pictures():
    spec = counting_worlds.make(1).spec
    return spec._replace(obs={k: v for k, v in spec.obs.items() if k != "picture"})


def test_wrong_use_is_one_line():
    for wrong, said in (
        (lambda: adapters.to_brax(counting_worlds.make(1)), "flat=False"),
        (lambda: adapters.to_brax(counting_worlds.make(2)), "one world"),
        (lambda: adapters.to_brax(PENDULUM, limit=10), "episode_length"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            wrong()
        assert "\n" not in str(caught.value)


def test_under_all_of_braxs_wrappers():
    """Four pendulums, cut after 5 steps by brax, opened again by brax: the same rows as in our own rollout."""
    env = adapters.to_brax(PENDULUM)
    assert env.episode_length == 1000 and env.backend == "native" and env.dt == pytest.approx(0.02)
    wrapped = training.EvalWrapper(training.wrap(env, episode_length=5))
    keys = jax.random.split(jax.random.PRNGKey(3), 4)
    state = jax.jit(wrapped.reset)(keys)
    assert state.obs.shape == (4, env.observation_size)
    dice = np.random.default_rng(0)
    actions = dice.uniform(-1, 1, (5, 4, env.action_size)).astype(np.float32)
    opened = np.asarray(state.obs)
    rows = [opened]
    step = jax.jit(wrapped.step)
    for t in range(5):
        state = step(state, actions[t])
        rows.append(np.asarray(state.obs))
        assert state.done.tolist() == [float(t == 4)] * 4
        assert state.info["truncation"].tolist() == [float(t == 4)] * 4
    np.testing.assert_array_equal(rows[5], opened)  # brax opens where it opened first
    assert state.info["eval_metrics"].episode_steps.tolist() == [5] * 4
    state = step(state, actions[0])
    np.testing.assert_allclose(state.obs, rows[1], atol=1e-5)

    played = Policy(lambda worlds: jnp.zeros((), jnp.int32), lambda p, t, step, key: (t + 1, p[t][None], {}))
    one = registry.make(PENDULUM)
    for world in range(4):
        opening = start(one, played, jax.random.wrap_key_data(keys[world]))
        _, seen = rollout(one, played, jnp.asarray(actions[:, world]), opening, jax.random.key(0), 5)
        mine = np.concatenate([np.asarray(v).reshape(5, -1) for _, v in sorted(seen.step.obs.items())], 1)
        np.testing.assert_allclose(mine, np.stack(rows[:5])[:, world], atol=1e-4)
