"""Data sets that others wrote: Minari's own writer, robomimic's layout; and files that mean harm."""

import ctypes
import json
import os
import sys

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from demonstrations import episode, write
from minari.data_collector import EpisodeBuffer

from skillhier.data import dataset
from skillhier.data.faults import DataFault

STEPS = 30


def line(path, *args, **kwargs) -> str:
    with pytest.raises(DataFault) as caught:
        dataset.load(path, *args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500 and "found " in message and "needs " in message
    return message


def minari_folder(tmp_path, monkeypatch, observations, actions, observation_space, action_space):
    """Two episodes written by Minari itself: the first cut, the second ended."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    buffers = [
        EpisodeBuffer(
            id=i,
            observations=observations(i),
            actions=actions(i),
            rewards=[float(10 * i + t) for t in range(STEPS)],
            terminations=[i == 1 and t == STEPS - 1 for t in range(STEPS)],
            truncations=[i == 0 and t == STEPS - 1 for t in range(STEPS)],
            infos={"note": np.arange(STEPS + 1), "text": np.array(["x"] * (STEPS + 1), dtype=object)},
        )
        for i in range(2)
    ]
    minari.create_dataset_from_buffers(
        "others/demo-v0", buffer=buffers, observation_space=observation_space, action_space=action_space
    )
    return tmp_path / "others" / "demo-v0"


def vectors(i, rows, width=3):
    return np.arange(rows * width, dtype=np.float64).reshape(rows, width) + 1000 * i


BOX = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
ACTIONS = gymnasium.spaces.Box(-2, 2, (2,), np.float64)


def moves(i):
    return np.full((STEPS, 2), 1.5 + 0.1 * i)


def test_a_flat_observation_by_minari(tmp_path, monkeypatch):
    folder = minari_folder(tmp_path, monkeypatch, lambda i: vectors(i, STEPS + 1), moves, BOX, ACTIONS)
    assert "actions: found values from 1.5 to 1.5, needs -1.0 to 1.0" in line(folder)
    found = dataset.load(folder, bounds=(-2, 2))
    assert list(found.obs) == ["observation"] and found.obs["observation"].dtype == np.float32
    np.testing.assert_array_equal(found.obs["observation"], np.concatenate([vectors(i, STEPS + 1) for i in range(2)]))
    assert found.reward[:3].tolist() == [0, 0, 1] and found.reward[STEPS + 1 :][:3].tolist() == [0, 10, 11]
    assert found.info["terminated"].tolist() == [False, True]
    np.testing.assert_allclose(found.action[STEPS + 2], [1.6, 1.6])
    assert "found shape (31, 3), needs (31, 4)" in line(folder, {"observation": 4}, bounds=None)
    assert "observations: found an array, needs a group" in line(folder, ("arm",), bounds=None)


def test_observations_in_groups_by_minari(tmp_path, monkeypatch):
    space = gymnasium.spaces.Dict({"goal": BOX, "arm": gymnasium.spaces.Dict({"angle": BOX, "speed": BOX})})

    def observations(i):
        rows = vectors(i, STEPS + 1)
        return {"goal": rows, "arm": {"angle": rows + 1, "speed": rows + 2}}

    folder = minari_folder(tmp_path, monkeypatch, observations, moves, space, ACTIONS)
    found = dataset.load(folder, bounds=None)
    assert sorted(found.obs) == ["arm.angle", "arm.speed", "goal"]
    np.testing.assert_array_equal(found.obs["arm.speed"][: STEPS + 1], vectors(0, STEPS + 1) + 2)
    assert list(dataset.load(folder, ("arm.angle",), optional=("goal", "arm.none"), bounds=None).obs) == [
        "arm.angle",
        "goal",
    ]
    assert "observations/arm/none: found nothing" in line(folder, ("arm.none",), bounds=None)
    assert "found a name with '/' in it" in line(folder, ("arm/angle",), bounds=None)


def test_discrete_actions_are_refused(tmp_path, monkeypatch):
    folder = minari_folder(
        tmp_path,
        monkeypatch,
        lambda i: vectors(i, STEPS + 1),
        lambda i: np.ones(STEPS, np.int64),
        BOX,
        gymnasium.spaces.Discrete(2),
    )
    assert "actions: found dtype int64, needs float32 (integer actions are discrete" in line(folder)


def demo(index: int, steps: int = STEPS, next_obs: bool = True) -> dict:
    """As robomimic writes a demo: doubles, whole numbers as dones, a state that nobody reads."""
    rows = np.arange(steps + 1, dtype=np.float64)[:, None] + 100 * index
    obs = {"object": rows + np.array([0, 0.5]), "robot0_eef_pos": rows + np.array([1, 2, 3])}
    return {
        "obs": {k: v[:-1] for k, v in obs.items()},
        **({"next_obs": {k: v[1:] for k, v in obs.items()}} if next_obs else {}),
        "actions": np.full((steps, 7), 0.05 * (index + 1)),
        "rewards": (np.arange(steps) == steps - 1).astype(np.float64),
        "dones": (np.arange(steps) >= steps - 3).astype(np.int64),
        "states": np.zeros((steps, 32)),
    }


def robomimic(path, demos: dict[int, dict]):
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for index, tree in demos.items():
            group = data.create_group(f"demo_{index}")
            for name, value in tree.items():
                if isinstance(value, dict):
                    for inner, array in value.items():
                        group.create_dataset(f"{name}/{inner}", data=array)
                else:
                    group.create_dataset(name, data=value)
            group.attrs["num_samples"] = len(tree["actions"])
            group.attrs["model_file"] = "<mujoco>" + "x" * 50_000 + "</mujoco>"
        data.attrs["total"] = sum(len(tree["actions"]) for tree in demos.values())
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        file["mask/train"] = np.array([f"demo_{i}" for i in demos][1:], dtype="S8")
        file["mask/valid"] = np.array([f"demo_{i}" for i in demos][:1], dtype="S8")
    return path


@pytest.fixture
def path(tmp_path):
    return robomimic(tmp_path / "low_dim.hdf5", {i: demo(i) for i in (0, 2, 10)})


def test_a_robomimic_file(path):
    """Demos by number (not 0, 10, 2); the last row from next_obs; ended, for the last done is set; no model texts."""
    found = dataset.load(path)
    assert found.length.tolist() == [STEPS] * 3 and sorted(found.obs) == ["object", "robot0_eef_pos"]
    for index, start in zip((0, 2, 10), found.start, strict=True):
        rows = found.obs["object"][start : start + STEPS + 1]
        np.testing.assert_array_equal(rows[:, 1], np.arange(STEPS + 1) + 100 * index + 0.5)
        np.testing.assert_allclose(found.action[start], [0.05 * (index + 1)] * 7)
    assert found.reward[STEPS] == 1 and found.reward.sum() == 3
    assert found.info["terminated"].all() and "model_file" not in found.info
    assert found.info["num_samples"].tolist() == [STEPS] * 3


def test_masks_choose_demos(path):
    assert dataset.load(path, subset="valid").obs["object"][:, 0].tolist() == list(range(STEPS + 1))
    assert dataset.load(path, subset="train").obs["object"][[0, STEPS + 1], 0].tolist() == [200, 1000]
    assert "mask: test: found nothing" in line(path, subset="test")
    with h5py.File(path, "a") as file:
        file["mask/odd"] = np.array([b"demo_0", b"demo_5"])
    assert "mask: odd: found demo_5, needs names of demos" in line(path, subset="odd")


def test_a_subset_of_another_layout(tmp_path):
    write(tmp_path / "demo.h5", [episode(0)])
    assert "no masks to take subset 'train' from" in line(tmp_path / "demo.h5", subset="train")


def test_without_next_obs_the_last_action_is_left_out(tmp_path):
    path = robomimic(tmp_path / "a.hdf5", {0: demo(0, next_obs=False)})
    found = dataset.load(path)
    assert found.length.tolist() == [STEPS - 1] and found.obs["object"][-1, 0] == STEPS - 1
    assert found.reward.sum() == 0 and not found.info["terminated"].any()  # what the action led to is not there
    assert found.notes == (
        "no observation follows on the last action of 1 episodes, and so their last rewards are left out: 1 in all",
    )
    assert "found 29 steps, needs at least 30" in line(path, min_length=30)


def test_imitation_needs_neither_rewards_nor_dones(tmp_path):
    bare = {name: value for name, value in demo(0).items() if name not in ("rewards", "dones", "next_obs")}
    loaded = dataset.load(robomimic(tmp_path / "a.hdf5", {0: bare}))
    assert loaded.length.tolist() == [STEPS - 1] and not loaded.reward.any() and loaded.notes == ()
    assert not loaded.info["terminated"].any()


def test_short_demos_are_left_out_where_the_setting_says_so(tmp_path):
    path = robomimic(tmp_path / "a.hdf5", {0: demo(0), 1: demo(1, steps=20), 2: demo(2)})
    assert "demo_1: actions: found 20 steps, needs at least 25 (one window; leave short episodes out: " in line(path)
    loaded = dataset.load(path, drop_short=True)
    assert loaded.length.tolist() == [STEPS] * 2 and loaded.obs["object"][loaded.start, 0].tolist() == [0, 200]
    assert loaded.notes == ("1 of 3 episodes have fewer than 25 steps and are left out",)
    assert "found 30 steps, needs at least 31" in line(path, min_length=31, drop_short=True)  # none is left


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int64, np.float32, bool])
def test_flags_of_any_type_and_whole_numbers_as_rewards(path, kind):
    for index in (0, 2, 10):
        change(path, f"data/demo_{index}/dones", (np.arange(STEPS) == STEPS - 1).astype(kind))
        change(path, f"data/demo_{index}/rewards", np.arange(STEPS).astype(kind))
    loaded = dataset.load(path)
    assert loaded.info["terminated"].all() and loaded.reward.dtype == np.float32
    assert loaded.reward[1 : STEPS + 1].tolist() == np.arange(STEPS).astype(kind).astype(float).tolist()


def test_minari_entries_of_all_kinds_of_which_the_named_are_used(tmp_path, monkeypatch):
    """Dict, Tuple, Discrete and text by Minari's own writer; rewards are whole numbers."""
    spaces = gymnasium.spaces
    space = spaces.Dict(
        {
            "state": BOX,
            "pair": spaces.Tuple((BOX, spaces.Discrete(5))),
            "button": spaces.Discrete(3),
            "mission": spaces.Text(20),
        }
    )

    def observations(i):
        rows, whole = vectors(i, STEPS + 1), np.arange(STEPS + 1)
        return {"state": rows, "pair": (rows + 1, whole % 5), "button": whole % 3, "mission": ["go"] * (STEPS + 1)}

    folder = minari_folder(tmp_path, monkeypatch, observations, moves, space, ACTIONS)
    loaded = dataset.load(folder, ("state", "button", "pair._index_1"), bounds=None)
    assert sorted(loaded.obs) == ["button", "pair._index_1", "state"]
    assert loaded.obs["button"][:5, 0].tolist() == [0, 1, 2, 0, 1] and loaded.obs["button"].dtype == np.float32
    assert loaded.obs["pair._index_1"][:6, 0].tolist() == [0, 1, 2, 3, 4, 0]
    everything = dataset.load(folder, bounds=None)  # text is no number
    assert sorted(everything.obs) == ["button", "pair._index_0", "pair._index_1", "state"]
    assert "mission: found " in line(folder, ("mission",), bounds=None)


def change(path, where, value):
    with h5py.File(path, "a") as file:
        if where in file:
            del file[where]
        if value is not None:
            file[where] = value


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("data/demo_2/obs", None, "demo_2: obs: found nothing, needs a group"),
        ("data/demo_2/actions", None, "demo_2: actions: found nothing"),
        ("data/demo_2/obs/object", np.zeros((STEPS + 1, 2)), "obs/object: found 31 rows, needs 30 (a demo has"),
        ("data/demo_2/obs/object", np.zeros((STEPS, 5)), "obs/object: found shape (30, 5), needs (30, 2)"),
        ("data/demo_2/next_obs/object", np.zeros((STEPS - 1, 2)), "next_obs/object: found 29 rows"),
        ("data/demo_2/obs/object", np.full((STEPS, 2), np.nan), "obs/object: found NaN at row 0, column 0"),
        ("data/demo_2/obs/object", np.full((STEPS, 2), b"x"), "found dtype |S1, needs float32"),
        ("data/demo_2/dones", np.full(STEPS, 2), "dones: found shape (30,), values up to 2, needs (30,) of 0 and 1"),
        ("data/demo_2/dones", np.full(STEPS, b"yes"), "dones: found dtype |S3, needs 0 and 1"),
        ("data/demo_2/rewards", np.zeros((STEPS, 1)), "rewards: found shape (30, 1)"),
        ("data/demo_2/actions", np.full((STEPS, 7), 3.0), "actions: found values from 3 to 3, needs -1.0 to 1.0"),
        ("data/demo_2/actions", np.ones((STEPS, 7), int), "actions: found dtype int64"),
        ("data", None, "found no episodes"),
    ],
)
def test_a_damaged_robomimic_file(path, where, value, said):
    change(path, where, value)
    assert said in line(path)


def test_counts_that_disagree(path):
    with h5py.File(path, "a") as file:
        file["data"].attrs["total"] = 91
    assert "data: found 90 samples in all demos, needs 91.0, its attribute total" in line(path)
    with h5py.File(path, "a") as file:
        file["data/demo_2"].attrs["num_samples"] = 29
    assert "demo_2: attribute num_samples: found 29.0, needs 30" in line(path)


def test_no_demos(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_group("data")
    assert "data: found no demos, needs groups demo_<i>" in line(tmp_path / "a.hdf5")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_robomimic_file(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "low_dim.hdf5: found a file that does not open" in line(path)


def test_damage_inside_never_ends_in_another_error(path):
    whole = path.read_bytes()
    dice = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(whole)
        for at in dice.integers(0, len(whole), 8):
            damaged[at] ^= 1 << dice.integers(8)
        path.write_bytes(damaged)
        try:
            dataset.load(path)
        except DataFault as fault:
            assert "\n" not in str(fault)


class Watched:
    """Whether anybody opens a file while the block runs, as the kernel tells it (inotify)."""

    def __init__(self, path):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.libc.inotify_init1(os.O_NONBLOCK)
        assert self.libc.inotify_add_watch(self.descriptor, str(path).encode(), 0x20) >= 0  # IN_OPEN
        self.opened = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.opened = bool(os.read(self.descriptor, 4096))
        except BlockingIOError:
            self.opened = False
        os.close(self.descriptor)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
def test_the_watch_sees_an_opening(tmp_path):
    (tmp_path / "secret").write_bytes(b"1")
    with Watched(tmp_path / "secret") as watched:
        (tmp_path / "secret").read_bytes()
    assert watched.opened


def outside(kind: str, group: h5py.Group, name: str, secret) -> None:
    """An array `name` whose numbers lie in another file."""
    if kind == "external link":
        group[name] = h5py.ExternalLink(str(secret), "/x")
    elif kind == "soft link out":
        group["door"] = h5py.ExternalLink(str(secret), "/")
        group[name] = h5py.SoftLink(f"{group.name}/door/x")
    elif kind == "raw storage":
        group.create_dataset(name, (STEPS,), "f8", external=[(str(secret), 0, 8 * STEPS)])
    elif kind == "virtual":
        layout = h5py.VirtualLayout((STEPS,), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "x", (STEPS,), "f8")
        group.create_virtual_dataset(name, layout)
    else:  # without end: HDF5 looks into the other file to say how long it is
        layout = h5py.VirtualLayout((STEPS,), "f8", maxshape=(None,))
        source = h5py.VirtualSource(str(secret), "x", (STEPS,), "f8", maxshape=(None,))
        layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
        group.create_virtual_dataset(name, layout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
@pytest.mark.parametrize("kind", ["external link", "soft link out", "raw storage", "virtual", "virtual without end"])
@pytest.mark.parametrize("where", ["rewards", "dones", "actions", "obs/object", "next_obs", "next_obs/object"])
def test_nothing_outside_the_file_is_ever_opened(path, tmp_path, kind, where):
    where = f"data/demo_2/{where}"
    with h5py.File(tmp_path / "secret.hidden", "w") as file:
        file.create_dataset("x", data=np.zeros(STEPS), maxshape=(None,))
    with h5py.File(path, "a") as file:
        del file[where]
        parent, _, name = where.rpartition("/")
        outside(kind, file[parent], name, tmp_path / "secret.hidden")
    with Watched(tmp_path / "secret.hidden") as watched:
        said = line(path, optional=("object",))
    assert not watched.opened
    assert f"{name}: found " in said
    wrong = "an array" if name == "next_obs" else "numbers kept outside this file"
    assert ("a link to" if "link" in kind else wrong) in said


@pytest.mark.parametrize("where", ["data", "data/demo_0", "data/demo_0/obs", "mask"])
def test_groups_behind_links_are_not_followed(path, where):
    with h5py.File(path, "a") as file:
        file.move(where, "elsewhere")
        file[where] = h5py.SoftLink("/elsewhere")
    assert "found a link to" in line(path, subset="train" if where == "mask" else None)


def test_groups_that_hold_themselves(path):
    with h5py.File(path, "a") as file:
        file["data/demo_0/obs/again"] = file["data/demo_0/obs"]
    assert "groups nested 8 deep" in line(path)


def test_object_arrays_and_filters_that_would_load_code(path):
    with h5py.File(path, "a") as file:
        del file["data/demo_0/rewards"], file["data/demo_2/obs/object"]
        file["data/demo_0"].create_dataset("rewards", (STEPS,), dtype=h5py.string_dtype())
    assert "rewards: found an object array" in line(path)
    change(path, "data/demo_0/rewards", np.zeros(STEPS))
    with h5py.File(path, "a") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((STEPS, 2))
        properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)  # zstd, a plugin
        h5py.h5d.create(
            file["data/demo_2/obs"].id, b"object", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((STEPS, 2)), properties
        )
    assert "obs/object: found filter 32015, needs no filters but" in line(path)


@pytest.mark.parametrize("how", ["never written", "packed twice", "one huge chunk"])
def test_sizes_that_nobody_stored(path, how):
    """A file of a few kilobytes cannot make its reader take gigabytes."""
    with h5py.File(path, "a") as file:
        group = file["data/demo_2/obs"]
        del group["object"]
        if how == "never written":
            group.create_dataset("object", (STEPS, 8_000_000), "f4", chunks=(1, 1_000_000))
        elif how == "one huge chunk":
            group.create_dataset("object", (STEPS, 2), "f4", maxshape=(None, 2), chunks=(2**28, 2))
        else:
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk((STEPS, 500_000))
            properties.set_deflate(9)
            properties.set_deflate(9)
            size = h5py.h5s.create_simple((STEPS, 500_000))
            packed = h5py.h5d.create(group.id, b"object", h5py.h5t.IEEE_F64LE, size, properties)
            h5py.Dataset(packed)[...] = 0
    assert path.stat().st_size < 1_000_000
    said = line(path)
    assert "obs/object: found " in said
    assert ("chunks (268435456, 2)" if how == "one huge chunk" else "needs numbers that were written") in said
