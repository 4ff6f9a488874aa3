"""Reading takes no more memory than it says: counted from shapes before anything is read, whatever the layout."""

import json
import tracemalloc

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skillhier.data import contents, dataset, layouts, memory
from skillhier.data.faults import DataFault

STEPS, WIDTH, MANY = 2000, 64, 12
KIB = 2**10 / memory.GIB  # in GiB


def minari(folder, links=True):
    """Zeros, hard-linked as the observations of twelve episodes: the file is as small as one of them."""
    path = folder / "zeros.h5"
    with h5py.File(path, "w") as file:
        for e in range(MANY):
            group = file.create_group(f"episode_{e}")
            group["actions"], group["rewards"] = np.zeros((STEPS, 2), np.float32), np.zeros(STEPS, np.float32)
            group["terminations"], group["truncations"] = np.zeros((2, STEPS), bool)
            if e and links:
                group["observations/zeros"] = file["episode_0/observations/zeros"]
            else:
                group.create_dataset("observations/zeros", (STEPS + 1, WIDTH), np.float32, compression="gzip",
                                     data=np.zeros((STEPS + 1, WIDTH), np.float32))  # fmt: skip
    return path


def robomimic(folder):
    path = folder / "demos.hdf5"
    with h5py.File(path, "w") as file:
        for e in range(MANY):
            demo = file.create_group(f"data/demo_{e}")
            demo["actions"], demo["obs/zeros"] = np.zeros((STEPS, 2), np.float32), np.zeros((STEPS, WIDTH))
    return path


def flat(folder):
    path = folder / "flat.hdf5"
    ends = np.arange(1, MANY * STEPS + 1) % STEPS == 0
    with h5py.File(path, "w") as file:
        file["observations"] = file["next_observations"] = np.zeros((MANY * STEPS, WIDTH))
        file["actions"], file["timeouts"] = np.zeros((MANY * STEPS, 2), np.float32), ends
        file["rewards"], file["terminals"] = np.zeros(MANY * STEPS, np.float32), ends & False
    return path


def npz(folder):
    path = folder / "flat.npz"
    ends = np.arange(1, MANY * STEPS + 1) % STEPS == 0
    np.savez_compressed(path, observations=np.zeros((MANY * STEPS, WIDTH), np.float32),
                        actions=np.zeros((MANY * STEPS, 2), np.float32), terminals=ends)  # fmt: skip
    return path


def lerobot(folder):
    (folder / "meta").mkdir()
    (folder / "data" / "chunk-000").mkdir(parents=True)
    vector = {"dtype": "float32", "shape": [WIDTH]}
    info = {"codebase_version": "v2.1", "fps": 10, "features": {"observation.state": vector, "action": vector}}
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    zeros = pa.FixedSizeListArray.from_arrays(
        pa.array(np.linspace(-1, 1, MANY * STEPS * WIDTH, dtype=np.float32)), WIDTH
    )
    pq.write_table(
        pa.table({"observation.state": zeros, "action": zeros, "episode_index": np.repeat(np.arange(MANY), STEPS)}),
        folder / "data" / "chunk-000" / "file-000.parquet",
    )
    return folder


LAYOUTS = {make.__name__: make for make in (minari, robomimic, flat, npz, lerobot)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_than_a_small_limit_is_one_line_that_names_the_setting(layout, tmp_path):
    path = LAYOUTS[layout](tmp_path)
    for read in (dataset.load, contents.examine):
        with pytest.raises(DataFault) as caught:
            read(path, max_gib=2000 * KIB)
        line = str(caught.value)
        assert "GiB to be read so far, needs 0.00191 GiB at most, as data.max_gib (--max_gib of" in line
        assert line.count("\n") == 0 and str(tmp_path) in line


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_counted_is_at_least_what_is_taken(layout, tmp_path, monkeypatch):
    """NumPy tells tracemalloc of its arrays; flat files are kept whole while their episodes are read."""
    path, counted = LAYOUTS[layout](tmp_path), []

    class Counting(memory.Memory):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            counted.append(self)

    monkeypatch.setattr(layouts, "Memory", Counting)
    tracemalloc.start()
    loaded = dataset.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(loaded.length) == MANY
    assert peak <= counted[0].taken


def test_a_small_file_of_one_array_linked_many_times_is_refused_unread(tmp_path, monkeypatch):
    """189 kB that were 2.3 GB: no file holds 1,100 times its own size; below 256 MiB nobody counts."""
    path = minari(tmp_path)
    assert memory.size(path) < 400_000
    dataset.load(path)
    monkeypatch.setattr(memory, "LEAST", 2**20)
    possible = memory.MOST_PER_BYTE * path.stat().st_size
    monkeypatch.setattr(memory, "MOST_PER_BYTE", 2**20 // path.stat().st_size)
    assert possible > 2**20
    with pytest.raises(DataFault, match="what files of this size can hold; set data.max_gib"):
        dataset.load(path)
    assert len(dataset.load(path, max_gib=1.0).length) == MANY


def test_a_large_chunk_of_a_small_array_counts(tmp_path):
    """HDF5 unpacks a whole chunk, also where the array in it is short."""
    path = minari(tmp_path)
    with h5py.File(path, "a") as file:
        del file["episode_0/rewards"]
        file["episode_0"].create_dataset("rewards", (STEPS,), np.float32, maxshape=(None,), chunks=(2**22,),
                                         compression="gzip", data=np.zeros(STEPS))  # fmt: skip
    with pytest.raises(DataFault, match="episode_0: rewards: found 0.0"):
        dataset.load(path, max_gib=2**14 * KIB)


def test_what_the_machine_has_free_is_the_limit_of_large_files(tmp_path, monkeypatch):
    path = minari(tmp_path)
    monkeypatch.setattr(memory, "free", lambda: float(2**20))
    with pytest.raises(DataFault, match="0.000977 GiB at most, what the machine has free; set data.max_gib"):
        dataset.load(path)


@pytest.mark.parametrize(
    ("folder", "most", "used", "stat"),
    [
        ("", "memory.max", "memory.current", "active_file 3\ninactive_file 4\nanon 90"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
         "active_file 1\ninactive_file 1\ntotal_active_file 3\ntotal_inactive_file 4"),
    ],
)  # fmt: skip
def test_a_container_has_free_what_its_group_leaves_and_what_copies_of_files_take(tmp_path, folder, most, used, stat):
    """Of 100 bytes 60 are used, 7 of them by copies of files: 47 are free. Without its statistics nothing is known."""
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, text in ((most, "100\n"), (used, "60\n"), ("memory.stat", f"{stat}\n")):
        (tmp_path / folder / name).write_text(text)
    assert memory.free(tmp_path) == 47
    (tmp_path / folder / most).write_text("max\n")
    assert memory.free(tmp_path) > 2**20
