"""Batches for learners: windows drawn from demonstrations, as a Source and as one deterministic pass.

The rows of all episodes lie padded in one matrix on the device (copies of the first row before, of the
last row after), so that a window with its stacks and its look-ahead is one slice of it. Pictures lie beside it as the
bytes that they are.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.data.dataset import Dataset
from skillhier.data.faults import DataFault
from skillhier.types import Array, Key, Metrics, Params, Source, TimeStep, Trajectory


class Rows(NamedTuple):
    """Padded episodes on the device, and where windows may begin. A source's state: an argument, no constant."""

    values: Array  # float32 [R', D]: the columns of `Columns`, side by side
    pictures: dict[str, Array]  # uint8 [R', H, W, C] each
    starts: Array  # int32 [W]: rows where a window's slice may begin


class Columns(NamedTuple):
    """Which columns of Rows.values hold what."""

    obs: dict[str, slice]
    action: slice
    reward: int
    discount: int
    first: int
    last: int


def offline(
    dataset: Dataset, *, batch_size: int, sequence_length: int = 25, lookahead: int = 0, stack: int = 1
) -> Source:
    """Windows drawn uniformly, with replacement, from all places where `sequence_length` steps fit into an episode.

    `next` gives Trajectories of L = sequence_length + lookahead rows: step.obs[name] [L, batch_size,
    stack, d], of pictures uint8 [L, batch_size, stack, H, W, C], newest frame first, the first row of an episode
    repeated where the stack reaches before it; action [.., A]. Where the look-ahead reaches past an episode's end its
    last row is repeated, with `last` set and no reward. Windows never cross from one episode into another.
    """
    _check(dataset, sequence_length)
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}; set train.batch_size")
    columns = _columns(dataset)
    cut = partial(_cut, columns=columns, sequence_length=sequence_length, lookahead=lookahead, stack=stack)

    def init(key: Key) -> Rows:
        del key
        values, pictures, heads = _padded(dataset, columns, before=stack - 1, after=lookahead)
        starts = np.concatenate(
            [np.arange(n - sequence_length + 1) + h for h, n in zip(heads, dataset.length, strict=True)]
        )
        rows = Rows(values, pictures, starts.astype(np.int32))
        # asked for, not closed over: under jit the data would become a constant of the program, and of its cache
        return jax.pure_callback(lambda: rows, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), rows))

    def next_(state: Rows, params: Params, key: Key) -> tuple[Rows, Trajectory, Metrics]:
        del params
        drawn = jax.random.randint(key, (batch_size,), 0, len(state.starts))
        return state, cut(state.values, state.pictures, state.starts[drawn]), {}

    def peek(state: Rows, key: Key) -> Trajectory:
        return next_(state, (), key)[1]

    return Source(init, next_, peek=peek, constant=True)


def windows(
    dataset: Dataset, *, batch_size: int = 128, sequence_length: int = 25, lookahead: int = 0, stack: int = 1
) -> Iterator[Trajectory]:
    """Consecutive windows of every episode, none overlapping, in order: what held-out data is assessed on.

    They come as Trajectories like those of `offline`, at most `batch_size` windows each and all of one size, so
    that one program serves all and the mean of their means is the mean; for that, fewer windows than there
    are Trajectories may be left out at the end, as are the steps after an episode's last whole window.
    """
    _check(dataset, sequence_length)
    columns = _columns(dataset)
    cut = jax.jit(partial(_cut, columns=columns, sequence_length=sequence_length, lookahead=lookahead, stack=stack))
    values, pictures, heads = _padded(dataset, columns, before=stack - 1, after=lookahead)
    values, pictures = jax.tree.map(jnp.asarray, (values, pictures))
    starts = np.concatenate(
        [np.arange(h, h + n - sequence_length + 1, sequence_length) for h, n in zip(heads, dataset.length, strict=True)]
    )
    chunks = -(-len(starts) // batch_size)
    size = len(starts) // chunks
    for chunk in range(chunks):
        yield cut(values, pictures, jnp.asarray(starts[chunk * size : (chunk + 1) * size], jnp.int32))


def _check(dataset: Dataset, sequence_length: int) -> None:
    shortest = int(dataset.length.min(initial=sequence_length))
    if not len(dataset.length) or shortest < sequence_length:
        raise DataFault(
            f"found an episode of {shortest} steps, needs at least {sequence_length}; "
            "set train.sequence_length, or data.drop_short=true"
        )


def _columns(dataset: Dataset) -> Columns:
    at, obs = 0, {}
    for name, values in _numbers(dataset).items():
        obs[name] = slice(at, at + values.shape[1])
        at = obs[name].stop
    action = slice(at, at + dataset.action.shape[1])
    return Columns(obs, action, *range(action.stop, action.stop + 4))


def _numbers(dataset: Dataset) -> dict[str, np.ndarray]:
    """The entries that are no pictures."""
    return {name: values for name, values in dataset.obs.items() if values.dtype != np.uint8}


def _padded(
    dataset: Dataset, columns: Columns, before: int, after: int
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """All rows as float32 [R', D], the pictures, and [E] the padded row where each episode's slices begin."""
    first, last = dataset.start, dataset.start + dataset.length
    whole = np.concatenate(
        [*_numbers(dataset).values(), dataset.action, np.zeros((len(dataset.reward), 4), np.float32)], axis=1
    )
    whole[:, columns.reward] = dataset.reward
    whole[:, columns.discount] = 1
    whole[last, columns.discount] = 1 - dataset.info.get("terminated", np.zeros(len(last)))
    whole[first, columns.first] = 1
    whole[last, columns.last] = 1
    sizes = before + dataset.length + 1 + after
    heads = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    within = np.arange(sizes.sum()) - np.repeat(heads + before, sizes)  # row counted from its episode's first one
    longest = np.repeat(dataset.length, sizes)
    place = np.repeat(first, sizes) + np.clip(within, 0, longest)
    padded = whole[place]
    padded[within > longest, columns.reward] = 0
    return padded, {name: x[place] for name, x in dataset.obs.items() if name not in columns.obs}, heads


def _cut(
    values: Array,
    pictures: dict[str, Array],
    starts: Array,
    *,
    columns: Columns,
    sequence_length: int,
    lookahead: int,
    stack: int,
) -> Trajectory:
    """The windows [sequence_length + lookahead, B, ...] whose slices begin at rows `starts` [B]."""
    rows = sequence_length + lookahead

    def window(of: Array) -> Array:  # [stack - 1 + rows, B, ...]
        take = jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(of, start, rows + stack - 1))
        return jnp.swapaxes(take(starts), 0, 1)

    def stacked(window: Array) -> Array:  # [rows, B, S, ...]
        return jnp.stack([window[stack - 1 - age :][:rows] for age in range(stack)], axis=2)

    numbers = window(values)
    frames, now = stacked(numbers), numbers[stack - 1 :]
    step = TimeStep(
        obs={name: frames[..., part] for name, part in columns.obs.items()}
        | {name: stacked(window(of)) for name, of in pictures.items()},
        reward=now[..., columns.reward],
        discount=now[..., columns.discount],
        first=now[..., columns.first] > 0,
        last=now[..., columns.last] > 0,
    )
    return Trajectory(step, now[..., columns.action], {})
