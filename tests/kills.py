"""Commands that are stopped or killed at a chosen moment."""

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from leftovers import leaves, record

from skillhier.train import checkpoint, manifest, metrics

ROOT = Path(__file__).parent.parent


def entry(name: str, *arguments) -> list[str]:
    return [sys.executable, "-m", f"experiments.{name}", *map(str, arguments)]


def run(command: Sequence[str], lines: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, input=lines, capture_output=True, text=True, timeout=600)


def struck(command: Sequence[str], number: int, ready: Callable[[], bool], pause: float = 0.0) -> subprocess.Popen:
    """Starts the command and sends it a signal `pause` s after it is `ready`; gives it back when it has ended."""
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    until = time.monotonic() + 300
    while not ready() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(pause)
    child.send_signal(number)
    child.wait(timeout=120)
    return child


def wait_until_heard(child: subprocess.Popen) -> None:
    """Returns when a process has a handler of SIGTERM, or has ended."""
    while child.poll() is None:
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{child.pid}/status").read_text())
        if caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.002)


def recorded(folder: Path, lines: int) -> Callable[[], bool]:
    """Whether the run's record has that many lines."""
    return lambda: len(metrics.rows(folder / "metrics.jsonl")) >= lines


def saving(folder: Path, after: int) -> Callable[[], bool]:
    """Whether a checkpoint of an update later than `after` is half written."""

    def half() -> bool:
        for path in (folder / "checkpoints").glob("*"):
            number = path.name.partition(".")[0]
            if number.isdigit() and int(number) > after and not (path / manifest.MANIFEST).is_file():
                return True
        return False

    return half


def kills(command: Sequence[str], folder: Path, number: int, dice: random.Random, count: int) -> int:
    """Kills the run `count` times, at random moments and in every second case during a save; how many hit a save."""
    hits = 0
    for strike in range(count):
        done = max(checkpoint.steps(folder / "checkpoints"), default=0)
        if strike % 2:
            struck(command, number, saving(folder, done), dice.uniform(0, 0.02))
            hits += saving(folder, done)()
        else:
            lines = len(metrics.rows(folder / "metrics.jsonl"))
            struck(command, number, recorded(folder, lines + 1), dice.uniform(0, 0.3))
    return hits


def survive(
    command: Sequence[str], untouched: Path, folder: Path, count: int, seed: int, parts: tuple[str, ...]
) -> int:
    """Kills a run `count` times, lets it end, and holds it to the one that nobody touched; how many hit a save."""
    command = [*command, f"--workdir={folder}"]
    hits = kills(command, folder, signal.SIGKILL, random.Random(seed), count)
    told = run(command)
    assert told.returncode == 0, told.stderr
    assert record(folder) == record(untouched)
    step = record(untouched)[-1]["step"]
    assert leaves(folder, step, parts) == leaves(untouched, step, parts)
    assert len(list((folder / "tensorboard").iterdir())) == 1
    steps = {entry.name for entry in (folder / "checkpoints").iterdir()} - {"rings"}
    assert steps == {str(number) for number in checkpoint.steps(untouched / "checkpoints")}
    rings = (checkpoint.verify(folder / "checkpoints" / name).rings for name in steps)
    needed = {segment.file for each in rings for ring in each.values() for segment in ring.segments}
    assert {entry.name for entry in (folder / "checkpoints" / "rings").glob("*")} == needed
    return hits
