"""Many worlds of one task as an Env: episodes, time limits, resets, action delay, frame stacks.

A task speaks of one world; everything here is vmapped over worlds. An episode is opened inside the
physics step (`physics.make`), so a reset costs a draw of a start and nothing else.
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

Memory = Any  # what a task carries beside the physics: any tree of arrays


class Task(NamedTuple):
    """One world's task: pure functions on one world (no batch axis), made for vmap."""

    physics: physics.Physics
    obs: dict[str, jax.ShapeDtypeStruct]  # one frame, before stacking: [D]
    action: Bounds
    interval: float  # s
    limit: int  # control steps
    start: Callable[[Key, Array], tuple[physics.State, Memory]]  # key, world index [] -> where an episode opens
    control: Callable[[physics.Data, Memory, Array], tuple[physics.State, Array]]
    # ^ before a step, with its action [A]: the state to step from (data.state, unless the task moves mocap bodies or
    # switches equalities) and ctrl [nu]
    observe: Callable[[physics.Data, Memory, Array], tuple[dict[str, Array], Memory]]
    # ^ after a step, with the action that led here (zeros where an episode opens): one frame, new memory
    judge: Callable[[physics.Data, Memory], tuple[Array, Array]]  # -> reward [], discount [] (0 at a true end)
    privileged: tuple[str, ...] = ()
    success: str | None = None  # the entry that is 1 on the last row of an episode that succeeded


class Opening(NamedTuple):
    """How an episode of one world begins."""

    start: physics.State
    memory: Memory
    delay: Array  # [] int32 control steps between asking and acting


class Worlds(NamedTuple):
    """The state of all worlds; every leaf [B, ...]."""

    data: physics.Data
    memory: Memory
    frames: dict[str, Array]  # [B, S, D] newest first
    pending: Array  # [B, longest delay + 1, A] the latest actions asked for, newest first
    delay: Array  # [B] int32 control steps between asking and acting, this episode
    steps: Array  # [B] int32 control steps of this episode so far
    last: Array  # [B] bool: the row shown closed the episode
    index: Array  # [B] int32 the world's number
    episode: Array  # [B] int32 episodes opened in this world so far
    key: Key  # [B] the world's own dice: no world's draws depend on its neighbours
    next: Opening  # of the world's next episode, from the first step of this one on; before it, of this one


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

    Each decision acts for `repeat` control steps and is paid the sum of their rewards; none is acted
    past the end of an episode. `limit` control steps cut an episode (default: the task's). The spec
    counts decisions, and so do delay and stack: each episode draws its action delay uniformly from
    `delay` = (fewest, most); actions still under way when an episode opens are zeros. Entries show
    the `stack` latest frames, newest first, [B, S, D]; privileged entries show one. `draw` adds
    entries of its own to each frame, computed once a decision from one world's record (pictures);
    with `draw_only` the task's own entries are not shown, but for privileged ones. An episode that
    closed is followed by a row that opens the next one, on which the action has no effect. A world
    that breaks shows such a row at once (see `types.TimeStep`).
    """
    limit = task.limit if limit is None else limit
    fewest, most = delay
    if not 0 <= fewest <= most:
        raise ValueError(f"delay {delay} is not (fewest, most) with 0 <= fewest <= most; set env.delay")
    for name, value in (("worlds", worlds), ("limit", limit), ("stack", stack), ("repeat", repeat)):
        if value < 1:
            raise ValueError(f"{name} {value} is less than 1; set env.{name}")
    if task.success is not None and task.success not in task.obs:
        raise ValueError(f"success '{task.success}' is not an entry of the task; it has {', '.join(task.obs)}")
    entries = _entries(task, draw, draw_only)
    depth = {name: 1 if name in task.privileged else stack for name in entries}

    def opening(key: Key, index: Array, episode: Array) -> Opening:
        k_start, k_delay = jax.random.split(jax.random.fold_in(key, episode))
        start, memory = task.start(k_start, index)
        lag = jax.random.randint(k_delay, (), fewest, most + 1) if fewest < most else jnp.full((), most, jnp.int32)
        return Opening(start, memory, lag)

    def shown(frame: dict[str, Array], data: physics.Data) -> dict[str, Array]:
        drawn = draw(data) if draw is not None else {}
        return {k: (drawn if k in drawn else frame)[k] for k in entries}

    def filled(frame: dict[str, Array]) -> dict[str, Array]:
        return {k: jnp.broadcast_to(v, (depth[k], *v.shape)) for k, v in frame.items()}

    def reset_one(key: Key, index: Array) -> tuple[Worlds, TimeStep]:
        episode = jnp.zeros((), jnp.int32)
        opened = opening(key, index, episode)
        start, memory, lag = opened
        data = task.physics.reset(start)
        pending = jnp.zeros((most + 1, *task.action.shape), jnp.float32)
        frame, memory = task.observe(data, memory, pending[0])
        frame = shown(frame, data)
        zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        state = Worlds(
            data, memory, filled(frame), pending, lag, zero, no, index, episode, key, opened,
        )  # fmt: skip
        return state, TimeStep(state.frames, jnp.zeros(()), jnp.ones(()), ~no, no)

    def step_one(state: Worlds, action: Array) -> tuple[Worlds, TimeStep]:
        # Drawn on the first step of an episode and not where it opens: so a reset compiles one opening and not two.
        # The others' are drawn again with it, the same.
        draw_next = lambda: opening(state.key, state.index, state.episode + 1)  # noqa: E731
        following = jax.lax.cond(any_unbatched(state.steps == 0), draw_next, lambda: state.next)
        start, opened, lag = following
        action = task.action.clip(action).astype(jnp.float32)
        pending = jnp.concatenate([action[None], state.pending[:-1]])
        acted = pending[state.delay]

        def advance(data: physics.Data, memory: Memory, steps: Array, renew: Array) -> StepResult:
            controlled, ctrl = task.control(data, memory, acted)
            data = task.physics.step(controlled, ctrl, renew, start)
            first = renew | data.broken
            memory = jax.tree.map(lambda a, b: jnp.where(first, a, b), opened, memory)
            frame, memory = task.observe(data, memory, jnp.where(first, 0, acted))
            # as numbers of the type that a reset shows: a weak one would have all that holds it traced twice
            reward, discount = (x.astype(jnp.float32) for x in task.judge(data, memory))
            reward, discount = jnp.where(first, 0.0, reward), jnp.where(first, 1.0, discount)
            steps = jnp.where(first, 0, steps + 1)
            return StepResult(data, memory, frame, reward, discount, steps, first, (steps >= limit) | (discount == 0))

        now = _repeated(advance, state, repeat, task.obs)
        first = now.first
        pick = lambda new, old: jax.tree.map(lambda a, b: jnp.where(first, a, b), new, old)  # noqa: E731
        pending = pick(jnp.zeros_like(pending), pending)
        frame = shown(now.frame, now.data)
        older = {k: jnp.concatenate([v[None], state.frames[k][:-1]]) for k, v in frame.items()}
        frames = pick(filled(frame), older)
        episode = state.episode + first
        state = Worlds(
            now.data, now.memory, frames, pending, pick(lag, state.delay), now.steps, now.last,
            state.index, episode, state.key, following,
        )  # fmt: skip
        return state, TimeStep(frames, now.reward, now.discount, first, now.last)

    opened_all = sharding.per_device(jax.vmap(reset_one))

    def reset(key: Key) -> tuple[Worlds, TimeStep]:
        return opened_all(jax.random.split(key, worlds), jnp.arange(worlds, dtype=jnp.int32))

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
    """Where one world stands after a control step, or after all those of a decision."""

    data: physics.Data
    memory: Memory
    frame: dict[str, Array]
    reward: Array  # []
    discount: Array  # []
    steps: Array  # [] int32
    first: Array  # [] bool: an episode opened here, so nothing before it counts
    last: Array  # [] bool: an episode closed here


def _repeated(advance: Callable[..., StepResult], state: Worlds, repeat: int, entries: dict) -> StepResult:
    """`advance` taken `repeat` times from `state`, as far as the episode goes, with the rewards of all its steps."""
    if repeat == 1:
        return advance(state.data, state.memory, state.steps, state.last)

    def onward(now: StepResult, renew: Array) -> tuple[StepResult, None]:
        new = advance(now.data, now.memory, now.steps, renew)
        new = new._replace(reward=jnp.where(new.first, 0.0, now.reward + new.reward))
        over = now.first | now.last  # an episode opened or closed at an earlier step of this decision
        return jax.tree.map(lambda a, b: jnp.where(over, a, b), now, new), None

    # A scan traces and compiles the physics once, whatever `repeat`. Before its first step, no world is over.
    frame = {k: jnp.zeros(v.shape, v.dtype) for k, v in entries.items()}
    zero, no = jnp.zeros((), jnp.float32), jnp.zeros((), bool)
    before = StepResult(state.data, state.memory, frame, zero, zero, state.steps, no, no)
    renewals = jnp.zeros((repeat,), bool).at[0].set(state.last)
    return jax.lax.scan(onward, before, renewals)[0]


def _entries(task: Task, draw: Callable | None, alone: bool) -> dict[str, jax.ShapeDtypeStruct]:
    """What a frame of `task` with `draw` holds; entries that are drawn take the place of others of their name."""
    if draw is None:
        if alone:
            raise ValueError("nothing is drawn that could be shown alone; set env.draw_only to False")
        return dict(task.obs)
    data = jax.eval_shape(lambda: task.physics.reset(physics.initial(task.physics.model)))  # makes no bank of starts
    kept = {k: v for k, v in task.obs.items() if not alone or k in task.privileged}
    return kept | jax.eval_shape(draw, data)


def with_full_precision(call: Callable) -> Callable:
    """`call` with products of full float32, whatever nets make do with: GPUs and TPUs use fewer bits unless asked."""

    @wraps(call)
    def exactly(*arguments):
        with jax.default_matmul_precision("highest"):
            return call(*arguments)

    return exactly
