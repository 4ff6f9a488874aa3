"""Recording: whole episodes, exactly those that were lived, safe from a kill at any moment, readable by Minari."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from clocks import COUNTING, LENGTH, clocks

from skillhier import files
from skillhier.data import dataset, minari, recorder
from skillhier.data.faults import DataFault
from skillhier.types import Bounds


def run(folder, env, episodes, policy=COUNTING, **settings):
    with minari.Recorder(folder, env.spec) as recording:
        return recorder.record(env, policy, (), recording, task="clocks", episodes=episodes, **settings)


def lived(folder) -> list[tuple[int, int]]:
    """(world, episode) of every episode in a folder, each checked to be whole."""
    found = dataset.load(folder, min_length=1)
    out = []
    for start, length in zip(found.start, found.length, strict=True):
        rows = found.obs["clock.all"][start : start + length + 1]
        assert (rows[:, :2] == rows[0, :2]).all()
        assert rows[:, 2].tolist() == list(range(length + 1))
        np.testing.assert_allclose(found.action[start : start + length, 0], np.arange(length) / 100, rtol=1e-6)
        # what an action is paid arrives with the observation that it led to
        np.testing.assert_allclose(found.reward[start + 1 : start + length + 1], np.arange(length) / 100, rtol=1e-6)
        out.append((int(rows[0, 0]), int(rows[0, 1])))
    return out


@pytest.mark.parametrize("rows", [1, 5, 7, 64])
def test_every_world_gives_its_share_of_whole_episodes(tmp_path, rows):
    count = run(tmp_path, clocks(3), 8, rows=rows)
    assert sorted(lived(tmp_path)) == [(w, e) for w in range(3) for e in range(3 if w < 2 else 2)]
    assert (count.episodes, count.broken) == (8, 0)
    assert count.successes == 3  # the episodes numbered 1


@pytest.mark.parametrize("rows", [1, 4, 5, 64])  # 4: the break falls between two chunks
def test_an_episode_whose_world_broke_is_dropped_and_lived_again(tmp_path, rows):
    count = run(tmp_path, clocks(2, breaks=(1, 1)), 6, rows=rows)
    assert sorted(lived(tmp_path)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (1, 3)]
    assert (count.episodes, count.broken) == (6, 1)


def test_worlds_that_always_break_end_the_recording(tmp_path):
    env = clocks(1)
    broken = env._replace(step=lambda state, action: env.step(state._replace(ended=state.steps == 2), action))
    with pytest.raises(FloatingPointError, match="episodes of clocks broke and 0 were recorded; set a smaller"):
        run(tmp_path, broken, 2)


def test_ends_are_told_from_cuts(tmp_path):
    run(tmp_path / "cut", clocks(1), 1)
    run(tmp_path / "end", clocks(1, ends=True), 1)
    assert dataset.load(tmp_path / "cut", min_length=1).info["terminated"].tolist() == [False]
    assert dataset.load(tmp_path / "end", min_length=1).info["terminated"].tolist() == [True]


def test_noise_is_recorded_as_executed_and_within_bounds(tmp_path):
    run(tmp_path, clocks(2, limit=200), 2, noise=(0.0, 0.7))
    found = dataset.load(tmp_path)
    executed = found.reward[1:201]  # the world pays the action that it got
    np.testing.assert_array_equal(executed, found.action[:200, 0])
    noise = np.concatenate([found.action[s : s + 200, 1] for s in found.start])
    assert np.abs(noise).max() == 1.0
    assert abs(np.median(np.abs(noise)) - 0.6745 * 0.7) < 0.08


@pytest.mark.parametrize("disturbance", [0.0, (0.0, 0.1)])
def test_an_action_beyond_the_bounds_is_recorded_as_the_bound(tmp_path, disturbance):
    wild = COUNTING._replace(act=lambda params, carry, step, key: (carry, np.array([[1e3, -1e3]], np.float32), {}))
    run(tmp_path, clocks(1), 1, policy=wild, disturbance=disturbance)
    found = dataset.load(tmp_path, min_length=1)
    np.testing.assert_array_equal(found.action[:LENGTH], np.tile([1, -1], (LENGTH, 1)))
    np.testing.assert_array_equal(found.reward[1 : LENGTH + 1], 1)  # the world pays the action that it got


def test_success_is_read_from_the_entry_that_the_spec_names(tmp_path):
    env = clocks(1)
    other = lambda success: env._replace(spec=env.spec._replace(success=success))  # noqa: E731
    for success, values in (("task.success", [0, 1, 0]), (None, [None] * 3)):
        run(tmp_path / f"{success}", other(success), 3)
        with minari.Recorder(tmp_path / f"{success}", env.spec) as data:
            assert [attributes.get("success") for attributes in data.attributes] == values


def test_a_disturbance_is_executed_and_not_recorded(tmp_path):
    run(tmp_path / "calm", clocks(2, limit=200), 2)
    run(tmp_path / "disturbed", clocks(2, limit=200), 2, disturbance=(0.1, 0.0))
    calm, found = dataset.load(tmp_path / "calm"), dataset.load(tmp_path / "disturbed")
    np.testing.assert_array_equal(calm.reward[1:201], calm.action[:200, 0])  # the world pays the action that it got
    executed, intended = found.reward[1:201], found.action[:200, 0]
    np.testing.assert_array_equal(intended, calm.action[:200, 0])
    assert abs((executed - intended)[:60].std() - 0.1) < 0.03  # later ones reach the bound of 1


def test_a_disturbance_comes_in_gusts_with_calm_between(tmp_path):
    run(tmp_path, clocks(4, limit=60), 8, disturbance=(0.05, 0.0), gust=10, calm=0.5)
    found = dataset.load(tmp_path)
    wind = np.stack([found.reward[s + 1 : s + 61] - found.action[s : s + 60, 0] for s in found.start])
    lasting = np.abs(np.diff(wind)) < 1e-5
    draws = (~lasting).sum() + len(wind)
    assert 4 < wind.size / draws < 9  # mean length 5.5, and two calm draws in a row look like one
    assert 0.3 < (np.abs(wind) < 1e-5).mean() < 0.7
    runs = [
        len(part) for row in lasting & (np.abs(wind[:, 1:]) > 1e-5) for part in "".join(map(str, 1 * row)).split("0")
    ]
    assert max(runs) <= 9  # 10 steps of one draw


def test_what_the_policy_noted_is_kept_where_asked(tmp_path):
    run(tmp_path, clocks(1), 1, notes=("age",))
    with h5py.File(tmp_path / "data/main_data.hdf5") as file:
        assert file["episode_0/infos/age"][()].tolist() == list(range(LENGTH))
        assert "rows" not in file["episode_0/infos"]
        told = dict(file["episode_0"].attrs)
    assert told["id"] == 0 and told["total_steps"] == LENGTH and told["seed"] == 0 and told["success"] == 0
    assert told["task"] == "clocks" and told["world"] == 0
    assert told["total_reward"] == pytest.approx(0.15) and told["final_reward"] == pytest.approx(0.05)


def test_a_recording_goes_on_where_it_was_left_and_keeps_each_worlds_share(tmp_path):
    env = clocks(3, limit=6)
    run(tmp_path, env, 4)
    run(tmp_path, env, 9, rows=4)
    worlds = [w for w, _ in lived(tmp_path)]
    assert sorted(worlds) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    before = (tmp_path / "data/main_data.hdf5").read_bytes()
    assert run(tmp_path, env, 9).episodes == 9  # nothing to do
    assert (tmp_path / "data/main_data.hdf5").read_bytes() == before


def test_a_recording_that_goes_on_draws_anew(tmp_path):
    env = clocks(1, limit=30)
    run(tmp_path, env, 1, noise=0.1)
    run(tmp_path, env, 2, noise=0.1)
    run(tmp_path / "again", env, 1, noise=0.1)
    found, again = dataset.load(tmp_path), dataset.load(tmp_path / "again")
    assert (found.action[:30] != found.action[31:61]).all()
    np.testing.assert_array_equal(found.action[:30], again.action[:30])


def test_tasks_share_a_folder(tmp_path):
    env = clocks(2)
    with minari.Recorder(tmp_path, env.spec) as recording:
        for task in ("a", "b"):
            assert recorder.record(env, COUNTING, (), recording, task=task, episodes=3).episodes == 3
    assert dataset.load(tmp_path, min_length=1).info["task"].tolist() == ["a"] * 3 + ["b"] * 3


def test_a_stop_keeps_what_is_finished(tmp_path):
    told = []
    run(tmp_path, clocks(1), 50, rows=10, tell=told.append, stopped=lambda: len(told) == 4)
    assert [count.episodes for count in told] == [1, 2, 4, 5]  # 7 rows an episode
    assert told[0].under_way == pytest.approx(3 / 7)
    assert len(lived(tmp_path)) == 5


class Killed(BaseException):
    """The process is gone: whatever would still settle does not."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("at", "safe"), [(2, 0), (3, 2), (5, 6), (6, 8), (7, 8)])
def test_a_kill_at_any_moment_loses_only_the_part_being_written(tmp_path, monkeypatch, at, safe, when):
    """Files settle in this order: metadata, four parts of two episodes, the joined file, metadata."""
    env, number = clocks(2, limit=6), []

    @contextlib.contextmanager
    def settling(path):
        part = path.with_name(f"{path.name}{files.DRAFT}")
        yield part
        number.append(path)
        if len(number) < at or (len(number) == at and when == "after"):
            part.rename(path)
        if len(number) >= at:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files, "draft", settling)
        run(tmp_path, env, 8, rows=7)
    if list((tmp_path / "data").glob("part*.h5")):
        with pytest.raises(DataFault, match="a recording that was cut short"):
            dataset.load(tmp_path)
    with minari.Recorder(tmp_path, env.spec) as recording:
        assert len(recording.attributes) == min(safe + 2 * (when == "after" and at < 6), 8)
    run(tmp_path, env, 8, rows=7)
    whole(tmp_path)


def whole(folder):
    """Eight episodes of two worlds, each once, and nothing left over."""
    assert sorted(w for w, _ in lived(folder)) == [0] * 4 + [1] * 4
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["main_data.hdf5", "metadata.json"]
    assert json.loads((folder / "data/metadata.json").read_text())["total_episodes"] == 8


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import clocks, test_recorder
def tell(count):
    if count.episodes >= 4:
        os.kill(os.getpid(), signal.SIGKILL)
test_recorder.run({folder!r}, clocks.clocks(2, limit=6), 8, rows=7, tell=tell)
"""


def test_a_killed_process_is_gone_on_from(tmp_path):
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent.parent).returncode == -9
    with minari.Recorder(tmp_path, clocks(2).spec) as recording:
        assert len(recording.attributes) == 4
    run(tmp_path, clocks(2, limit=6), 8, rows=7)
    whole(tmp_path)


def test_another_space_is_refused(tmp_path):
    run(tmp_path, clocks(1), 1)
    spec = clocks(1).spec
    with pytest.raises(DataFault, match=r"observation_space: found clock.all \[3\], .* needs clock.all \[4\]"):
        minari.Recorder(tmp_path, spec._replace(obs={"clock.all": jax.ShapeDtypeStruct((2, 4), np.float32)}))
    with pytest.raises(DataFault, match="action_space: found shape .2. .* needs shape .5."):
        minari.Recorder(tmp_path, spec._replace(action=Bounds((5,), -1.0, 1.0)))


def test_a_flipped_byte_is_noticed(tmp_path):
    run(tmp_path, clocks(1, limit=400), 1)
    path = tmp_path / "data/main_data.hdf5"
    with h5py.File(path) as file:
        at = file["episode_0/observations/clock.all"].id.get_chunk_info(0).byte_offset + 1000
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataFault, match="episode_0: observations/clock.all: found unreadable data"):
        dataset.load(tmp_path)


def test_minari_reads_it(tmp_path, monkeypatch):
    real = pytest.importorskip("minari")
    folder = tmp_path / "sets" / "demo-v0"
    run(folder, clocks(3), 7, notes=("age",))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    found = real.load_dataset("demo-v0")
    assert found.total_episodes == 7
    episodes = list(found.iterate_episodes())
    assert sorted(len(e) for e in episodes) == [6, 6, 6, 7, 7, 8, 8]
    assert found.total_steps == sum(len(e) for e in episodes)
    for e in episodes:
        assert repr(e)
        assert set(e.observations) == {"clock.all", "task.success"} and len(e.infos["age"]) == len(e)
        assert found.observation_space.contains({name: values[0] for name, values in e.observations.items()})
        assert found.action_space.contains(e.actions[0])
        assert e.truncations[-1] and not e.truncations[:-1].any() and not e.terminations.any()
    assert found[3].id == 3
    assert [m["success"] for m in found.storage.get_episode_metadata(range(7))].count(1.0) == 3
    assert list(real.list_local_datasets()) == ["demo-v0"]
    kept = found.filter_episodes(lambda e: e.observations["task.success"][-1, 0] > 0)
    assert kept.total_episodes == 3


@pytest.mark.filterwarnings("ignore::UserWarning")  # Minari asks for authors and the like
def test_what_minari_writes_loads_here(tmp_path, monkeypatch):
    real = pytest.importorskip("minari")
    from gymnasium import spaces

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    steps = 30
    buffer = real.data_collector.EpisodeBuffer(
        observations={"x": np.arange(2.0 * steps + 2, dtype=np.float32).reshape(-1, 2)},
        actions=np.zeros((steps, 1), np.float32),
        rewards=np.ones(steps).tolist(),
        terminations=[False] * steps,
        truncations=[False] * (steps - 1) + [True],
        infos={},
    )
    real.create_dataset_from_buffers(
        dataset_id="made/here-v0",
        buffer=[buffer, buffer],
        observation_space=spaces.Dict({"x": spaces.Box(-np.inf, np.inf, (2,))}),
        action_space=spaces.Box(-1, 1, (1,)),
    )
    found = dataset.load(tmp_path / "made/here-v0")
    assert found.length.tolist() == [30, 30]
    assert found.obs["x"][31:33].tolist() == [[0, 1], [2, 3]]
