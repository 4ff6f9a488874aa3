"""Data sets in memory: what is read, in which order, how it is split, its statistics."""

from pathlib import Path

import numpy as np
import pytest
from demonstrations import WIDTHS, episode, write

from skillhier.data import dataset
from skillhier.data.faults import DataFault


@pytest.fixture
def small(tmp_path):
    write(tmp_path / "a.h5", [episode(i, steps=25 + i) for i in range(12)])
    return dataset.load(tmp_path / "a.h5")


def test_episodes_stand_in_the_order_of_their_numbers_one_after_the_other(small):
    assert small.length.tolist() == [25 + i for i in range(12)]  # not 0, 1, 10, 11, 2, ...
    for index, (start, length) in enumerate(zip(small.start, small.length, strict=True)):
        rows = small.obs["arm.angle"][start : start + length + 1]
        np.testing.assert_array_equal(rows[:, 0], 1000 * index + np.arange(length + 1))
    assert len(small.reward) == len(small.action) == small.start[-1] + small.length[-1] + 1
    assert {name: values.shape[1] for name, values in small.obs.items()} == {**WIDTHS, "grip": 1}
    assert all(values.dtype == np.float32 for values in [*small.obs.values(), small.action, small.reward])


def test_a_reward_stands_in_the_row_it_led_to(small):
    assert small.reward[:3].tolist() == [0, 1, 2]
    assert small.reward[small.start[1] - 1] == 25
    assert small.reward[small.start[1]] == 0


def test_info_holds_what_all_episodes_say(small):
    assert small.info["success"].tolist() == [0.0, 1.0] * 6
    assert not small.info["terminated"].any()


def test_shortened_episodes_keep_their_first_rows(small):
    length = np.minimum(small.length, 30)
    short = dataset.shortened(small, length)
    assert short.length.tolist() == length.tolist() and short.start.tolist() == [0, *np.cumsum(length + 1)[:-1]]
    for old, new, n in zip(small.start, short.start, length, strict=True):
        np.testing.assert_array_equal(
            short.obs["arm.angle"][new : new + n + 1], small.obs["arm.angle"][old : old + n + 1]
        )
        np.testing.assert_array_equal(short.action[new : new + n], small.action[old : old + n])
    ended = small._replace(info=small.info | {"terminated": np.ones(12, bool)})
    assert dataset.shortened(ended, length).info["terminated"].tolist() == [True] * 6 + [False] * 6
    with pytest.raises(ValueError, match="at most those that it has"):
        dataset.shortened(small, small.length + 1)


def test_only_the_asked_entries_are_read_and_optional_ones_may_lack(tmp_path):
    write(tmp_path / "a.h5", [episode(), episode()])
    found = dataset.load(tmp_path / "a.h5", ("arm.angle",), optional=("task.pair", "grip"))
    assert list(found.obs) == ["arm.angle", "grip"]
    half = [episode(), episode()]
    half[0]["observations"]["task.pair"] = np.zeros((31, 2), np.float32)
    write(tmp_path / "b.h5", half)
    assert list(dataset.load(tmp_path / "b.h5", ("grip",), optional=("task.pair",)).obs) == ["grip"]


def test_a_folder_reads_as_its_files_in_order(tmp_path):
    write(tmp_path / "b.hdf5", [episode(1)])
    write(tmp_path / "a.h5", [episode(0), episode(7)])
    (tmp_path / "notes.txt").write_text("no data")
    (tmp_path / "._a.h5").write_bytes(b"what another system leaves beside its files")
    found = dataset.load(tmp_path)
    assert found.obs["grip"][found.start, 0].tolist() == [0, 7000, 1000]
    assert [Path(file).name for file in found.info["file"]] == ["a.h5", "a.h5", "b.hdf5"]


def test_other_floats_become_float32(tmp_path):
    wide = episode()
    wide["rewards"] = wide["rewards"].astype(np.float64)
    wide["observations"]["grip"] = wide["observations"]["grip"].astype(">f8")
    write(tmp_path / "a.h5", [wide])
    found = dataset.load(tmp_path / "a.h5")
    assert found.reward.dtype == found.obs["grip"].dtype == np.float32
    assert found.obs["grip"][3, 0] == 3


def test_split_is_by_episode_repeatable_and_loses_nothing(small):
    train, held = dataset.split(small, 0.25, seed=3)
    assert (len(train.length), len(held.length)) == (9, 3)
    first = [part.obs["grip"][part.start, 0] // 1000 for part in (train, held)]
    assert sorted(np.concatenate(first)) == list(range(12))
    for part, episodes in zip((train, held), first, strict=True):
        assert (part.obs["grip"][part.start + part.length, 0] == 1000 * episodes + 25 + episodes).all()
        assert part.info["success"].tolist() == [float(e % 2) for e in episodes]
    again = dataset.split(small, 0.25, seed=3)[1]
    np.testing.assert_array_equal(again.obs["grip"], held.obs["grip"])
    other = [dataset.split(small, 0.25, seed=s)[1].start.tolist() for s in range(5)]
    assert any(starts != held.start.tolist() for starts in other)


def test_split_holds_out_at_least_one_and_needs_two(small):
    assert len(dataset.split(small, 0.01)[1].length) == 1
    assert len(dataset.split(small, 0.99)[0].length) == 1
    with pytest.raises(DataFault, match="needs at least 2"):
        dataset.split(dataset.select(small, np.array([0])))
    with pytest.raises(ValueError, match="share must be between 0 and 1, got 1.5"):
        dataset.split(small, 1.5)


def test_statistics_by_hand(small):
    one = dataset.select(small, np.array([0]))
    one = one._replace(obs={"x": np.array([[0.0, 5.0]] * 13 + [[2.0, 5.0]] * 13, np.float32)})
    mean, deviation = dataset.statistics(one, floor=0.1)["x"]
    np.testing.assert_allclose(mean, [1.0, 5.0])
    np.testing.assert_allclose(deviation, [1.0, 0.1])  # what never moves counts as the floor


def test_the_expert_logs_load(expert_logs):
    found = dataset.load(expert_logs / "set1.h5", {"sawyer.joints.angle": 7, "gripper.grasp": 1}, action=5)
    assert len(found.length) == 36 and (found.length == 400).all()
    assert set(np.unique(found.obs["gripper.grasp"])) <= {1, 2, 3}
    np.testing.assert_allclose(np.add.reduceat(found.reward, found.start), found.info["total_reward"], rtol=1e-4)
