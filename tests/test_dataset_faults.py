"""Every way a data set may be damaged ends in one line: file, episode, field, what was found, what is needed."""

import pickle

import h5py
import numpy as np
import pytest
from demonstrations import episode, put, write

from skillhier.data import dataset
from skillhier.data.faults import DataFault


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "demo.h5", [episode(i) for i in range(3)])
    return tmp_path / "demo.h5"


def line(path, *args, **kwargs) -> str:
    with pytest.raises(DataFault) as caught:
        dataset.load(path, *args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    assert "found " in message and "needs " in message
    return message


def change(path, field, value, index=1):
    """Puts `value` in place of a field of one episode; None takes it away."""
    with h5py.File(path, "a") as file:
        group, _, name = f"episode_{index}/{field}".rpartition("/")
        del file[group][name]
        if value is not None:
            file[group][name] = value


def values(path, field, index=1):
    with h5py.File(path) as file:
        return file[f"episode_{index}/{field}"][()]


@pytest.mark.parametrize(
    "field", ["actions", "observations", "observations/arm.angle", "rewards", "terminations", "truncations"]
)
def test_a_missing_key(path, field):
    change(path, field, None)
    assert f"demo.h5: episode_1: {field}: found nothing" in line(path)


def test_a_name_that_no_episode_has(path):
    assert "episode_0: observations/wrist.force: found nothing" in line(path, ("grip", "wrist.force"))


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("observations/arm.angle", np.zeros((31, 5), np.float32), "found shape (31, 5), needs (31, 2)"),
        ("observations/arm.angle", np.zeros((31, 2, 2), np.float32), "found shape (31, 2, 2), needs (31, 2)"),
        ("observations/arm.angle", np.float32(3), "found shape (), needs one row per step"),
        ("actions", np.zeros((30, 3), np.float32), "found shape (30, 3), needs (30, 2)"),
        ("rewards", np.zeros((30, 2), np.float32), "found shape (30, 2), needs (30,)"),
        ("actions", np.zeros((30, 2), int), "found dtype int64, needs float32 (integer actions are discrete"),
        ("observations/arm.angle", np.zeros((31, 2), np.complex64), "found dtype complex64, needs float32"),
        ("observations/arm.angle", np.full(31, b"text"), "found dtype |S4, needs float32"),
        ("truncations", np.full(30, 0.5, np.float32), "found shape (30,), values up to 0.5, needs (30,) of 0 and 1"),
        ("observations/arm.angle", np.zeros((30, 2), np.float32), "found 30 rows, needs 31"),
        ("observations/arm.angle", np.zeros((0, 2), np.float32), "found 0 rows, needs 31"),
        ("rewards", np.zeros(29, np.float32), "found 29 rows, needs 30"),
        ("truncations", np.zeros(31, bool), "found 31 rows, needs 30"),
        ("terminations", np.arange(30) == 11, "found an end at step 11 of 30"),
        ("actions", np.full((30, 2), 40.0, np.float32), "found values from 40 to 40, needs -1.0 to 1.0"),
        ("observations/grip", h5py.Empty("f"), "found shape None, needs one row per step"),
    ],
)
def test_a_wrong_array(path, field, value, found):
    change(path, field, value)
    message = line(path)
    assert f"demo.h5: episode_1: {field}: " in message and found in message


def test_a_width_other_than_the_one_asked_for(path):
    assert "found shape (31, 2), needs (31, 7)" in line(path, {"arm.angle": 7})
    assert "found shape (30, 2), needs (30, 5)" in line(path, action=5)


@pytest.mark.parametrize(("bad", "name"), [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "Inf")])
@pytest.mark.parametrize("field", ["observations/object.pose", "actions", "rewards"])
def test_numbers_that_are_none(path, field, bad, name):
    damaged = values(path, field)
    damaged[(17, *[1] * (damaged.ndim - 1))] = bad
    change(path, field, damaged)
    where = "row 17, column 1" if damaged.ndim == 2 else "row 17"
    assert f"episode_1: {field}: found {name} at {where} (1 such values), needs finite numbers" in line(path)


def test_numbers_too_large_for_float32(path):
    change(path, "rewards", np.full(30, 1e300))
    assert "rewards: found Inf at row 0" in line(path)


def test_steps_that_disagree_with_the_attribute(path):
    with h5py.File(path, "a") as file:
        file["episode_2"].attrs["total_steps"] = 29
    assert "episode_2: attribute total_steps: found 29, needs 30" in line(path)


@pytest.mark.parametrize("steps", [1, 24])
def test_episodes_shorter_than_the_window(path, steps):
    with h5py.File(path, "a") as file:
        put(file.create_group("episode_3"), episode(3, steps=steps))
    assert f"episode_3: actions: found {steps} steps, needs at least 25" in line(path)
    assert len(dataset.load(path, min_length=1).length) == 4


def test_object_arrays_are_refused_unread(path):
    with h5py.File(path, "a") as file:
        del file["episode_1/rewards"]
        texts = file["episode_1"].create_dataset("rewards", (30,), dtype=h5py.string_dtype())
        texts[:] = pickle.dumps(print).hex()
    assert "episode_1: rewards: found an object array, needs plain float32 numbers" in line(path)


def test_ragged_arrays_are_objects_too(path):
    with h5py.File(path, "a") as file:
        del file["episode_1/observations/grip"]
        file["episode_1/observations"].create_dataset("grip", (31,), dtype=h5py.vlen_dtype(np.float32))
    assert "observations/grip: found an object array" in line(path)


@pytest.mark.parametrize("field", ["rewards", "observations/grip", "observations"])
def test_links_are_not_followed(path, tmp_path, field):
    write(tmp_path / "other.hidden", [episode(1)])
    with h5py.File(path, "a") as file:
        del file["episode_1"][field]
        file["episode_1"][field] = h5py.ExternalLink(str(tmp_path / "other.hidden"), f"episode_1/{field}")
    assert f"episode_1: {field}: found a link to {tmp_path / 'other.hidden'}" in line(path)
    with h5py.File(path, "a") as file:
        del file["episode_1"][field]
        file["episode_1"][field] = h5py.SoftLink(f"/episode_0/{field}")
    assert f"episode_1: {field}: found a link to /episode_0/{field}" in line(path)


def test_a_linked_episode(path, tmp_path):
    write(tmp_path / "other.hidden", [episode(1)])
    with h5py.File(path, "a") as file:
        file["episode_3"] = h5py.ExternalLink(str(tmp_path / "other.hidden"), "episode_0")
    assert "episode_3: found a link to" in line(path)


def test_numbers_outside_the_file(path, tmp_path):
    np.zeros(30, np.float32).tofile(tmp_path / "secret")
    with h5py.File(path, "a") as file:
        del file["episode_1/rewards"]
        outside = [(str(tmp_path / "secret"), 0, 120)]
        file["episode_1"].create_dataset("rewards", (30,), dtype="f4", external=outside)
    assert "rewards: found numbers kept outside this file" in line(path)
    layout = h5py.VirtualLayout((30,), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "rewards", (30,), "f4")
    with h5py.File(path, "a") as file:
        del file["episode_1/rewards"]
        file["episode_1"].create_virtual_dataset("rewards", layout)
    assert "rewards: found numbers kept outside this file" in line(path)


def test_a_size_that_nobody_could_hold(path):
    with h5py.File(path, "a") as file:
        del file["episode_1/actions"]
        file["episode_1"].create_dataset("actions", (2**40, 2), dtype="f4", chunks=(1024, 2))
    assert "actions: found shape (1099511627776, 2), needs at most" in line(path)


def test_a_group_for_an_array_and_an_array_for_a_group(path):
    with h5py.File(path, "a") as file:
        del file["episode_1/rewards"], file["episode_2/observations"]
        file["episode_1"].create_group("rewards")
        file["episode_2"]["observations"] = np.zeros((31, 4), np.float32)
    assert "episode_1: rewards: found a group, needs an array" in line(path)
    change(path, "rewards", np.zeros(30, np.float32))
    assert "episode_2: observations: found an array, needs a group" in line(path)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "demo.h5: found a file that does not open" in line(path)


def test_damage_inside_never_ends_in_another_error(path):
    """Flipped bytes give good numbers, or one line; never another kind of error."""
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for at in draw.integers(0, len(whole), 8):
            damaged[at] ^= 1 << draw.integers(8)
        path.write_bytes(damaged)
        try:
            dataset.load(path)
        except DataFault as fault:
            assert "\n" not in str(fault)


def test_an_empty_file(path):
    path.write_bytes(b"")
    assert "demo.h5: found an empty file (0 bytes)" in line(path)


def test_a_pickle_is_never_opened(path):
    class Trap:
        def __reduce__(self):
            return exec, ("raise SystemExit('unpickled')",)

    path.write_bytes(pickle.dumps(Trap()))
    assert "demo.h5: found a file that does not open" in line(path)


def test_no_episodes(path):
    with h5py.File(path, "w") as file:
        file["other"] = 1.0
    assert "demo.h5: found no episodes, needs groups episode_<i>" in line(path)


def test_no_file(tmp_path):
    assert f"{tmp_path}/absent: found nothing at this path" in line(tmp_path / "absent")
    assert "found a folder without .h5, .hdf5 or .npz files" in line(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"total_episodes": 5}', "found 3 episodes, needs 5"),
        ("{", "metadata.json: found no valid JSON"),
        ("[" * 100_000, "metadata.json: found no valid JSON"),
        ("[1]", "metadata.json: found no dictionary"),
    ],
)
def test_a_minari_folder_whose_metadata_disagrees(path, text, found):
    path.rename(path.parent / "main_data.hdf5")
    (path.parent / "metadata.json").write_text(text)
    assert found in line(path.parent)
