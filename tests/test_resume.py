"""The real commands, killed at any moment and started again, end as the run that nobody touched: to the bit."""

import random
import signal
from pathlib import Path

import pytest
from kills import entry, kills, run
from leftovers import leaves, record

from skillhier.train import checkpoint

OFFLINE = ("helms_offline", "--config=experiments/configs/helms_offline.py:debug", "--config.train.save_every=10")
ONLINE = (
    "imitate", "--config=experiments/configs/imitate.py:debug", "--config.train.save_every=10",
    "--config.train.updates=120", "--config.env.worlds=2", "--config.eval.episodes=2",
)  # fmt: skip


def whole(tmp_path_factory, command) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    told = run(entry(*command, f"--workdir={folder}"))
    assert told.returncode == 0, told.stderr
    return folder


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> Path:
    return whole(tmp_path_factory, OFFLINE)


@pytest.fixture(scope="module")
def online(tmp_path_factory) -> Path:
    return whole(tmp_path_factory, ONLINE)


def survive(command, untouched: Path, folder: Path, count: int, seed: int, parts: tuple[str, ...]) -> int:
    """Kills a run `count` times, lets it end, and holds it to the one that nobody touched; how many hit a save."""
    command = entry(*command, f"--workdir={folder}")
    hits = kills(command, folder, signal.SIGKILL, random.Random(seed), count)
    told = run(command)
    assert told.returncode == 0, told.stderr
    assert record(folder) == record(untouched)
    step = record(untouched)[-1]["step"]
    assert leaves(folder, step, parts) == leaves(untouched, step, parts)
    assert len(list((folder / "tensorboard").iterdir())) == 1
    steps = {entry.name for entry in (folder / "checkpoints").iterdir()} - {"rings"}
    assert steps == {str(step - 10), str(step)}
    rings = (checkpoint.verify(folder / "checkpoints" / name).rings for name in steps)
    needed = {segment.file for each in rings for ring in each.values() for segment in ring.segments}
    assert {entry.name for entry in (folder / "checkpoints" / "rings").glob("*")} == needed
    return hits


def test_three_kills_offline(offline, tmp_path):
    survive(OFFLINE, offline, tmp_path / "run", 3, 0, ("learner", "key"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_kills_offline(offline, tmp_path, seed):
    """Ten each; of the fifteen that aimed at a save some hit it."""
    hits = survive(OFFLINE, offline, tmp_path / "run", 10, seed, ("learner", "key"))
    assert hits


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_kills_online(online, tmp_path, seed):
    """Worlds with their own physics, the expert's memory and the replay among the leaves."""
    hits = survive(ONLINE, online, tmp_path / "run", 8, seed, ("learner", "source", "key"))
    assert hits
