"""How much memory the reading of a data set may take: counted by shapes and types before any array is read."""

import math
import os
from pathlib import Path

import numpy as np

from skillhier.data.faults import DataFault, DataLocation, expanded

GIB = 2**30
LEAST = 2**28  # bytes that any data set may take, however small its files are
MOST_PER_BYTE = 1100  # bytes of all arrays per byte of their files; gzip, the strongest filter, reaches 1,032
COPIES = 3  # of an array while it is read: as it is stored in its file, as an episode, in the whole data set
SETTING = "data.max_gib (--max_gib of experiments.data)"


class MemoryFault(DataFault):
    """A data set that would take more memory than it may; what is read after it would too."""


class Memory:
    """What one load has taken so far, and may take."""

    def __init__(self, path: str | Path, max_gib: float | None = None) -> None:
        """max_gib: GiB in all; by default what the machine has free, and no more than files of this size can hold."""
        self.taken = 0
        self.limit, self.owner = (max_gib or 0) * GIB, f"as {SETTING} says"
        if not max_gib:
            self.limit, self.owner = free(), f"what the machine has free; set {SETTING}"
            possible = max(LEAST, COPIES * MOST_PER_BYTE * size(expanded(path)))
            if possible < self.limit:
                self.limit, self.owner = possible, f"what files of this size can hold; set {SETTING}"

    def take(self, shape: tuple[int, ...], dtype: np.dtype, location: DataLocation, transient: int = 0) -> None:
        """Counts an array that is about to be read. Raises MemoryFault.

        transient: bytes beside it that are free again once it is read
        """
        values = math.prod(shape)
        kept = COPIES * values * (1 if dtype == np.uint8 else max(4, dtype.itemsize) if dtype.kind == "S" else 4)
        needed = self.taken + kept + transient + values * (dtype.itemsize + 1)  # as stored, and which are finite
        if needed > self.limit:
            fault = location.fault(f"{needed / GIB:.3g} GiB to be read so far", f"{self.limit / GIB:.3g} GiB at most, "
                                   f"{self.owner}")  # fmt: skip
            raise MemoryFault(*fault.args)
        self.taken += kept


def size(path: Path) -> int:
    """Bytes of the files at a path."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def free(groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes of memory that the machine, or the container this process is in, has free; infinite where none says."""
    limits = [math.inf]
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        limits.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError, IndexError):
        if hasattr(os, "sysconf"):
            limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for folder in ("", "memory"):  # of control groups, version 2 and 1
        try:
            most, used = (
                int(next(filter(Path.is_file, (groups / folder / name for name in names))).read_text())
                for names in (("memory.max", "memory.limit_in_bytes"), ("memory.current", "memory.usage_in_bytes"))
            )
            limits.append(max(0, most - used + _reclaimable(groups / folder)))
        except (OSError, ValueError, StopIteration, RuntimeError):
            continue
    return min(limits)


def _reclaimable(group: Path) -> int:
    """Bytes that a control group uses for copies of files, which are given back where memory is asked for."""
    lines = dict(line.split(" ", 1) for line in (group / "memory.stat").read_text().splitlines())
    return sum(int(lines.get(f"total_{name}", lines.get(name, 0))) for name in ("active_file", "inactive_file"))
