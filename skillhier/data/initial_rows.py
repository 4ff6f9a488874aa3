"""Rows that a replay begins with, on the host as it stores them: from a data set, or from the ring of another run.

They are a Trajectory [n, C, ...] of numpy arrays: n rows in time order of each of C columns, single frames of each
observation entry. What a row means is said in types.py.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from skillhier.data.dataset import Dataset
from skillhier.data.faults import DataFault
from skillhier.data.replay import row_shapes
from skillhier.types import Spec, TimeStep, Trajectory


def of_dataset(data: Dataset) -> Trajectory:
    """The episodes one after another in one column, [R, 1, ...]."""
    first, last = np.zeros(len(data.reward), bool), np.zeros(len(data.reward), bool)
    first[data.start] = last[data.start + data.length] = True
    discount = np.ones(len(data.reward), np.float32)
    discount[data.start + data.length] = 1 - data.info.get("terminated", np.zeros(len(data.length)))
    step = TimeStep(data.obs, np.where(first, 0, data.reward).astype(np.float32), discount, first, last)
    return jax.tree.map(lambda x: x[:, None], Trajectory(step, data.action, {}))


def of_ring(ring: Mapping[str, Any]) -> Trajectory:
    """The stored rows of a replay, oldest first. `ring`: a data.replay.ReplayState as nested dictionaries."""
    rows, head, filled = ring["rows"], int(ring["head"]), int(ring["filled"])
    size = len(rows["step"]["first"])
    places = (head - filled + np.arange(filled)) % size
    ordered = jax.tree.map(lambda x: np.asarray(x)[places], rows)
    return Trajectory(TimeStep(**ordered["step"]), ordered["action"], ordered.get("extras", {}))


def fitted(rows: Trajectory, spec: Spec, extras: Mapping[str, jax.ShapeDtypeStruct], origin: str) -> Trajectory:
    """`rows` with the entries that a replay of worlds of `spec` stores, and the notes `extras`, and no others.

    Raises DataFault, one line that begins with `origin`: entries or notes that are missing, sizes that differ.
    """
    wanted = row_shapes(spec, dict(extras))
    for what, there, needed in (
        ("entries", rows.step.obs, wanted.step.obs),
        ("notes of the policy that this agent learns from:", rows.extras, wanted.extras),
    ):
        missing = [name for name in needed if name not in there]
        if missing:
            raise DataFault(f"{origin} lacks the {what} {', '.join(missing)}; it has {', '.join(there) or 'none'}")
    chosen = Trajectory(
        rows.step._replace(obs={name: rows.step.obs[name] for name in wanted.step.obs}),
        rows.action,
        {name: rows.extras[name] for name in wanted.extras},
    )
    if jax.tree.structure(chosen) != jax.tree.structure(wanted):
        raise DataFault(f"{origin} has actions of other parts than these worlds; choose another env.name")

    def fit(at: tuple, one: jax.ShapeDtypeStruct, given: np.ndarray) -> np.ndarray:
        picture = np.dtype(one.dtype) == np.uint8
        if given.shape[2:] != one.shape or (given.dtype == np.uint8) != picture:
            name = jax.tree_util.keystr(at, simple=True, separator="/").removeprefix("step/").removeprefix("obs/")
            raise DataFault(
                f"{origin} has {name} as {given.dtype}{list(given.shape[2:])}, these worlds as "
                f"{np.dtype(one.dtype)}{list(one.shape)}; choose another env.name"
            )
        return given.astype(one.dtype, copy=False)

    return jax.tree_util.tree_map_with_path(fit, wanted, chosen)


def packed(rows: Trajectory, worlds: int, room: int) -> Trajectory:
    """`rows` [n, C, ...] as columns [n', worlds, ...] with n' at most `room`: the newest of them.

    Where C is not `worlds`, the columns are laid one after another and cut into `worlds` equal parts, of which the
    remainder, fewer rows than there are worlds, is left out. A cut may fall into an episode. Where columns meet inside
    a part, the later one opens an episode, so that no transition leads across.
    """
    count, columns = rows.step.first.shape
    kept = min(count, room * worlds // columns)
    length = min(kept * columns // worlds, room)
    rows = jax.tree.map(lambda x: x[count - kept :], rows)
    if columns == worlds:
        return rows
    step = rows.step
    opens = np.zeros((kept, columns), bool)
    opens[:1] = True

    def cut(leaf: np.ndarray) -> np.ndarray:  # [kept, C, ...] -> [length, worlds, ...]
        flat = np.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:])
        parts = flat[len(flat) - length * worlds :].reshape(worlds, length, *leaf.shape[2:])
        return np.swapaxes(parts, 0, 1)

    inside = cut(opens)
    inside[:1] = False  # what comes first in a part follows on nothing
    first = cut(step.first) | inside
    cut_rows = jax.tree.map(cut, rows)
    return cut_rows._replace(
        step=cut_rows.step._replace(first=first, reward=np.where(first, 0, cut_rows.step.reward).astype(np.float32))
    )
