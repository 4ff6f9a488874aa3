"""Files with the rows of all episodes in one array each: D4RL's HDF5 and OGBench's .npz, as their makers describe."""

import io
import zipfile

import h5py
import numpy as np
import pytest

from skillhier.data import dataset
from skillhier.data.faults import DataFault

LENGTHS = (30, 26, 40)  # rows of each episode
N = sum(LENGTHS)


def line(path, *args, **kwargs) -> str:
    with pytest.raises(DataFault) as caught:
        dataset.load(path, *args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def d4rl(path, following=False, timeouts=True, without=(), **changes):
    """Rows 0, 1, ... as observations; the first episode ends by the task, the others are cut; reward: 1 + row."""
    rows, last = np.arange(N, dtype=np.float32), np.cumsum(LENGTHS) - 1
    arrays = {
        "observations": np.stack([rows, rows + 0.5], -1),
        "actions": np.stack([rows / N, -rows / N, rows * 0], -1).astype(np.float32),
        "rewards": rows + 1,
        "terminals": rows == last[0],
        "infos/qpos": np.stack([rows + 1000] * 3, -1).astype(np.float64),
        "metadata/algorithm": np.bytes_("SAC"),
    }
    if timeouts:
        arrays["timeouts"] = np.isin(rows, last[1:])
    if following:
        arrays["next_observations"] = arrays["observations"] + 1
    arrays = {name: value for name, value in (arrays | changes).items() if name not in without}
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value
    return path


def test_d4rl_with_next_observations(tmp_path):
    loaded = dataset.load(d4rl(tmp_path / "a.hdf5", following=True))
    assert list(loaded.obs) == ["observation"] and loaded.length.tolist() == list(LENGTHS)
    assert loaded.info["terminated"].tolist() == [True, False, False] and loaded.notes == ()
    starts = np.cumsum((0, *LENGTHS))
    for e, (start, length) in enumerate(zip(loaded.start, loaded.length, strict=True)):
        rows = slice(start, start + length + 1)
        assert loaded.obs["observation"][rows, 0].tolist() == list(range(starts[e], starts[e + 1] + 1))
        assert loaded.reward[rows].tolist() == [0, *range(starts[e] + 1, starts[e + 1] + 1)]  # of the action before


def test_d4rl_without_next_observations_says_which_rewards_are_lost(tmp_path):
    loaded = dataset.load(d4rl(tmp_path / "a.hdf5"))
    assert loaded.length.tolist() == [n - 1 for n in LENGTHS] and not loaded.info["terminated"].any()
    assert loaded.obs["observation"][loaded.start + loaded.length, 0].tolist() == [29, 55, 95]
    assert loaded.notes == (
        "no observation follows on the last action of 3 episodes, and so their last rewards are left out: 182 in all",
    )  # 30 + 56 + 96
    assert "found 25 steps, needs at least 26" in line(tmp_path / "a.hdf5", min_length=26)
    assert dataset.load(tmp_path / "a.hdf5", min_length=26, drop_short=True).length.tolist() == [29, 39]


def test_infos_are_entries_where_they_are_named(tmp_path):
    loaded = dataset.load(d4rl(tmp_path / "a.hdf5", following=True), ("infos.qpos",))
    assert loaded.obs["infos.qpos"].shape[1] == 3 and loaded.obs["infos.qpos"][0].tolist() == [1000] * 3
    assert loaded.length.tolist() == [n - 1 for n in LENGTHS]  # nothing says what follows on the last action
    assert "infos.qvel: found nothing, needs one of observation, infos.qpos" in line(
        tmp_path / "a.hdf5", ("infos.qvel",)
    )


def test_episodes_without_timeouts(tmp_path):
    """They end where the next observation does not follow; or where the setting says, or the file is refused."""
    shifted = {"observations": np.stack([np.arange(N) + 100 * np.repeat([0, 1, 2], LENGTHS)] * 2, -1) * 1.0}
    shifted["next_observations"] = shifted["observations"] + 1
    loaded = dataset.load(d4rl(tmp_path / "a.hdf5", timeouts=False, **shifted))
    assert loaded.length.tolist() == list(LENGTHS)
    never = {"terminals": np.zeros(N, np.uint8)}
    said = line(d4rl(tmp_path / "b.hdf5", timeouts=False, **never))
    assert "found nothing that says where episodes end, needs timeouts, next_observations, or" in said
    assert "data.episode_length=1000" in said
    assert dataset.load(tmp_path / "b.hdf5", episode_length=48).length.tolist() == [47, 47]


def test_imitation_needs_no_rewards(tmp_path):
    loaded = dataset.load(d4rl(tmp_path / "a.hdf5", without=("rewards",)))
    assert not loaded.reward.any() and loaded.notes == ()


def test_observations_in_groups(tmp_path):
    path = d4rl(tmp_path / "a.hdf5", without=("observations",), **{
        "observations/arm": np.ones((N, 2)), "observations/note": np.full(N, b"x"),
        "next_observations/arm": np.ones((N, 2)),
    })  # fmt: skip
    loaded = dataset.load(path)
    assert list(loaded.obs) == ["arm"] and loaded.length.tolist() == list(LENGTHS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actions": np.zeros((N, 3), int)}, "actions: found dtype int64, needs float32 (integer actions are"),
        ({"actions": np.full((N, 3), 7.0)}, "actions: found values from 7 to 7, needs -1.0 to 1.0"),
        ({"terminals": np.full(N, 2)}, "terminals: found shape (96,), values up to 2, needs (96,) of 0 and 1"),
        ({"rewards": np.zeros((N, 1))}, "rewards: found shape (30, 1), needs (30,)"),
        ({"rewards": np.zeros(N - 1)}, "rewards: found 95 rows, needs 96 (all arrays of a flat file"),
        ({"observations": np.full((N, 2), np.nan)}, "observations: found NaN at row 0, column 0"),
    ],
)
def test_a_damaged_file(tmp_path, changes, said):
    assert said in line(d4rl(tmp_path / "a.hdf5", **changes))
    assert "no masks to take subset 'train' from" in line(d4rl(tmp_path / "b.hdf5"), subset="train")


def ogbench(path, **changes):
    """As OGBench keeps data: the row with `terminals` is an episode's final observation, its action means nothing."""
    rows = np.arange(N, dtype=np.float32)
    arrays = {
        "observations": np.stack([rows] * 2, -1),
        "actions": np.stack([rows / N] * 2, -1),
        "terminals": np.isin(rows, np.cumsum(LENGTHS) - 1).astype(np.float32),
        "qpos": np.stack([rows + 500] * 4, -1).astype(np.float64),
    } | changes
    np.savez_compressed(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_ogbench(tmp_path):
    loaded = dataset.load(ogbench(tmp_path / "cube-single-play-v0.npz"))
    assert list(loaded.obs) == ["observation"] and loaded.length.tolist() == [n - 1 for n in LENGTHS]
    assert not loaded.info["terminated"].any() and not loaded.reward.any() and loaded.notes == ()
    assert loaded.obs["observation"][loaded.start + loaded.length, 0].tolist() == [29, 55, 95]
    assert loaded.action[:29, 0].tolist() == np.float32(np.arange(29, dtype=np.float32) / N).tolist()
    both = dataset.load(tmp_path, ("observation", "qpos"))  # a folder of such files; every row has a qpos
    assert both.length.tolist() == loaded.length.tolist() and both.obs["qpos"][0].tolist() == [500] * 4


def test_ogbench_with_validity_and_with_next_observations(tmp_path):
    """What its load_dataset gives back, saved again: compact, and regular."""
    rows, last = np.arange(N), np.cumsum(LENGTHS) - 1
    valids = 1.0 - np.isin(rows, last)
    compact = ogbench(tmp_path / "a.npz", valids=valids, terminals=1.0 * np.isin(rows, [*last, *(last - 1)]))
    assert dataset.load(compact).length.tolist() == [n - 1 for n in LENGTHS]
    observed = np.stack([rows * 1.0] * 2, -1)
    regular = ogbench(
        tmp_path / "b.npz",
        next_observations=observed + 1,
        rewards=rows.astype(np.int64),
        masks=1.0 - (rows == last[1]),
    )
    loaded = dataset.load(regular)
    assert loaded.length.tolist() == list(LENGTHS) and loaded.info["terminated"].tolist() == [False, True, False]
    assert loaded.reward[loaded.start[1] + loaded.length[1]] == last[1]


def test_pictures_in_ogbench(tmp_path):
    pictures = np.arange(N * 12, dtype=np.int64).astype(np.uint8).reshape(N, 2, 2, 3)
    loaded = dataset.load(ogbench(tmp_path / "a.npz", observations=pictures))
    np.testing.assert_array_equal(loaded.obs["observation"], pictures)
    assert "found pictures (2, 2, 3), needs vectors; name other" in line(tmp_path / "a.npz", pictures=False)


def test_an_archive_that_means_harm(tmp_path):
    """Objects are not unpickled, and a few kilobytes do not become gigabytes."""
    ogbench(tmp_path / "a.npz", observations=np.array([{}] * N, object))
    assert "observations: found no arrays of numbers" in line(tmp_path / "a.npz")
    assert "observations: found an object array" in line(tmp_path / "a.npz", ("observation",))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (N, 2_000_000)})
    with zipfile.ZipFile(ogbench(tmp_path / "b.npz", observations=None), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("observations.npy", header.getvalue() + bytes(10_000))
    assert "observations: found shape (96, 2000000), 768,000,000 bytes of which" in line(tmp_path / "b.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[: len(whole) // 2])
    assert "c.npz: found a file that does not open" in line(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", other=np.zeros(3))
    assert "d.npz: found other, needs observations and actions" in line(tmp_path / "d.npz")
