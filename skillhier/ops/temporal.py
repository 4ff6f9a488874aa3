"""Views of a trajectory: the rows that one level of a hierarchy sees, as a function Trajectory -> Trajectory.

acting_on(name)   the rows as they are, the action being a note of the policy
coarsen(k)        every k-th row: one transition per choice of a manager with a fixed period, in imagination
segments(name)    one transition per choice, whatever its period: real rows with ends, time limits and broken worlds
first_segment     the first whole one of these in a window, and the rows that it merges
split(k)          chunks of k transitions as separate sequences: a worker's returns do not cross a chunk
leaving()         imagined rows without the first one, each paid on leaving it (Dreamer, 2020)

In every view the three facts of ops/returns.py keep their meaning. Where transitions 1 .. n become one, with rewards
r_i, discounts d_i and flags `first` f_i of the rows arrived at,

    reward    r_1 + gamma d_1 (r_2 + gamma d_2 (r_3 + ...))
    discount  gamma^(n - 1) d_1 d_2 ... d_n
    first     f_1 | ... | f_n        an episode opened in between, so this is no transition

so the merged transition under the discount gamma of a loss is worth what its n transitions are worth: with one gamma in
the view and in the loss, reward + gamma discount V = r_1 + gamma d_1 (r_2 + ... + gamma d_n V). The view's gamma is 1
unless it is given: then rewards are summed and a manager discounts once per choice, as in Director.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from skillhier.types import Array, TimeStep, Trajectory

View = Callable[[Trajectory], Trajectory]


def acting_on(name: str) -> View:
    """The view of a level whose action at a row is what the policy noted there under `name`, [T, B, ...]."""
    return lambda batch: batch._replace(action=_note(batch, name))


def coarsen(k: int, gamma: float = 1.0, *, mean: bool = False) -> View:
    """Rows 0, k, 2k, ... of nk + 1 rows, [n + 1, B, ...], each transition merging the k between (see above).

    For imagined rows, or windows aligned with a fixed period: a chunk in which an episode opens is no transition, so
    one that an episode's end cuts short is lost; `segments` keeps it. Row 0 keeps its own reward and discount.

    mean: a chunk pays the mean of its rewards, not their sum. Director (Hafner et al., 2022) does so, and weights it
    with the continuation of the chunk's first row too, which here is part of the discount of the transition before.
    """
    _check_period(k)

    def view(batch: Trajectory) -> Trajectory:
        count = _chunks(batch, k)
        step = batch.step
        discount, first = (x[1:].reshape(count, k, -1) for x in (step.discount, step.first))
        factors = jnp.concatenate([jnp.ones_like(discount[:, :1]), gamma * discount[:, :-1]], 1)
        weight = jnp.cumprod(factors, 1)  # [n, k, B] gamma^(i - 1) d_1 ... d_(i - 1) of reward r_i
        coarse = jax.tree.map(lambda x: x[::k], batch)

        def summed(reward: Array) -> Array:
            chunks = weight * reward[1:].reshape(count, k, -1)
            return reward[::k].at[1:].set(chunks.mean(1) if mean else chunks.sum(1))

        merged = coarse.step._replace(
            reward=jax.tree.map(summed, step.reward),
            discount=coarse.step.discount.at[1:].set(weight[:, -1] * discount[:, -1]),
            first=coarse.step.first.at[1:].set(first.any(1)),
        )
        return coarse._replace(step=merged)

    return view


def split(k: int, held: Sequence[str] = ()) -> View:
    """nk + 1 rows [nk + 1, B, ...] as n chunks of k + 1 rows, [k + 1, B n, ...]; chunk j of world b is b n + j.

    A chunk's last row is the first one of the next chunk. No flag is set: a chunk is a window, so its returns bootstrap
    from the value at its last row (ops.returns.transitions), and a true end inside it has discount 0 as before.

    held: notes that a chunk's last row takes from the row before it. There the manager has already made its next
    choice, and the value that a chunk bootstraps from is that of the chunk's own choice.
    """
    _check_period(k)

    def view(batch: Trajectory) -> Trajectory:
        count = _chunks(batch, k)
        rows = jnp.arange(k + 1)[:, None] + k * jnp.arange(count)  # [k + 1, n]

        def chunked(x: Array) -> Array:
            return x[rows].swapaxes(1, 2).reshape(k + 1, -1, *x.shape[2:])

        chunks = jax.tree.map(chunked, batch)
        notes = {name: _note(chunks, name) for name in held}
        notes = {name: jax.tree.map(lambda x: x.at[-1].set(x[-2]), note) for name, note in notes.items()}
        return chunks._replace(extras={**chunks.extras, **notes})

    return view


def leaving() -> View:
    """Rows 1 .. T - 1 of T imagined rows, [T - 1, B, ...], where a row pays when it is left, not when it is reached.

    Row t's reward and discount become those of row t + 1, so that a value counts the reward of its own row:
    V_t = r_t + gamma d_t V_{t+1} (Dreamer, 2020, equations 4 to 6, where the start row does not count). The reward of
    the last row pays nobody.
    """

    def view(batch: Trajectory) -> Trajectory:
        later = jax.tree.map(lambda x: x[1:], batch)
        earlier = jax.tree.map(lambda x: x[:-1], (batch.step.reward, batch.step.discount))
        return later._replace(step=later.step._replace(reward=earlier[0], discount=earlier[1]))

    return view


def segments(name: str, gamma: float = 1.0, rows: int | None = None) -> View:
    """One row per choice of the hierarchy `name`, from its note `name`_renewed; [rows, B, ...], by default T rows.

    A world's rows are those with a new choice and those with `last`, one after another; the transitions between them
    are merged (see above). Hence an end or a time limit closes the segment that it cuts short and keeps its rewards. A
    segment that a broken world or an artificial cut of a replay interrupts is no transition; nor are rows before the
    first choice of a window, and those after its last choice, whose outcome is unknown.

    Remaining rows have `first` and `last` set, no reward, and repeat the window's last row: they are no transition, and
    losses over rows that are not `last` skip them. With fewer `rows` than there are choices later ones are left out.
    """

    def view(batch: Trajectory) -> Trajectory:
        step = batch.step
        ends = _note(batch, f"{name}_renewed") | step.last  # [T, B] rows that end a segment or begin one
        length = len(ends)
        size = length if rows is None else min(rows, length)
        merged = _merged(step, ends, gamma)
        spare = jnp.arange(size)[:, None] >= ends.sum(0)
        order = jnp.argsort(~ends, axis=0, stable=True)[:size]
        short = take_rows(batch._replace(step=merged), jnp.where(spare, length - 1, order))
        reward, discount = jnp.where(spare, 0, short.step.reward), jnp.where(spare, 1, short.step.discount)
        first, last = short.step.first | spare, short.step.last | spare
        return short._replace(step=short.step._replace(reward=reward, discount=discount, first=first, last=last))

    return view


def first_segment(batch: Trajectory, name: str, gamma: float = 1.0) -> tuple[Trajectory, Array]:
    """The first transition of `segments(name, gamma)` in each world, [2, B, ...], and the rows that it joins, [2, B].

    Of windows drawn uniformly from real rows, it is every segment's turn about equally often: once for each row of the
    segment before. A window of two periods always holds one. Where there is none, the two rows are no transition.
    """
    note = f"{name}/row"
    rows = jnp.arange(len(batch.step.first))[:, None] + jnp.zeros_like(batch.step.first, jnp.int32)
    # three rows: the first two may be an episode's last row and the one that opens the next
    short = segments(name, gamma, rows=3)(batch._replace(extras={**batch.extras, note: rows}))
    valid = ~short.step.last[:-1] & ~short.step.first[1:]
    begin = valid.argmax(0)
    short = take_rows(short, jnp.stack([begin, begin + 1]))
    rows = short.extras.pop(note)
    return short, rows


def take_rows(tree: Any, rows: Array) -> Any:
    """Rows of every leaf [T, B, ...], for each world its own: [R, B, ...] from `rows` [R, B] int32."""
    return jax.tree.map(lambda x: jnp.take_along_axis(x, rows.reshape(*rows.shape, *[1] * (x.ndim - 2)), 0), tree)


def _merged(step: TimeStep, ends: Array, gamma: float) -> TimeStep:
    """At every row the transitions since the last row with `ends` before it, merged into one; row 0 is its own."""

    def row(carry, inputs):
        (reward, discount, first), begins = carry
        reward_here, discount_here, first_here, ends = inputs
        weight = jnp.where(begins, 1.0, gamma * discount)
        reward = jnp.where(begins, 0.0, reward) + weight * reward_here
        merged = reward, weight * discount_here, first_here | (first & ~begins)
        return (merged, ends), merged

    rows = step.reward, step.discount, step.first
    start = jax.tree.map(lambda x: x[0], rows), jnp.ones_like(ends[0])
    _, (reward, discount, first) = jax.lax.scan(row, start, (*rows, ends))
    return step._replace(reward=reward, discount=discount, first=first)


def _note(batch: Trajectory, name: str):
    if name not in batch.extras:
        notes = ", ".join(sorted(batch.extras)) or "none"
        raise ValueError(f"the view of a level needs the note '{name}', got {notes}; add it to the replay's extras")
    return batch.extras[name]


def _check_period(k: int) -> None:
    if k < 1:
        raise ValueError(f"the period of a view must be >= 1, got {k}; set agent.period")


def _chunks(batch: Trajectory, k: int) -> int:
    """The number of chunks of k transitions in a trajectory of nk + 1 rows."""
    horizon = len(batch.step.first) - 1
    if horizon < 1 or horizon % k:
        raise ValueError(f"horizon must be a multiple of the period {k}, got {horizon}; set agent.horizon")
    return horizon // k
