"""A machine that loses its power: of a file system only what was synced, or written out by chance, is there again.

The run works in an image of a file system; a copy of the image, taken while it is mounted and nothing of it is written
out on purpose, is what a disk would hold after a cut. It needs the right to mount one.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from kills import entry, run
from leftovers import leaves, record

from skillhier.train import checkpoint

COMMANDS = {
    "offline": (
        "helms_offline", "--config=experiments/configs/helms_offline.py:debug", "--config.train.save_every=10",
        "--config.train.updates=60",
    ),
    "online": (
        "imitate", "--config=experiments/configs/imitate.py:debug", "--config.train.save_every=10",
        "--config.train.updates=60", "--config.env.worlds=2", "--config.eval.episodes=2",
    ),
}  # fmt: skip


@contextlib.contextmanager
def mounted(image: Path, at: Path):
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, at], check=True, capture_output=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@pytest.fixture
def disk(tmp_path):
    """An image of an empty file system."""
    image = tmp_path / "disk"
    tools = all(map(shutil.which, ("mkfs.ext4", "mount", "umount")))
    try:
        with image.open("wb") as file:
            file.truncate(2**26)
        subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
        with mounted(image, tmp_path / "try"):
            pass
    except (OSError, subprocess.SubprocessError):
        assert os.geteuid() != 0 or not tools or not Path("/dev/loop-control").exists()
        pytest.skip("no file system can be mounted here")
    return image


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_run_goes_on_after_its_machine_lost_its_power(disk, tmp_path, kind):
    """Cuts while it runs, and one as soon as it has said that it is done: that one has lost nothing."""
    untouched = tmp_path / "untouched"
    assert run(entry(*COMMANDS[kind], f"--workdir={untouched}")).returncode == 0
    dice, cuts = random.Random(0), []
    with mounted(disk, tmp_path / "at") as at:
        command = entry(*COMMANDS[kind], f"--workdir={at / 'run'}")
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[1]
        )
        while child.poll() is None:
            time.sleep(dice.uniform(0.2, 1.5))
            if list((at / "run").glob("checkpoints/[0-9]*")):
                cuts.append(shutil.copy(disk, tmp_path / f"cut-{len(cuts)}"))
        assert child.returncode == 0
        cuts.append(shutil.copy(disk, tmp_path / "cut-done"))
    assert len(cuts) > 3
    last = json.loads((untouched / "summary.json").read_text())["train_steps"]
    for cut in [*dice.sample(cuts[:-1], 3), cuts[-1]]:
        with mounted(Path(cut), tmp_path / "again") as at:
            begun = checkpoint.steps(at / "run" / "checkpoints")
            assert begun, "what was there when the copy was made is there"
            if cut == cuts[-1]:
                assert (at / "run" / "summary.json").is_file() and begun[-1] == last
                assert record(at / "run") == record(untouched)
            completed = run(entry(*COMMANDS[kind], f"--workdir={at / 'run'}"))
            assert completed.returncode == 0, completed.stderr
            assert "Traceback" not in completed.stderr
            assert record(at / "run") == record(untouched)
            parts = ("learner", "key") if kind == "offline" else ("learner", "source", "key")
            assert leaves(at / "run", last, parts) == leaves(untouched, last, parts)
            assert (at / "run" / "report.html").stat().st_size > 10_000
