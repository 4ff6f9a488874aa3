"""A replay on disk as immutable segments of rows, so that a checkpoint writes new rows and not the whole ring.

    RUN/checkpoints/rings/<update>-<digest>.npz   consecutive rows of every leaf of one ring; plain arrays, no pickle

A ring is a subtree of the run state with four children, as data.replay.ReplayState: `rows` (leaves [N, ...]), `head`
(the place in the ring that is written next), `filled` (rows stored) and `next_row` (the number of the row that comes
next); places that were never written hold zeros. With S seeds every leaf has a leading axis S, and all seeds move
together. Checkpoints list the segments that they need, so one file serves many checkpoints.

A segment is written to a .part file, synced, and renamed to a name with its SHA-256 in it: no file is ever changed.
Rows are read from the devices in pieces of at most SEGMENT_BYTES, so neither a device nor the host holds a second ring.
With several hosts all of them take part in reading a piece, and the main host writes it.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from skillhier import files
from skillhier.distributed import hosts, sharding

FOLDER = "rings"  # inside of the folder of the checkpoints
SEGMENT_BYTES = 2**28  # a save with more new rows than that writes several segments


class CheckpointError(ValueError):
    """A checkpoint that must not be used; one line that names the file and says what to do."""


class Segment(NamedTuple):
    """One file."""

    file: str  # its name; empty on hosts that do not write
    sha256: str
    start: int  # place in the ring of its first row
    rows: int


class Ring(NamedTuple):
    """A ring as of one checkpoint."""

    size: int  # N
    axis: int  # of its leaves that counts rows: 1 behind seeds, else 0
    head: int
    filled: int
    next_row: int
    segments: tuple[Segment, ...]  # oldest first; together at least the newest `filled` rows

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Ring":
        return cls(**{**content, "segments": tuple(Segment(*segment) for segment in content["segments"])})


def save(folder: Path, step: int, leaves: Mapping[str, jax.Array], former: Ring | None) -> Ring:
    """Writes the rows of a ring that the checkpoint `former` of the same run does not have; all of them if None.

    folder: of the checkpoints; leaves: of the subtree, by their names below it ('head', 'rows/step/reward').
    """
    head, filled, next_row = (_same_for_all_seeds(name, leaves[name]) for name in ("head", "filled", "next_row"))
    rows = {name: leaf for name, leaf in leaves.items() if name.startswith("rows/") and leaf.size}
    axis = leaves["head"].ndim
    size = next(leaf.shape[axis] for name, leaf in leaves.items() if name.startswith("rows/"))
    ring = Ring(size, axis, head, filled, next_row, former.segments if former else ())
    count = _count_new_rows(ring, former)
    if count == filled:
        ring = ring._replace(segments=())
    piece = max(1, SEGMENT_BYTES // max(1, sum(leaf.nbytes for leaf in rows.values()) // size))
    segments = list(ring.segments)
    for begin in range(0, count, piece):
        start = (head - count + begin) % size
        places = (start + np.arange(min(piece, count - begin))) % size
        arrays = _gather(axis, _mesh(rows))(rows, places)
        file, digest = _write(folder / FOLDER, step, sharding.local_copy(arrays)) if hosts.is_main_host() else ("", "")
        segments.append(Segment(file, digest, int(start), len(places)))
    return ring._replace(segments=_needed(segments, filled))


def _count_new_rows(ring: Ring, former: Ring | None) -> int:
    """Rows written since `former`; all that are stored where that cannot be told from the counters.

    Row numbers have gaps where a run went on without its replay. The number of rows written is at most the difference
    of `next_row` and equal to the move of `head` modulo N, so if both agree below N, it is that difference.
    """
    if former is None or (ring.size, ring.axis) != (former.size, former.axis):
        return ring.filled
    new = ring.next_row - former.next_row
    follows = 0 <= new < ring.size and ring.head == (former.head + new) % ring.size
    return new if follows and ring.filled == min(former.filled + new, ring.size) else ring.filled


def _needed(segments: Iterable[Segment], filled: int) -> tuple[Segment, ...]:
    """The newest segments that hold `filled` rows, oldest first."""
    needed, rows = [], 0
    for segment in reversed(list(segments)):
        if rows >= filled:
            break
        needed.append(segment)
        rows += segment.rows
    return tuple(reversed(needed))


def verify(folder: Path, rings: Iterable[Ring]) -> None:
    """Compares every segment that the rings need with its SHA-256. Raises CheckpointError."""
    for segment in {segment.file: segment for ring in rings for segment in ring.segments}.values():
        verify_file(folder / FOLDER / segment.file, segment.sha256)


def verify_file(path: Path, sha256: str) -> None:
    """Compares a file with its SHA-256. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    if files.digest(path) != sha256:
        raise CheckpointError(f"{path} is damaged (its SHA-256 is not the recorded one)")


def load(folder: Path, ring: Ring, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """One leaf of the ring ('rows/step/reward') from its segments, which have been verified."""
    leaf = np.zeros(shape, dtype)
    by_row = np.moveaxis(leaf, ring.axis, 0)
    for segment in ring.segments:
        places = (segment.start + np.arange(segment.rows)) % ring.size
        with np.load(folder / FOLDER / segment.file, allow_pickle=False) as arrays:
            rows = arrays[name]
        # numpy's format has no name for bfloat16 and stores its bytes as they are
        by_row[places] = np.moveaxis(rows.view(dtype) if rows.dtype.kind == "V" else rows, ring.axis, 0)
    return leaf


def delete_unused(folder: Path, rings: Iterable[Ring]) -> None:
    """Deletes all segments but those that the rings need, and what a killed process left half written."""
    needed = {segment.file for ring in rings for segment in ring.segments}
    for path in (folder / FOLDER).glob("*"):
        if path.name not in needed:
            path.unlink()


def _write(folder: Path, step: int, arrays: Mapping[str, Any]) -> tuple[str, str]:
    """(name, SHA-256) of a new segment."""
    folder.mkdir(exist_ok=True)
    unnamed = folder / str(step)
    with files.draft(unnamed) as part, part.open("wb") as file:
        np.savez(file, **{name: np.asarray(array) for name, array in arrays.items()})
    sha256 = files.digest(unnamed)
    path = unnamed.rename(folder / f"{step}-{sha256[:16]}.npz")
    files.sync(folder)
    return path.name, sha256


@cache
def _gather(axis: int, mesh: Any):
    """A jitted function (leaves, places) -> their rows at those places, all of them on every device of the mesh."""

    def gather(leaves: dict[str, jax.Array], places: jax.Array) -> dict[str, jax.Array]:
        return {name: jnp.take(leaf, places, axis, mode="clip") for name, leaf in leaves.items()}

    return jax.jit(gather, **({"out_shardings": sharding.named_sharding(mesh)} if mesh else {}))


def _mesh(leaves: Mapping[str, jax.Array]) -> Any:
    where = next(iter(leaves.values())).sharding
    return where.mesh if isinstance(where, NamedSharding) else None


def _same_for_all_seeds(name: str, leaf: jax.Array) -> int:
    values = np.unique(np.asarray(leaf))
    if len(values) != 1:
        raise ValueError(f"the seeds of a replay must move together, {name} is {np.asarray(leaf).tolist()}")
    return int(values[0])
