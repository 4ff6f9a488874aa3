"""How long things take, one beside the other: what is compared runs in turns, so that a slow minute hits both."""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax


class Taken(NamedTuple):
    """Seconds of runs of one job, in the order of their turns."""

    wall: list[float]
    processor: list[float]  # of all threads of this process: what others do on the machine counts less


def timed(job: Callable[[], Any]) -> tuple[Any, float]:
    """What `job` gives back, once it is ready, and the seconds it took."""
    began = time.perf_counter()
    result = jax.block_until_ready(job())
    return result, time.perf_counter() - began


def in_turns(repeats: int, *jobs: Callable[[], Any]) -> list[list[float]]:
    """Seconds of `repeats` runs of each job, taken in turns after one run of each that is not counted."""
    turns = [[timed(job)[1] for job in jobs] for _ in range(repeats + 1)]
    return [list(taken) for taken in zip(*turns[1:], strict=True)]


def taken_in_turns(repeats: int, *jobs: Callable[[], Any]) -> list[Taken]:
    """As `in_turns`, with the processor's seconds beside those of the clock."""

    def both(job: Callable[[], Any]) -> tuple[float, float]:
        began = time.process_time()
        _, wall = timed(job)
        return wall, time.process_time() - began

    turns = [[both(job) for job in jobs] for _ in range(repeats + 1)]
    return [Taken(*map(list, zip(*taken, strict=True))) for taken in zip(*turns[1:], strict=True)]


def rate(amount: float, seconds: list[float]) -> float:
    """The median rate at which `amount` a run was done."""
    return amount / statistics.median(seconds)


def shares(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """How our rates stand to theirs, turn by turn, for the same amount of work: median, lowest, highest."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return {"share": statistics.median(ratios), "share_low": min(ratios), "share_high": max(ratios)}


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes."""
    return in_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def in_bytes(maxrss: int) -> int:
    """The memory figure of `getrusage`, which counts in KiB but on macOS in bytes."""
    return maxrss if platform.system() == "Darwin" else 1024 * maxrss


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": load(),
        "devices": [device.device_kind for device in jax.devices()],
        "backend": jax.default_backend(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def load() -> float:
    """Programs at work in the last minute: 0 on a quiet machine."""
    return os.getloadavg()[0]
