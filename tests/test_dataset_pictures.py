"""Data sets with pictures: what a pixel world shows is recorded, read again and cut into windows, byte for byte."""

import h5py
import jax
import numpy as np
import pytest
from demonstrations import episode, write

from skillhier.data import dataset, minari, recorder, sources
from skillhier.data.faults import DataFault
from skillhier.envs import registry
from skillhier.policies import open_loop

HEIGHT, WIDTH = 3, 4
LENGTHS = (25, 31)


def drawn(e, t):
    """What the picture of row t of episode e shows, for arrays of both: uint8 [..., HEIGHT, WIDTH, 3]."""
    column = (np.asarray(7 * e + t)[..., None, None, None]).astype(int)
    h, w, c = np.meshgrid(range(HEIGHT), range(WIDTH), range(3), indexing="ij")
    return ((column + 50 * h + 20 * w + 9 * c) % 256).astype(np.uint8)


@pytest.fixture
def path(tmp_path):
    episodes = [episode(i, steps) for i, steps in enumerate(LENGTHS)]
    for e, told in enumerate(episodes):
        told["observations"]["camera"] = drawn(e, np.arange(LENGTHS[e] + 1))
    write(tmp_path / "a.h5", episodes)
    return tmp_path / "a.h5"


def change(path, value, index=1):
    with h5py.File(path, "r+") as file:
        del file[f"episode_{index}/observations/camera"]
        file[f"episode_{index}/observations/camera"] = value


def test_they_are_read_as_the_bytes_that_they_are(path):
    found = dataset.load(path)
    assert found.obs["camera"].dtype == np.uint8 and found.obs["camera"].shape == (26 + 32, HEIGHT, WIDTH, 3)
    expected = np.concatenate([drawn(0, np.arange(26)), drawn(1, np.arange(32))])
    np.testing.assert_array_equal(found.obs["camera"], expected)
    np.testing.assert_array_equal(dataset.select(found, np.array([1])).obs["camera"], expected[26:])


def test_asked_for_by_name_and_size(path):
    assert set(dataset.load(path, ("camera",)).obs) == {"camera"}
    assert set(dataset.load(path, {"camera": (HEIGHT, WIDTH, 3), "grip": 1}).obs) == {"camera", "grip"}
    assert "camera" in dataset.load(path, ("grip",), optional=("camera",)).obs


def test_they_have_no_statistics(path):
    assert set(dataset.statistics(dataset.load(path))) == {"arm.angle", "object.pose", "grip"}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.zeros((32, 4, 4, 3), np.uint8), "found shape (32, 4, 4, 3), needs (32, 3, 4, 3)"),
        (np.zeros((31, 3, 4, 3), np.uint8), "found 31 rows, needs 32"),
        (np.zeros((32, 3, 4, 3), np.float32), "found shape (32, 3, 4, 3), needs (32, 3, 4, 3)"),
        (np.zeros((32, 36), np.float32), "found shape (32, 36), needs (32, 3, 4, 3)"),
        (np.zeros((32, 3, 4), np.uint8), "found dtype uint8, shape (32, 3, 4), needs float32, or pictures (rows, "),
        (np.zeros((32, 0, 4, 3), np.uint8), "found dtype uint8, shape (32, 0, 4, 3), needs float32, or pictures"),
        (np.zeros((32, 3, 4, 3), np.int8), "found shape (32, 3, 4, 3), needs (32, 3, 4, 3)"),
        (h5py.Empty(np.uint8), "found dtype uint8, shape None, needs float32, or pictures"),
    ],
)
def test_wrong_pictures_are_refused_in_one_line(path, value, found):
    change(path, value)
    with pytest.raises(DataFault) as caught:
        dataset.load(path)
    message = str(caught.value)
    assert "a.h5: episode_1: observations/camera: " in message and found in message and "\n" not in message


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"camera": 36}, "found shape (26, 3, 4, 3), needs (26, 36)"),
        ({"camera": (4, 4, 3)}, "found shape (26, 3, 4, 3), needs (26, 4, 4, 3)"),
        ({"grip": (3, 4, 3)}, "found shape (26, 1), needs (26, 3, 4, 3)"),
    ],
)
def test_other_sizes_than_asked_for_are_refused(path, names, found):
    with pytest.raises(DataFault, match="needs") as caught:
        dataset.load(path, names)
    assert found in str(caught.value)


def test_who_reads_numbers_only_says_so(path):
    with pytest.raises(DataFault, match=r"camera: found pictures \(3, 4, 3\), needs vectors; name other"):
        dataset.load(path, pictures=False)


def test_actions_are_no_pictures(path):
    with h5py.File(path, "r+") as file:
        del file["episode_0/actions"]
        file["episode_0/actions"] = np.zeros((25, 3, 4, 3), np.uint8)
    with pytest.raises(DataFault, match="episode_0: actions: found dtype uint8, needs float32"):
        dataset.load(path)


def test_windows_stacks_and_look_ahead(path):
    """A window of pictures is that of the numbers beside it, whose entry `grip` holds 1000 e + t."""
    found = dataset.load(path)
    source = sources.offline(found, batch_size=200, sequence_length=20, lookahead=8, stack=3)
    state = jax.jit(source.init)(jax.random.key(0))
    _, window, _ = jax.jit(source.next)(state, {}, jax.random.key(1))
    grip, camera = np.asarray(window.step.obs["grip"][..., 0]), np.asarray(window.step.obs["camera"])
    assert camera.dtype == np.uint8 and camera.shape == (28, 200, 3, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(camera, drawn(grip // 1000, grip % 1000))
    assert (grip[0, :, 1] == grip[0, :, 0]).any() and (grip[-1] == grip[-2]).any()  # both ends were among them
    passes = list(sources.windows(found, batch_size=5, sequence_length=10, stack=2))
    for part in passes:
        grip = np.asarray(part.step.obs["grip"][..., 0])
        np.testing.assert_array_equal(part.step.obs["camera"], drawn(grip // 1000, grip % 1000))
    assert len(passes) == 1 and passes[0].action.shape[1] == 2 + 3


def test_a_pixel_world_recorded_and_read_again(tmp_path):
    """The pictures in the data set are those that the same worlds show under the recorded actions."""
    env = registry.make("dmc.pendulum_swingup@pixels", worlds=2, size=16, limit=6, engine="native")
    with minari.Recorder(tmp_path / "seen", env.spec) as keeper:
        recorder.record(env, open_loop.uniform(env.spec.action), (), keeper, task="seen", episodes=2, rows=4, seed=3)
    found = dataset.load(tmp_path / "seen", min_length=6)
    assert {name: (v.dtype, v.shape) for name, v in found.obs.items()} == {"pixels": (np.uint8, (14, 16, 16, 3))}
    key, _ = jax.random.split(jax.random.fold_in(jax.random.key(3), 0))
    state, step = jax.jit(env.reset)(key)
    advance, shown = jax.jit(env.step), []
    order = found.info["world"].astype(int)
    for t in range(7):
        shown.append(np.asarray(step.obs["pixels"][:, 0]))
        actions = np.zeros((2, 1), np.float32)
        actions[order] = found.action[found.start + t]
        state, step = advance(state, actions)
    for e, world in enumerate(order):
        rows = slice(found.start[e], found.start[e] + 7)
        np.testing.assert_array_equal(found.obs["pixels"][rows], np.stack(shown)[:, world])
    assert len(np.unique(found.obs["pixels"].reshape(14, -1), axis=0)) > 3  # it moves, though little from row to row
