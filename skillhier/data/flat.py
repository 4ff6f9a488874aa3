"""Episodes in arrays of all steps: D4RL's files (HDF5), OGBench's (.npz), and others of these forms.

D4RL (https://github.com/Farama-Foundation/D4RL): observations [N, d], actions [N, A], rewards [N], terminals [N] (the
task ended), timeouts [N] (the clock cut the episode); optional next_observations [N, d] and infos/<name> [N, ...].
An episode ends with the row of a terminal or a timeout. What its last action led to is in next_observations; without
them that action is dropped, as in robomimic.py.

OGBench (https://github.com/seohongpark/ogbench): observations, actions, terminals, in some files qpos and others. There
`terminals` marks an episode's final observation, a row whose action means nothing; no task ends. Files that have
next_observations are as D4RL's, with `masks` 0 where the task ended.

Entries: `observation`, or the names in a group of observations; and, if they are named, other arrays of as many rows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from skillhier.data import episodes, hdf5
from skillhier.data.arrays import Arrays
from skillhier.data.episodes import ACTION, FLAT, Content, Request
from skillhier.data.faults import DataLocation

OBSERVATIONS, NEXT = "observations", "next_observations"
FORM = "timeouts, next_observations, or the length of all episodes: data.episode_length=1000"


class Rows(NamedTuple):
    """One episode: its rows of the arrays, the last of which may be a final observation alone."""

    arrays: Arrays
    start: int
    stop: int
    final: bool  # the last row is no step but the observation after it
    terminated: bool


def is_flat(arrays: Arrays) -> bool:
    """Whether these are the arrays of a flat file."""
    names = arrays.contents
    return "actions" in names and (OBSERVATIONS in names or any(name.startswith(f"{OBSERVATIONS}.") for name in names))


def groups(
    arrays: Arrays, location: DataLocation, subset: str | None, length: int | None = None
) -> Iterator[tuple[Rows, DataLocation]]:
    """The episodes in order. length: of every episode, where the file does not say where they end."""
    if subset is not None:
        raise location.fault(f"no masks to take subset '{subset}' from", "data.subset left out")
    count = arrays.rows["actions"]
    flags = {
        name: hdf5.to_flags(arrays.get(name, location.under(name), kind=hdf5.FLAGS, rows=count), location.under(name))
        for name in ("terminals", "timeouts", "masks", "valids")
        if name in arrays.contents
    }
    ended = flags.get("terminals", np.zeros(count, bool))
    final = "timeouts" not in flags and not _names(arrays, NEXT) and location.file.suffix == ".npz"
    if final:
        ends = ~flags["valids"] if "valids" in flags else ended
        ended = np.zeros(count, bool)
    else:
        ends = ended | flags["timeouts"] if "timeouts" in flags else ended.copy()
        if "masks" in flags:
            ended = ~flags["masks"]
        if "timeouts" not in flags and length is None and not ends.any() and not _names(arrays, NEXT):
            raise location.fault("nothing that says where episodes end", FORM)
        if "timeouts" not in flags and "masks" not in flags and _names(arrays, NEXT):
            ends |= _jumps(arrays, location, count)
    start = 0
    for index, stop in enumerate(_stops(ends, length)):
        at = location.under(f"episode {index} (rows {start} to {stop - 1})")
        yield Rows(arrays, start, stop, final and bool(ends[stop - 1]), bool(ended[stop - 1])), at
        start = stop


def read(rows: Rows, at: DataLocation, request: Request) -> dict:
    """One checked episode."""
    steps = rows.stop - rows.start - rows.final
    whole = rows.arrays.rows["actions"]
    if request.everything and set(request.widths) <= {ACTION}:
        request.widths.update(dict.fromkeys(contents(rows, at, chosen=True)))
        if set(request.widths) <= {ACTION}:
            raise at.under(OBSERVATIONS).fault("no arrays of numbers", "observations")

    def part(name: str, length: int, **settings) -> np.ndarray:
        inside = at.under(name)
        if name not in rows.arrays.contents:
            raise inside.fault("nothing", f"one of {episodes.listed(contents(rows, at))}")
        return rows.arrays.get(name, inside, rows=whole, **settings)[rows.start : rows.start + length]

    actions = part("actions", steps, needed=episodes.CONTINUOUS)
    actions = episodes.check_entry(actions, at.under("actions"), ACTION, request)
    rewards = np.zeros(steps, np.float32)
    if "rewards" in rows.arrays.contents:
        rewards = episodes.check_rewards(part("rewards", steps, kind=hdf5.NUMBERS), at.under("rewards"), steps)
    optional = [name for name in sorted(request.optional) if _array(rows.arrays, name) in rows.arrays.contents]
    names = [name for name in request.widths if name != ACTION and name not in request.optional] + optional
    stored = {name: _array(rows.arrays, name) for name in names}
    after = {name: array.replace(OBSERVATIONS, NEXT, 1) for name, array in stored.items()}
    has_next = bool(names) and all(
        stored[name] != after[name] and after[name] in rows.arrays.contents for name in names
    )
    settings = {"kind": hdf5.NUMBERS, "pictures": request.pictures}
    obs = {}
    for name, array in stored.items():
        values = part(array, steps + rows.final, **settings)
        if has_next and not rows.final:
            values = np.concatenate([values, part(after[name], steps, **settings)[-1:]])
        obs[name] = episodes.check_entry(values, at.under(array), name, request)
    complete = rows.final or has_next
    episodes.check_length(steps if complete else steps - 1, at.under("actions"), request)
    episodes.check_bounds(actions, at.under("actions"), request)
    return episodes.to_rows(obs, actions, rewards, {"terminated": rows.terminated}, complete=complete)


def contents(rows: Rows, at: DataLocation, chosen: bool = False) -> dict[str, Content]:
    """The entries, unread; `chosen`: of observations alone, as they are read where no entry is named."""
    arrays, count = rows.arrays, rows.arrays.rows["actions"]
    entries = {
        FLAT if name == OBSERVATIONS else name.removeprefix(f"{OBSERVATIONS}."): arrays.contents[name]
        for name in _names(arrays, OBSERVATIONS)
    }
    if chosen:
        return {name: one for name, one in entries.items() if one.dtype != "text"}
    known = {*_names(arrays, OBSERVATIONS), *_names(arrays, NEXT)}
    known |= {"actions", "rewards", "terminals", "timeouts", "masks", "valids"}
    beside = [name for name in arrays.contents if name not in known and arrays.rows[name] == count]
    return entries | {name: arrays.contents[name]._replace(extra=True) for name in beside}


def _names(arrays: Arrays, group: str) -> list[str]:
    """The array of that name, or those in the group of that name."""
    return [name for name in arrays.contents if name == group or name.startswith(f"{group}.")]


def _array(arrays: Arrays, entry: str) -> str:
    """The array that holds an entry."""
    if entry == FLAT and OBSERVATIONS in arrays.contents:
        return OBSERVATIONS
    inside = f"{OBSERVATIONS}.{entry}"
    return inside if inside in arrays.contents else entry


def _jumps(arrays: Arrays, location: DataLocation, count: int) -> np.ndarray:
    """Where the next row does not show what the action led to, [N] bool."""
    jumps = np.zeros(count, bool)
    for name in _names(arrays, NEXT):
        now = name.replace(NEXT, OBSERVATIONS, 1)
        if now in arrays.contents and arrays.contents[now].is_vector:
            read = [arrays.get(one, location.under(one), kind=hdf5.NUMBERS, rows=count) for one in (now, name)]
            before, after = (values.reshape(count, -1) for values in read)
            jumps[:-1] |= (before[1:] != after[:-1]).any(-1)
    return jumps


def _stops(ends: np.ndarray, length: int | None) -> Iterator[int]:
    """The row after each episode's last one; what follows on the last end is an episode that the file's end cut."""
    start = 0
    for stop in [*(np.flatnonzero(ends) + 1).tolist(), len(ends)]:
        while length is not None and stop - start > length:
            start += length
            yield start
        if stop > start:
            start = stop
            yield stop
