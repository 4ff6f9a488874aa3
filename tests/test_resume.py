"""The real commands, killed at any moment and started again, end as the run that nobody touched: to the bit.

These are the many kills; a few are in the fast tests of each entry point.
"""

from pathlib import Path

import pytest
from kills import entry, run, survive

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


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_kills_offline(offline, tmp_path, seed):
    """Ten each; of the fifteen that aimed at a save some hit it."""
    assert survive(entry(*OFFLINE), offline, tmp_path / "run", 10, seed, ("learner", "key"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_kills_online(online, tmp_path, seed):
    """Worlds with their own physics, the expert's memory and the replay among the leaves."""
    assert survive(entry(*ONLINE), online, tmp_path / "run", 8, seed, ("learner", "source", "key"))
