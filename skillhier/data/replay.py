"""A replay on the device: a ring of time-major rows of every world. Pure functions on one tree of arrays.

Of each observation entry one frame a row is stored; `sample` rebuilds the stacks from `first`, as the worlds built
them: the first frame of an episode stands for those before it. Rows have the meaning of types.py.
"""

import math
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.distributed import sharding
from skillhier.types import Array, Bounds, Key, Spec, TimeStep, Trajectory

GIB = 2**30


class ReplayState(NamedTuple):
    """N rows of B worlds. train.ring_files knows these four fields by name."""

    rows: Trajectory  # leaves [N, B, ...], one frame of each observation entry; zeros where never written
    head: Array  # [] int32 place in the ring that is written next
    filled: Array  # [] int32 rows stored, at most N
    next_row: Array  # [] int32 number of the row that would follow on the newest one


class Replay(NamedTuple):
    """The functions of a replay: `init() -> ReplayState`; `make` explains `frames`, `add` and `sample`."""

    init: Callable[[], ReplayState]
    frames: Callable[[Trajectory], Trajectory]
    add: Callable[..., ReplayState]
    sample: Callable[..., Trajectory]
    rows: int  # N
    stack_context: int  # rows before a window that its deepest stack reaches back to


def make(
    rows: int,
    spec: Spec,
    *,
    extras: Mapping[str, jax.ShapeDtypeStruct] | None = None,
    max_bytes: float | None = None,
    copies: int = 1,
) -> Replay:
    """A replay of the newest `rows` rows of each of the worlds of `spec`, whose entries are stacks [S, ...].

    extras: the policy's extras to store, name -> shape and type for one world
    max_bytes: limit of its size; by default the free memory of the device, on a CPU the memory of the machine
    copies: how many such replays there will be, one for each seed of a program

    `frames(chunk)`: what is stored of rows as `rollout` gives them, [T, B, ...]: the newest frames, the wanted extras.
    `add(state, chunk, number=None, due=True)`: writes the `frames` of a chunk, in time and memory that do not grow
    with the ring. `number` is that of the chunk's first row; if it does not follow on the newest stored row, the rows
    between are lost, and the chunk is stored as one that opens an episode, so that no transition leads across. With
    `due` False nothing changes, at the cost of the chunk.
    `sample(state, key, *, batch_size, sequence_length, lookahead=0, crossing=True)`: windows of L = sequence_length +
    lookahead rows as a Trajectory [L, batch_size, ...], each beginning at a row and world drawn uniformly, with
    replacement, from all valid ones: no window reaches over the head of the ring, and the oldest rows only serve as
    the older frames of others. There must be `stack_context` + L rows. With `crossing` False a window stays in the
    episode of its first row: rows after the episode's last one repeat it, with `last` set and no reward (as in
    data.sources.offline), and the last row before a world broke counts as one.

    Actions may be a tree of parts, as in `spec.action`. Raises ValueError: a ring that is too small, or too large for
    the memory.
    """
    if rows < 1:
        raise ValueError(f"replay.rows must be >= 1, got {rows}; set replay.rows")
    worlds, extras = spec.worlds, dict(extras or {})
    depth = {name: shape.shape[0] for name, shape in spec.obs.items()}
    stack_context = max(depth.values(), default=1) - 1
    _refuse_too_large(rows, worlds, copies, bytes_per_row(spec, extras), max_bytes)

    def init() -> ReplayState:
        blank = jax.tree.map(lambda one: jnp.zeros((rows, worlds, *one.shape), one.dtype), row_shapes(spec, extras))
        zero = jnp.zeros((), jnp.int32)
        return ReplayState(blank, zero, zero, zero)

    def frames(chunk: Trajectory) -> Trajectory:
        missing = sorted(extras.keys() - chunk.extras.keys())
        if missing:
            raise ValueError(f"the policy notes no '{missing[0]}'; it notes {', '.join(sorted(chunk.extras)) or '-'}")
        obs = {name: chunk.step.obs[name][:, :, 0] for name in depth}
        return chunk._replace(step=chunk.step._replace(obs=obs), extras={name: chunk.extras[name] for name in extras})

    def add(
        state: ReplayState, chunk: Trajectory, number: Array | None = None, due: Array | bool = True
    ) -> ReplayState:
        length = len(chunk.step.first)
        if length > rows:
            raise ValueError(f"a chunk of {length} rows does not fit into a replay of {rows}; set replay.rows")
        number = state.next_row if number is None else number
        step = chunk.step
        gap = (jnp.arange(length) == 0) & (number != state.next_row)
        first = step.first | gap[:, None]
        chunk = chunk._replace(step=step._replace(first=first, reward=jnp.where(first, 0, step.reward)))
        places = (state.head + jnp.arange(length)) % rows

        def write(ring: Array, new: Array) -> Array:
            if (ring.shape[1:], ring.dtype) != (new.shape[1:], new.dtype):
                raise ValueError(
                    f"the replay stores {ring.dtype}{ring.shape[1:]}, the chunk has {new.dtype}{new.shape[1:]}"
                )
            new = new if due is True else jnp.where(due, new, ring[places])
            return ring.at[places].set(new, mode="promise_in_bounds", unique_indices=True)

        written = jnp.where(due, length, 0)
        return ReplayState(
            jax.tree.map(write, state.rows, chunk),
            (state.head + written) % rows,
            jnp.minimum(state.filled + written, rows),
            jnp.where(due, number + length, state.next_row).astype(jnp.int32),
        )

    def sample(
        state: ReplayState,
        key: Key,
        *,
        batch_size: int,
        sequence_length: int,
        lookahead: int = 0,
        crossing: bool = True,
    ) -> Trajectory:
        k_start, k_world = jax.random.split(key)
        span = stack_context + sequence_length + lookahead
        world = jax.random.randint(k_world, (batch_size,), 0, worlds)
        start = jax.random.randint(k_start, (batch_size,), 0, jnp.maximum(state.filled - span + 1, 1))
        begin = state.head - state.filled + start

        def read(ring: Array, row: Array) -> Array:
            """Rows [L, batch_size, ...] counted from a window's oldest frame."""
            shape = (1, batch_size, *(1,) * (row.ndim - 2))
            place = (begin.reshape(shape) + row) % rows
            return sharding.sharded_gather(ring, place, world.reshape(shape))

        every = jnp.broadcast_to(jnp.arange(span)[:, None], (span, batch_size))
        first, last = (read(ring, every) for ring in (state.rows.step.first, state.rows.step.last))
        opened = jax.lax.cummax(jnp.where(first, every, 0), axis=0)  # the row that opened a row's episode
        row = every[stack_context:]
        if not crossing:
            last = last.at[:-1].set(last[:-1] | first[1:])
            stop = jnp.min(jnp.where(last[stack_context:], row, span - 1), axis=0)  # [batch_size] an episode's end
            row = jnp.minimum(row, stop)
        past = every[stack_context:] > row
        opened = jnp.take_along_axis(opened, row, axis=0)
        ages = jnp.arange(stack_context + 1)
        stacks = jnp.maximum(row[..., None] - ages, opened[..., None])  # [L, batch_size, S] the rows of a row's frames
        step = state.rows.step
        now = lambda ring: read(ring, row)  # noqa: E731
        return Trajectory(
            TimeStep(
                obs={name: read(ring, stacks[..., : depth[name]]) for name, ring in step.obs.items()},
                reward=jnp.where(past, 0, now(step.reward)),
                discount=now(step.discount),
                first=now(step.first) & ~past,
                last=jnp.take_along_axis(last, row, axis=0),
            ),
            jax.tree.map(now, state.rows.action),
            jax.tree.map(now, state.rows.extras),
        )

    return Replay(init, frames, add, sample, rows, stack_context)


def bytes_per_row(spec: Spec, extras: Mapping[str, jax.ShapeDtypeStruct] | None = None) -> int:
    """What one row of one world takes in a replay."""
    leaves = jax.tree.leaves(row_shapes(spec, dict(extras or {})))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def row_shapes(spec: Spec, extras: dict[str, jax.ShapeDtypeStruct]) -> Trajectory:
    """Shapes and types of what is stored of one row of one world."""
    number, flag = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.bool_)
    obs = {name: jax.ShapeDtypeStruct(shape.shape[1:], shape.dtype) for name, shape in spec.obs.items()}
    is_bounds = lambda part: isinstance(part, Bounds)  # noqa: E731
    action = jax.tree.map(lambda part: jax.ShapeDtypeStruct(part.shape, jnp.float32), spec.action, is_leaf=is_bounds)
    return Trajectory(TimeStep(obs, number, number, flag, flag), action, extras)


def _refuse_too_large(rows: int, worlds: int, copies: int, row_bytes: int, max_bytes: float | None) -> None:
    needed = rows * worlds * copies * row_bytes
    device = jax.local_devices()[0].memory_stats() or {}
    if max_bytes is not None:
        limit, owner = max_bytes, "its limit is"
    elif "bytes_limit" in device:
        limit, owner = device["bytes_limit"] - device.get("bytes_in_use", 0), "the device has free"
    elif hasattr(os, "sysconf"):
        limit, owner = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "the machine has"
    else:
        return
    if needed > limit:
        copied = f"{worlds} worlds" + (f" of {copies} seeds" if copies > 1 else "")
        raise ValueError(
            f"a replay of {rows} rows in {copied} takes {needed / GIB:.3g} GiB ({row_bytes} bytes a row and world), "
            f"{owner} {limit / GIB:.3g} GiB; set replay.rows to at most {int(limit // (worlds * copies * row_bytes))}"
        )
