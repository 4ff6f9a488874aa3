"""Worlds that show pictures: what they show, that they are the same worlds, and that data of bytes is kept as such."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier import rollout
from skillhier.data import recorder, replay
from skillhier.data.minari import Recorder
from skillhier.envs import registry
from skillhier.envs.render import pixels
from skillhier.types import Policy

pytest.importorskip("dm_control")
NAME, WORLDS, LIMIT, ROWS = "dmc.pendulum_swingup", 3, 4, 7


def random(env):
    bounds = env.spec.action
    draw = lambda key: jax.random.uniform(key, (env.spec.worlds, *bounds.shape), minval=-1.0)  # noqa: E731
    return Policy(lambda worlds: (), lambda params, carry, step, key: (carry, draw(key), {}))


@functools.cache
def world(name=NAME + pixels.SUFFIX, **settings):
    settings = {"size": 8} | settings if "@" in name else settings
    return registry.make(name, worlds=WORLDS, limit=LIMIT, engine="native", **settings)


@functools.cache
def rows(name=NAME + pixels.SUFFIX, **settings):
    env = world(name, **settings)
    run = jax.jit(lambda key: rollout.rollout(env, random(env), (), rollout.start(env, random(env), key), key, ROWS)[1])
    return jax.device_get(run(jax.random.key(0)))


def test_every_world_has_its_pictures():
    names = registry.names()
    plain = [name for name in names if not name.endswith(pixels.SUFFIX) and name != "point.path"]  # without bodies
    assert len(names) == 2 * len(plain) + 1 and all(name + pixels.SUFFIX in names for name in plain)


def test_pictures_take_the_place_of_entries_and_nothing_else_changes():
    shown, same = rows(), rows(NAME)
    assert list(shown.step.obs) == ["pixels"]
    picture = shown.step.obs["pixels"]
    assert picture.shape == (ROWS, WORLDS, 1, 8, 8, 3) and picture.dtype == np.uint8
    for field in ("reward", "discount", "first", "last"):
        np.testing.assert_array_equal(getattr(shown.step, field), getattr(same.step, field))
    assert (picture[0] != picture[2]).any() and picture.std() > 5  # something is seen, and it moves


def test_a_stack_is_of_frames_newest_first():
    picture = rows(stack=2).step.obs["pixels"]
    first = rows().step.first
    np.testing.assert_array_equal(picture[:, :, 0], rows().step.obs["pixels"][:, :, 0])
    older = np.where(first[1:, :, None, None, None], picture[1:, :, 0], picture[:-1, :, 0])
    np.testing.assert_array_equal(picture[1:, :, 1], older)


def test_privileged_entries_stay():
    env = registry.make("dmc.quadruped_reach@pixels", worlds=1, engine="native", size=4)
    assert set(env.spec.obs) == {"pixels", *env.spec.privileged} and env.spec.privileged
    assert env.spec.obs["pixels"].shape == (1, 4, 4, 3)


def test_the_camera_is_a_setting():
    one, other = (rows(camera=camera).step.obs["pixels"] for camera in ("fixed", "lookat"))
    assert (one != other).any()
    np.testing.assert_array_equal(one, rows().step.obs["pixels"])  # the first one is the default


def test_colours_of_several_cameras_follow_each_other():
    both, *single = (rows(camera=c).step.obs["pixels"] for c in (("lookat", "fixed"), "lookat", "fixed"))
    np.testing.assert_array_equal(both, np.concatenate(single, -1))
    with pytest.raises(ValueError, match="env.camera names no camera; give one or more, by number or name"):
        registry.make(NAME + pixels.SUFFIX, camera=())


def test_bytes_stay_bytes_in_a_replay_and_windows_are_what_was_seen():
    env, seen = world(stack=2), rows(stack=2)
    kept = replay.make(ROWS, env.spec)
    full = kept.add(kept.init(), kept.frames(jax.tree.map(jnp.asarray, seen)))
    assert full.rows.step.obs["pixels"].dtype == jnp.uint8
    batch = kept.sample(full, jax.random.key(1), batch_size=5, sequence_length=3)
    got = np.asarray(batch.step.obs["pixels"])
    assert got.dtype == np.uint8 and got.shape == (3, 5, 2, 8, 8, 3)
    whole = seen.step.obs["pixels"]
    windows = {whole[t : t + 3, w].tobytes() for t in range(1, ROWS - 2) for w in range(WORLDS)}
    assert all(got[:, i].tobytes() in windows for i in range(5))
    assert replay.bytes_per_row(env.spec) < 8 * 8 * 3 + 32


def test_bytes_stay_bytes_in_a_data_set(tmp_path):
    h5py = pytest.importorskip("h5py")
    env = world()
    with Recorder(tmp_path, env.spec) as written:
        told = recorder.record(env, random(env), (), written, task="t", episodes=3, rows=5)
    assert told.episodes == 3
    with h5py.File(tmp_path / "data" / "main_data.hdf5") as file:
        stored = file["episode_0/observations/pixels"]
        assert stored.dtype == np.uint8 and stored.shape == (LIMIT + 1, 8, 8, 3) and stored[:].std() > 5


def test_a_world_of_pictures_lowers_for_accelerators():
    env = registry.make(NAME + pixels.SUFFIX, worlds=20, engine="mjx", size=16)
    state = jax.eval_shape(env.reset, jax.random.key(0))[0]
    exported = jax.export.export(jax.jit(env.step), platforms=("cuda", "tpu"))(state, jnp.zeros((20, 1)))
    assert "callback" not in exported.mlir_module()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"camra": 1}, "has no setting 'camra'; did you mean 'camera'"),
        ({"camera": "sid"}, "camera 'sid' is not known; the model has 0 .fixed., 1 .lookat.; set env.camera"),
        ({"size": 0}, "set env.size"),
        ({"renderer": "opengl"}, "renderer 'opengl' is not known; choose rays or warp in env.renderer"),
        ({"renderer": "warp"}, "renderer 'warp' draws worlds of engine warp, not native; set env.renderer to rays"),
    ],
)
def test_wrong_settings_are_one_line(settings, line):
    with pytest.raises(ValueError, match=line) as told:
        registry.make(NAME + pixels.SUFFIX, engine="native", **settings)
    assert "\n" not in str(told.value)


def test_settings_of_pictures_are_of_no_use_elsewhere():
    with pytest.raises(ValueError, match="world 'dmc.pendulum_swingup' has no setting 'camera'"):
        registry.make(NAME, camera=1)
