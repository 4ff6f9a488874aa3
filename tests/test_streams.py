"""Commands whose output is closed, full, or read by nobody; and disks that are full or read-only."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENTRY = """
import sys
from absl import flags
from experiments.shared import cli
flags.DEFINE_bool("wants_config", False, "")
def main(run):
    print("begun", file=sys.stderr, flush=True)
    for line in range(20_000):
        print("one of many lines")
    print("still there", file=sys.stderr, flush=True)
    sys.stdout.flush()
    (run.workdir or __import__("pathlib").Path(".")).joinpath("done").touch()
if __name__ == "__main__":
    cli.run(main, needs_config="--config=toy.py:debug" in sys.argv)
"""
CONFIG = """
from ml_collections import ConfigDict
PRESETS = {"debug": "a second"}
RANGES = {"seed": (0, 9)}
def get_config(address=""):
    return ConfigDict({"seed": 0})
"""
WRITES = "--config=toy.py:debug"


def shell(tmp_path, line, *arguments):
    """Runs the entry point in a shell, as `line` has it with COMMAND in it."""
    (tmp_path / "entry.py").write_text(ENTRY)
    (tmp_path / "toy.py").write_text(CONFIG)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = " ".join([sys.executable, "entry.py", *arguments])
    return subprocess.run(
        ["bash", "-c", line.replace("COMMAND", command)], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    ["COMMAND >&- 2>&-", "COMMAND <&- >/dev/full 2>/dev/full", "COMMAND 2>&1 | head -1; exit ${PIPESTATUS[0]}"],
    ids=["closed", "full", "unread"],
)
def test_a_command_that_writes_a_folder_does_not_mind_who_reads(tmp_path, line):
    completed = shell(tmp_path, line, WRITES)
    assert completed.returncode == 0, completed.stderr
    assert (tmp_path / "done").is_file() and "Traceback" not in completed.stderr


def test_a_command_that_only_prints_ends_quietly_when_nobody_reads(tmp_path):
    completed = shell(tmp_path, "COMMAND | head -1; exit ${PIPESTATUS[0]}")
    assert completed.returncode == 141 and completed.stdout == "one of many lines\n"
    assert completed.stderr == "begun\n" and not (tmp_path / "done").exists()


def test_a_command_that_only_prints_says_that_there_is_no_room(tmp_path):
    completed = shell(tmp_path, "COMMAND > /dev/full")
    assert completed.returncode == 1 and not (tmp_path / "done").exists()
    assert completed.stderr.splitlines()[1:] == [
        "standard output: No space left on device; make room, and the same command goes on from what was saved"
    ]


SMALL = """
mount -t tmpfs -o size={size} tmpfs {folder} || exit 77
{command}; echo $? > {codes}
{between}
{command}; echo $? >> {codes}
cp -r {folder}/run {kept}
"""


def alone(tmp_path, size, command, between):
    """Runs a command twice with DISK a small disk of its own: (exit codes, lines on stderr, what its folder holds)."""
    disk, codes, kept = tmp_path / "disk", tmp_path / "codes", tmp_path / "kept"
    disk.mkdir()
    line = command.replace("DISK", str(disk))
    script = SMALL.format(
        size=size, folder=disk, command=line, codes=codes, kept=kept, between=between.replace("DISK", str(disk))
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    completed = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script], env=environment, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    if not codes.is_file():
        pytest.skip(f"no file system of one's own can be mounted here: {completed.stderr.strip()[-100:]}")
    return list(map(int, codes.read_text().split())), completed.stderr, kept


OFFLINE = (
    f"{sys.executable} -m experiments.helms_offline --config=experiments/configs/helms_offline.py:debug "
    "--config.train.save_every=10 --config.train.updates=20 --workdir=DISK/run"
)
COLLECT = f"{sys.executable} -m experiments.collect --config=experiments/configs/collect.py:debug --workdir=DISK/run"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "size", "where"),
    [
        (OFFLINE, "8k", "tensorboard"),
        (OFFLINE, "1400k", "checkpoints/20"),
        (OFFLINE, "60k", "checkpoints/10"),
        (COLLECT, "40k", "data/part_000000.h5"),
        (COLLECT, "160k", "data/main_data.hdf5"),
    ],
)
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path, command, size, where):
    codes, said, kept = alone(tmp_path, size, command, "mount -o remount,size=100m DISK")
    assert codes == [1, 0], said
    (line,) = [line for line in said.splitlines() if "No space left" in line]
    expected = f"{tmp_path}/disk/run/{where}: No space left on device; make room, and the same command goes on"
    assert line.startswith(expected), line
    assert "Traceback" not in said and (kept / "summary.json").is_file()
    assert not list(kept.rglob("*.part"))
    if (kept / "metrics.jsonl").is_file():
        rows = map(json.loads, (kept / "metrics.jsonl").read_text().splitlines())
        assert [row["step"] for row in rows] == [10, 20]


@pytest.mark.slow
def test_a_disk_that_cannot_be_written_is_one_line(tmp_path):
    codes, said, _ = alone(tmp_path, "1m,ro", OFFLINE, "true")
    assert codes == [2, 2]
    assert set(said.splitlines()[:2]) == {
        f"--workdir={tmp_path}/disk/run: {tmp_path}/disk is on a disk that can only be read; choose another --workdir"
    }


@pytest.mark.slow
def test_shared_memory_that_cannot_be_written_does_not_matter(tmp_path):
    command = f"mount -t tmpfs -o ro tmpfs /dev/shm; {OFFLINE}"
    codes, said, kept = alone(tmp_path, "100m", command, "true")
    assert codes == [0, 0] and "Traceback" not in said and (kept / "summary.json").is_file()
