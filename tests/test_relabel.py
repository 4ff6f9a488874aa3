"""Stored rows of one quadruped as another would have shown and paid them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier import rollout
from skillhier.data import replay
from skillhier.envs import registry
from skillhier.policies import open_loop

ROWS, LIMIT = 60, 50  # rows; control steps of an episode
WALK, REACH, COVE = (f"dmc.quadruped_{name}" for name in ("walk_upright", "reach_upright", "obstacles_cove"))


@functools.cache
def rows(name: str, repeat: int = 1, **settings):
    """Rows of random actions as a replay stores them, [ROWS, 2, ...] on the host; the same seed for every world."""
    env = registry.make(name, worlds=2, engine="native", limit=LIMIT, repeat=repeat, **settings)
    policy, key = open_loop.uniform(env.spec.action), jax.random.key(0)
    run = jax.jit(lambda: rollout.rollout(env, policy, (), rollout.start(env, policy, key), key, ROWS)[1])
    return jax.device_get(replay.make(ROWS, env.spec).frames(run()))


def relabelled(name, step, **settings):
    return jax.device_get(jax.jit(registry.relabelling(name, engine="native", **settings))(step))


def test_rows_relabelled_for_their_own_world_are_what_they_were():
    step = rows(WALK).step
    assert (step.reward > 0).any() and step.first.sum() == 4
    again = relabelled(WALK, step)
    for name, entry in step.obs.items():
        np.testing.assert_allclose(again.obs[name], entry, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(again.reward, step.reward, atol=1e-6)
    for name in ("discount", "first", "last"):
        np.testing.assert_array_equal(getattr(again, name), getattr(step, name))


def test_walking_rows_relabelled_for_reaching_are_rows_of_reaching_and_back():
    """The same key draws the same start and target, and a target changes no motion."""
    walked, reached = rows(WALK).step, rows(REACH).step
    for name, told, wanted in ((REACH, walked, reached), (WALK, reached, walked)):
        now = relabelled(name, told)
        for entry, value in wanted.obs.items():
            np.testing.assert_allclose(now.obs[entry], value, atol=1e-5, err_msg=entry)
        np.testing.assert_allclose(now.reward, wanted.reward, atol=1e-6)
        assert not np.allclose(now.reward, told.reward)
        assert not np.allclose(now.obs["target_position"], told.obs["target_position"])


def test_a_target_that_every_episode_has_is_where_it_is_whatever_the_rows_say():
    step = rows(WALK).step
    now = relabelled(COVE, step, goal=5.0, sparse=False)
    np.testing.assert_array_equal(now.obs["task.target"][..., :2], np.broadcast_to([5.0, 0.0], (ROWS, 2, 2)))
    away = np.linalg.norm(now.obs["target_position"], axis=-1)
    there = np.linalg.norm(now.obs["task.target"] - step.obs["task.torso"], axis=-1)
    np.testing.assert_allclose(away, there, rtol=1e-5)
    assert (now.reward > 0).any() and (relabelled(COVE, step).reward == 0).all()  # sparse: nobody has arrived


def test_settings_of_the_world_hold():
    step = rows(WALK).step
    slow, fast = (relabelled(WALK, step, speed=speed).reward for speed in (0.1, 10.0))
    ahead = (step.obs["task.velocity"][..., 0] > 0) & ~step.first
    assert (slow > fast)[ahead].all() and (slow < fast)[~ahead & ~step.first].any()


@pytest.mark.parametrize(("repeat", "least", "most"), [(2, 0.03, 0.12), (4, 0.12, 0.4)])
def test_with_repeated_actions_the_reward_is_that_of_the_last_state_as_often(repeat, least, most):
    """How far that is from the sum that was paid, on rows of random actions: 6 % of it on average, 24 % with four."""
    step = rows(WALK, repeat).step
    now = relabelled(WALK, step, repeat=repeat)
    once = relabelled(WALK, step).reward
    np.testing.assert_allclose(now.reward, repeat * once, rtol=1e-6)
    off = np.abs(now.reward - step.reward)[~step.first]
    share = off.mean() / step.reward[~step.first].mean()
    assert least < share < most
    assert (now.reward[step.first] == 0).all()


@pytest.mark.parametrize("name", ["dmc.walker_walk", f"{WALK}@pixels", "gymnasium:Pendulum-v1", "sawyer.pyramid.set1"])
def test_a_world_whose_rows_do_not_show_its_reward_says_so(name):
    with pytest.raises(ValueError, match="^[^\n]*$") as caught:
        registry.relabelling(name)
    assert str(caught.value).startswith(f"what '{name}' pays cannot be computed from stored rows; of dmc.quadruped_{{")


def test_a_relabelling_needs_the_entries_that_the_reward_is_computed_from():
    step = rows(WALK).step
    bare = step._replace(obs={k: v for k, v in step.obs.items() if k != "task.torso"})
    with pytest.raises(KeyError, match="task.torso"):
        relabelled(REACH, bare)


def test_a_relabelling_is_a_pure_function_under_vmap():
    step = jax.tree.map(jnp.asarray, rows(WALK).step)
    one = registry.relabelling(REACH, engine="native")
    whole, cut = one(step), jax.vmap(one, in_axes=1, out_axes=1)(step)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, cut)
