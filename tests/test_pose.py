"""Posing a world at what is seen: the state that would show it."""

import functools

import jax
import numpy as np
import pytest

from skillhier.envs import pose, registry
from skillhier.envs.render import viewer
from skillhier.policies import open_loop
from skillhier.rollout import rollout, start


@functools.cache
def visited(name):
    """(entries, records) of 60 rows of random actions in 4 worlds; leaves [T, B, ...]."""
    env = viewer.shown(registry.make(name, worlds=4))
    policy = viewer.unaware(open_loop.uniform(env.spec.action))
    rows = jax.jit(lambda key: rollout(env, policy, None, start(env, policy, key), key, 60)[1])(jax.random.key(0))
    obs = {k: np.asarray(v)[:, :, 0] for k, v in rows.step.obs.items() if k in env.spec.visible}
    return obs, jax.device_get(rows.step.obs[viewer.RECORD])


def posed(name, begin, row=None, scale=None, **changes):
    """The state that is found from the one at `begin` (t, b) for what was seen at `row`, with changes."""
    obs, records = visited(name)
    scale = scale or {k: v.std((0, 1)) for k, v in obs.items()}
    wanted = {k: v[row or begin] for k, v in obs.items()} | changes
    at = lambda row: jax.tree.map(lambda leaf: leaf[row], records)  # noqa: E731
    record = pose.poser(registry.task(name), scale)(at(begin), wanted)
    return np.asarray(record.state.qpos), at(row or begin).state.qpos, at(begin).state.qpos


@pytest.mark.parametrize("rows", [((10, 0), (50, 1)), ((55, 3), (20, 2))])
def test_everything_that_is_seen_comes_back(rows):
    cart = posed("dmc.cartpole_swingup", *rows)
    assert abs(cart[0][0] - cart[1][0]) < 1e-3
    assert abs(np.sin((cart[0][1] - cart[1][1]) / 2)) < 1e-3  # the pole, up to whole turns
    cheetah = posed("dmc.cheetah_run", *rows)
    np.testing.assert_allclose(cheetah[0][1:], cheetah[1][1:], atol=2e-3)


def test_what_is_not_seen_stays_where_it_was():
    """The cheetah's way along the track is no entry."""
    qpos, wanted, begin = posed("dmc.cheetah_run", (10, 0), (50, 1))
    assert abs(wanted[0] - begin[0]) > 0.01 and abs(qpos[0] - begin[0]) < 1e-3


def test_a_free_body_stays_on_its_place():
    """No entry of the ant says where it is: its joints come back, and it does not wander off."""
    for rows in (((10, 0), (50, 1)), ((55, 3), (20, 2))):
        qpos, wanted, begin = posed("antmaze.s", *rows)
        np.testing.assert_allclose(qpos[7:], wanted[7:], atol=2e-2)
        assert np.abs(qpos[:2] - begin[:2]).max() < 0.1


@pytest.mark.parametrize(("cosine", "angle"), [(1.0, np.pi / 4), (0.01, np.arccos(0.3))])
def test_entries_that_no_state_shows_are_come_as_near_to_as_can_be(cosine, angle):
    """.3 and .3 are cosine and sine of no angle: 45 degrees is nearest, or the one with that cosine if it counts more.

    cosine: its scale, beside a sine of scale 1.
    """
    scale = {"position": np.array([1.0, cosine, 1.0]), "velocity": np.ones(2)}
    wanted = np.array([0.5, 0.3, 0.3], np.float32)
    qpos, _, begin = posed("dmc.cartpole_swingup", (10, 0), scale=scale, position=wanted)
    assert abs(np.cos(qpos[1]) - np.cos(angle)) < 0.01  # the side is for the sine to say
    assert abs(qpos[0] - 0.5) < 0.01 < abs(begin[0] - 0.5)


def test_the_record_can_be_drawn():
    obs, records = visited("dmc.cartpole_swingup")
    scale = {k: v.std((0, 1)) for k, v in obs.items()}
    task = registry.task("dmc.cartpole_swingup")
    begin = jax.tree.map(lambda leaf: leaf[0, 0], records)
    record = pose.poser(task, scale)(begin, {k: v[30, 2] for k, v in obs.items()})
    np.testing.assert_allclose(record.xpos, records.xpos[30, 2], atol=1e-3)
