"""Recording: whole episodes, exactly those that were lived, safe from a kill at any moment, readable by Minari."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.data import dataset, minari, recorder
from skillhier.data.faults import DataFault
from skillhier.types import Bounds, Env, Policy, Spec, TimeStep

LENGTH = 6  # steps of an episode of world 0; world w has w more


class Clock(NamedTuple):
    steps: jax.Array  # [B] of this episode
    episode: jax.Array  # [B]
    ended: jax.Array  # [B] bool


def clocks(worlds: int, *, limit: int | None = None, breaks: tuple[int, int] = (-1, -1), ends: bool = False) -> Env:
    """Worlds that show (world, episode, step) and pay the action; episode `breaks[1]` of world `breaks[0]` breaks."""
    own = jnp.arange(worlds)
    lengths = jnp.full((worlds,), limit) if limit else LENGTH + own

    def show(state: Clock, reward, first) -> TimeStep:
        frame = jnp.stack([own, state.episode, state.steps], -1).astype(jnp.float32)
        frames = jnp.stack([frame, frame - 100], 1)  # [B, 2, 3]: the older frame must not be recorded
        obs = {"clock.all": frames, "task.success": (state.episode % 2).astype(jnp.float32)[:, None, None]}
        discount = jnp.where(state.ended & ends & ~first, 0.0, 1.0)
        return TimeStep(obs, jnp.where(first, 0, reward), discount, first, state.ended)

    def reset(key):
        zero = jnp.zeros((worlds,), jnp.int32)
        state = Clock(zero, zero, zero > 0)
        return state, show(state, zero.astype(jnp.float32), zero == 0)

    def step(state: Clock, action):
        broke = (own == breaks[0]) & (state.episode == breaks[1]) & (state.steps == 3)
        first = state.ended | broke
        steps = jnp.where(first, 0, state.steps + 1)
        state = Clock(steps, state.episode + first, ~first & (steps >= lengths))
        return state, show(state, action[:, 0], first)

    shapes = {"clock.all": jax.ShapeDtypeStruct((2, 3), jnp.float32)}
    shapes |= {"task.success": jax.ShapeDtypeStruct((1, 1), jnp.float32)}
    spec = Spec(shapes, Bounds((2,), -1.0, 1.0), worlds, 0.05, LENGTH + worlds, ("task.success",))
    return Env(reset, step, spec)


def act(params, carry, step: TimeStep, key):
    """The first action says how many steps the episode has seen; the carry counts all rows."""
    steps = step.obs["clock.all"][:, 0, 2]
    return carry + 1, jnp.stack([steps / 100, 0 * steps], -1), {"age": steps, "rows": carry}


COUNTING = Policy(lambda worlds: jnp.zeros((worlds,), jnp.int32), act)


def run(folder, env, episodes, **settings):
    with minari.Recorder(folder, env.spec) as recording:
        return recorder.record(env, COUNTING, (), recording, task="clocks", episodes=episodes, **settings)


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


def test_an_episode_whose_world_broke_is_dropped_and_lived_again(tmp_path):
    count = run(tmp_path, clocks(2, breaks=(1, 1)), 6, rows=5)
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


KILLED = """
import os, sys
sys.path.insert(0, {tests!r})
import test_recorder as t
from skillhier.data import minari
def settle(draft, path, number=[0]):
    number[0] += 1
    {before}
    draft.rename(path)
    {after}
minari._settle = settle
t.run({folder!r}, t.clocks(2, limit=6), 8, rows=7)
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("at", "safe"), [(2, 0), (3, 2), (5, 6), (6, 8), (7, 8)])
def test_a_kill_at_any_moment_loses_only_the_part_being_written(tmp_path, at, safe, when):
    """Files settle in this order: metadata, four parts of two episodes, the joined file, metadata."""
    kill = f"if number[0] == {at}: os._exit(9)"
    blank = {"before": "pass", "after": "pass", when: kill}
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path), **blank)
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent.parent).returncode == 9
    if at < 7 and (when == "before" or at < 6) and (at, when) != (2, "before"):
        with pytest.raises(DataFault, match="a recording that was cut short"):
            dataset.load(tmp_path)
    env = clocks(2, limit=6)
    with minari.Recorder(tmp_path, env.spec) as recording:
        assert len(recording.attributes) == min(safe + 2 * (when == "after" and at < 6), 8)
    run(tmp_path, env, 8, rows=7)
    assert sorted(w for w, _ in lived(tmp_path)) == [0] * 4 + [1] * 4
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["main_data.hdf5", "metadata.json"]
    assert json.loads((tmp_path / "data/metadata.json").read_text())["total_episodes"] == 8


def test_another_space_is_refused(tmp_path):
    run(tmp_path, clocks(1), 1)
    spec = clocks(1).spec
    with pytest.raises(DataFault, match=r"observation_space: found clock.all \[3\], .* needs clock.all \[4\]"):
        minari.Recorder(tmp_path, spec._replace(obs={"clock.all": jax.ShapeDtypeStruct((2, 4), jnp.float32)}))
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
