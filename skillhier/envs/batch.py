"""Many worlds of one task as an Env: episodes, time limits, resets, action delay, frame stacks.

A task describes one world; everything here is vmapped over worlds. An episode opens inside the physics step (see
`physics.make`), so a reset costs no more than drawing a start.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillhier.branch import any_unbatched
from skillhier.distributed import sharding
from skillhier.envs import physics
from skillhier.types import Array, Bounds, Env, Key, Spec, TimeStep

Memory = Any  # a task's own state beside the physics: any tree of arrays


class Task(NamedTuple):
    """One world's task: pure functions on one world (no batch axis), made for vmap."""

    physics: physics.Physics
    obs: dict[str, jax.ShapeDtypeStruct]  # one frame, before stacking: [D]
    action: Bounds
    interval: float  # s
    limit: int  # control steps
    start: Callable[[Key, Array], tuple[physics.State, Memory]]  # key, world index [] -> the start of an episode
    control: Callable[[physics.Data, Memory, Array], tuple[physics.State, Array]]
    # ^ before a step, with its action [A]: the state to step from (data.state, unless the task moves mocap bodies or
    # switches equalities) and ctrl [nu]
    observe: Callable[[physics.Data, Memory, Array], tuple[dict[str, Array], Memory]]
    # ^ after a step, with the action that led here (zeros where an episode opens): one frame, new memory
    reward_and_discount: Callable[[physics.Data, Memory], tuple[Array, Array]]
    # ^ after a step: reward [], discount [] (0 where the task terminates, else 1)
    privileged: tuple[str, ...] = ()
    success: str | None = None  # the entry that is 1 on the last row of an episode that succeeded
    relabel: Callable[[dict[str, Array]], tuple[dict[str, Array], Array]] | None = None
    # ^ stored entries [..., D] of any world that has these -> as they would be here, and the reward [...] paid there
    pose: Callable[[dict[str, Array], Array], tuple[physics.State, Memory]] | None = None
    # ^ one frame of entries, world index [] -> an episode's start, at rest, that shows them


class Opening(NamedTuple):
    """How an episode of one world begins."""

    start: physics.State
    memory: Memory
    delay: Array  # [] int32 decisions between an action and its execution


class Worlds(NamedTuple):
    """The state of all worlds; every leaf [B, ...]."""

    data: physics.Data
    memory: Memory
    frames: dict[str, Array]  # [B, S, D] newest first
    pending: Array  # [B, longest delay + 1, A] the latest actions, newest first, clipped
    delay: Array  # [B] int32 decisions between an action and its execution, in this episode
    steps: Array  # [B] int32 control steps of this episode so far
    last: Array  # [B] bool: the latest row closed the episode
    index: Array  # [B] int32 the world's number
    episode: Array  # [B] int32 number of this world's present episode
    key: Key  # [B] one for each world, so that no world's draws depend on other worlds
    next: Opening  # of the next episode; before the first step of an episode, of that episode


def make(
    task: Task,
    worlds: int,
    *,
    limit: int | None = None,
    delay: tuple[int, int] = (0, 0),
    stack: int = 1,
    repeat: int = 1,
    draw: Callable[[physics.Data], dict[str, Array]] | None = None,
    draw_only: bool = False,
) -> Env:
    """`worlds` worlds of `task` as an Env.

    Each decision (an action of the policy) lasts `repeat` control steps and its reward is the sum of theirs; a decision
    stops at the end of an episode. An episode is cut after `limit` control steps (default: the task's). The spec, delay
    and stack count decisions. Each episode draws its action delay uniformly from `delay` = (fewest, most); until the
    first action takes effect, zeros are executed. Entries hold the `stack` latest frames, newest first, [B, S, D];
    privileged entries hold one. `draw` adds entries (pictures) to each frame, computed once a decision from one world's
    record; with `draw_only` the task's own entries are left out, except for privileged ones. An episode that closed is
    followed by a row that opens the next one; the action on the closing row has no effect. A world that breaks shows an
    opening row at once (see `types.TimeStep`).
    """
    limit = task.limit if limit is None else limit
    fewest, most = delay
    if not 0 <= fewest <= most:
        raise ValueError(f"delay must be (fewest, most) with 0 <= fewest <= most, got {delay}; set env.delay")
    for name, value in (("worlds", worlds), ("limit", limit), ("stack", stack), ("repeat", repeat)):
        if value < 1:
            raise ValueError(f"{name} must be >= 1, got {value}; set env.{name}")
    if task.success is not None and task.success not in task.obs:
        raise ValueError(f"success '{task.success}' is not an entry of the task; it has {', '.join(task.obs)}")
    entries = _entries(task, draw, draw_only)
    depth = {name: 1 if name in task.privileged else stack for name in entries}

    def draw_opening(key: Key, index: Array, episode: Array) -> Opening:
        k_start, k_delay = jax.random.split(jax.random.fold_in(key, episode))
        start, memory = task.start(k_start, index)
        lag = jax.random.randint(k_delay, (), fewest, most + 1) if fewest < most else jnp.full((), most, jnp.int32)
        return Opening(start, memory, lag)

    def with_pictures(frame: dict[str, Array], data: physics.Data) -> dict[str, Array]:
        drawn = draw(data) if draw is not None else {}
        return {k: (drawn if k in drawn else frame)[k] for k in entries}

    def fill_stack(frame: dict[str, Array]) -> dict[str, Array]:
        return {k: jnp.broadcast_to(v, (depth[k], *v.shape)) for k, v in frame.items()}

    def reset_one(key: Key, index: Array) -> tuple[Worlds, TimeStep]:
        episode = jnp.zeros((), jnp.int32)
        opening = draw_opening(key, index, episode)
        start, memory, lag = opening
        data = task.physics.reset(start)
        pending = jnp.zeros((most + 1, *task.action.shape), jnp.float32)
        frame, memory = task.observe(data, memory, pending[0])
        frame = with_pictures(frame, data)
        zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        state = Worlds(
            data, memory, fill_stack(frame), pending, lag, zero, no, index, episode, key, opening,
        )  # fmt: skip
        return state, TimeStep(state.frames, jnp.zeros(()), jnp.ones(()), ~no, no)

    def step_one(state: Worlds, action: Array) -> tuple[Worlds, TimeStep]:
        # The next opening is drawn on the first step of an episode, not where it opens, so that a reset compiles one
        # opening, not two. Under vmap all worlds draw when one does; the others draw the same opening again.
        draw_next = lambda: draw_opening(state.key, state.index, state.episode + 1)  # noqa: E731
        following = jax.lax.cond(any_unbatched(state.steps == 0), draw_next, lambda: state.next)
        start, start_memory, lag = following
        action = task.action.clip(action).astype(jnp.float32)
        pending = jnp.concatenate([action[None], state.pending[:-1]])
        acted = pending[state.delay]

        def advance(data: physics.Data, memory: Memory, steps: Array, renew: Array) -> StepResult:
            controlled, ctrl = task.control(data, memory, acted)
            data = task.physics.step(controlled, ctrl, renew, start)
            first = renew | data.broken
            memory = jax.tree.map(lambda a, b: jnp.where(first, a, b), start_memory, memory)
            frame, memory = task.observe(data, memory, jnp.where(first, 0, acted))
            # the dtype of a reset: with a weak type, whatever holds this state would be traced twice
            reward, discount = (x.astype(jnp.float32) for x in task.reward_and_discount(data, memory))
            reward, discount = jnp.where(first, 0.0, reward), jnp.where(first, 1.0, discount)
            steps = jnp.where(first, 0, steps + 1)
            return StepResult(data, memory, frame, reward, discount, steps, first, (steps >= limit) | (discount == 0))

        now = _repeated(advance, state, repeat, task.obs)
        first = now.first
        pick = lambda new, old: jax.tree.map(lambda a, b: jnp.where(first, a, b), new, old)  # noqa: E731
        pending = pick(jnp.zeros_like(pending), pending)
        frame = with_pictures(now.frame, now.data)
        older = {k: jnp.concatenate([v[None], state.frames[k][:-1]]) for k, v in frame.items()}
        frames = pick(fill_stack(frame), older)
        episode = state.episode + first
        state = Worlds(
            now.data, now.memory, frames, pending, pick(lag, state.delay), now.steps, now.last,
            state.index, episode, state.key, following,
        )  # fmt: skip
        return state, TimeStep(frames, now.reward, now.discount, first, now.last)

    reset_all = sharding.per_device(jax.vmap(reset_one))

    def reset(key: Key) -> tuple[Worlds, TimeStep]:
        return reset_all(jax.random.split(key, worlds), jnp.arange(worlds, dtype=jnp.int32))

    shapes = {k: jax.ShapeDtypeStruct((depth[k], *v.shape), v.dtype) for k, v in entries.items()}
    spec = Spec(
        obs=shapes,
        action=task.action,
        worlds=worlds,
        interval=repeat * task.interval,
        limit=-(-limit // repeat),
        privileged=task.privileged,
        success=task.success if task.success in entries else None,
    )
    return Env(with_full_precision(reset), with_full_precision(sharding.per_device(jax.vmap(step_one))), spec)


class StepResult(NamedTuple):
    """One world after a control step, or after all control steps of a decision."""

    data: physics.Data
    memory: Memory
    frame: dict[str, Array]
    reward: Array  # []
    discount: Array  # []
    steps: Array  # [] int32
    first: Array  # [] bool: an episode opened here; nothing before it counts
    last: Array  # [] bool: the episode closed here


def _repeated(advance: Callable[..., StepResult], state: Worlds, repeat: int, entries: dict) -> StepResult:
    """`advance` up to `repeat` times from `state`, until the episode ends, with the sum of the rewards."""
    if repeat == 1:
        return advance(state.data, state.memory, state.steps, state.last)

    def one_more(now: StepResult, renew: Array) -> tuple[StepResult, None]:
        new = advance(now.data, now.memory, now.steps, renew)
        new = new._replace(reward=jnp.where(new.first, 0.0, now.reward + new.reward))
        over = now.first | now.last  # an episode opened or closed at an earlier step of this decision
        return jax.tree.map(lambda a, b: jnp.where(over, a, b), now, new), None

    # The scan traces and compiles the physics once, whatever `repeat`. Before its first step no episode is over.
    frame = {k: jnp.zeros(v.shape, v.dtype) for k, v in entries.items()}
    zero, no = jnp.zeros((), jnp.float32), jnp.zeros((), bool)
    before = StepResult(state.data, state.memory, frame, zero, zero, state.steps, no, no)
    renewals = jnp.zeros((repeat,), bool).at[0].set(state.last)
    return jax.lax.scan(one_more, before, renewals)[0]


def _entries(task: Task, draw: Callable | None, alone: bool) -> dict[str, jax.ShapeDtypeStruct]:
    """The entries of one frame of `task` with `draw`; drawn entries replace the task's of the same name."""
    if draw is None:
        if alone:
            raise ValueError("draw_only needs a function `draw`; set env.draw_only to False")
        return dict(task.obs)
    data = jax.eval_shape(lambda: task.physics.reset(physics.initial(task.physics.model)))  # needs no bank of starts
    entries = {k: v for k, v in task.obs.items() if not alone or k in task.privileged}
    return entries | jax.eval_shape(draw, data)


def with_full_precision(call: Callable) -> Callable:
    """`call` with matrix products in full float32; by default GPUs and TPUs use fewer bits."""

    @wraps(call)
    def precise(*arguments):
        with jax.default_matmul_precision("highest"):
            return call(*arguments)

    return precise
