"""Five tiny worlds in plain JAX whose values are known exactly, to test learners on: each asks for one thing more.

constant_reward   learning a value at all, and bootstrapping it where the clock cuts an episode
observed_reward   a value that depends on the observation, and no bootstrapping at a true end
delayed_reward    discounting, and passing a value back by one row
action_reward     improving a policy: actions that depend on the observation
skill_reward      a choice held for several rows: a hierarchy reaches twice what a policy without memory can

Actions are [1] in [-1, 1]; entries are stacks of one frame, [B, 1, 1]. Values are those of a discount gamma.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Array, Bounds, Env, Key, Spec, TimeStep

TOLERANCE = 0.1  # of an action that counts as right where success is asked for


class ProbeState(NamedTuple):
    """The state of all worlds; every leaf [B, ...]."""

    task: Any  # the task's own
    steps: Array  # [B] int32 of this episode
    last: Array  # [B] bool: the row shown closed the episode
    key: Key  # [B]


def constant_reward(worlds: int, *, limit: int = 10) -> Env:
    """Pays 1 for every step and never ends; the clock cuts it after `limit` steps. Shows `one`, always 1.

    V = 1 / (1 - gamma), whatever is done and wherever the clock stands.
    """
    return _env(
        worlds,
        limit,
        start=lambda key: jnp.ones(()),
        advance=lambda one, action, key: (one, one, jnp.zeros((), bool)),
        observe=lambda one: {"one": one},
    )


def observed_reward(worlds: int) -> Env:
    """Shows a random `sign`, -1 or 1, pays it for the first step and ends there.

    V(sign) = sign, whatever is done and whatever gamma.
    """
    return _env(
        worlds,
        1,
        start=_sign,
        advance=lambda sign, action, key: (sign, sign, jnp.ones((), bool)),
        observe=lambda sign: {"sign": sign},
    )


def delayed_reward(worlds: int) -> Env:
    """Shows a random `sign` and the `age` of the episode, 0 to 2; pays the sign for the second step and ends there.

    V(sign, 0) = gamma sign and V(sign, 1) = sign, whatever is done.
    """

    def advance(task, action, key):
        sign, age = task
        age = age + 1
        return (sign, age), jnp.where(age == 2, sign, 0.0), age == 2

    return _env(
        worlds,
        2,
        start=lambda key: (_sign(key), jnp.zeros((), jnp.int32)),
        advance=advance,
        observe=lambda task: {"sign": task[0], "age": task[1].astype(jnp.float32)},
    )


def action_reward(worlds: int, *, limit: int = 10) -> Env:
    """Shows a `target`, -1/2 or 1/2, drawn anew at every row, and pays 1 - (action - target)^2. Never ends.

    Q(target, a) = 1 - (a - target)^2 + gamma V. The best action is the target: V = 1 / (1 - gamma). Actions that do not
    depend on the target: V = 3/4 / (1 - gamma) at 0, 5/12 / (1 - gamma) if uniform in [-1, 1].
    `success`: every action of the episode was within 0.1 of its target.
    """

    def advance(task, action, key):
        target, right = task
        error = action[0] - target
        return (0.5 * _sign(key), right & (jnp.abs(error) <= TOLERANCE)), 1.0 - error**2, jnp.zeros((), bool)

    return _env(
        worlds,
        limit,
        start=lambda key: (0.5 * _sign(key), jnp.ones((), bool)),
        advance=advance,
        observe=lambda task: {"target": task[0], "success": task[1].astype(jnp.float32)},
        success="success",
    )


class Block(NamedTuple):
    """One world of `skill_reward`."""

    sign: Array  # [] -1 or 1, wanted in this block
    phase: Array  # [] int32 steps into the block
    right: Array  # [] bool: all actions of this block had the sign
    blocks: Array  # [] int32 blocks of this episode so far
    paid: Array  # [] int32 how many of them were paid


def skill_reward(worlds: int, *, hold: int = 4, limit: int = 16) -> Env:
    """Blocks of `hold` steps; each pays 1 at its end if all its actions had the sign that was shown where it began.

    Shows `sign`, -1 or 1 at a block's first row and 0 at the others, and `phase`, k / hold at row k of a block. An
    action above 0 has the sign 1, others -1. Never ends; signs are drawn anew with every block.

    The best hierarchy chooses the sign at a block's first row and holds it for `hold` rows: its value at row k is
    V_k = gamma^(hold - 1 - k) / (1 - gamma^hold), and 1 / (1 - gamma) to a manager that discounts once per choice.
    For hold > 1 a policy that reads only the present row is paid for half of all blocks at best, for its later actions
    cannot depend on the sign; a constant action reaches that half, uniform actions are paid for 2^-hold of all blocks.
    `success`: every block that the episode completed was paid, and there was one.
    """
    if not 1 <= hold <= limit:
        raise ValueError(f"hold must satisfy 1 <= hold <= limit = {limit}, got {hold}")

    def start(key):
        zero = jnp.zeros((), jnp.int32)
        return Block(_sign(key), zero, jnp.ones((), bool), zero, zero)

    def advance(block, action, key):
        right = block.right & ((action[0] > 0) == (block.sign > 0))
        over = block.phase + 1 == hold
        paid = over & right
        following = Block(
            sign=jnp.where(over, _sign(key), block.sign),
            phase=jnp.where(over, 0, block.phase + 1),
            right=over | right,
            blocks=block.blocks + over,
            paid=block.paid + paid,
        )
        return following, paid.astype(jnp.float32), jnp.zeros((), bool)

    def observe(block):
        success = (block.blocks > 0) & (block.paid == block.blocks)
        return {
            "sign": jnp.where(block.phase == 0, block.sign, 0.0),
            "phase": block.phase / hold,
            "success": success.astype(jnp.float32),
        }

    return _env(worlds, limit, start=start, advance=advance, observe=observe, success="success")


def _sign(key: Key) -> Array:
    return jax.random.rademacher(key, (), jnp.float32)


def _env(
    worlds: int,
    limit: int,
    *,
    start: Callable[[Key], Any],
    advance: Callable[[Any, Array, Key], tuple[Any, Array, Array]],
    observe: Callable[[Any], dict[str, Array]],
    success: str | None = None,
) -> Env:
    """Many worlds of a task that speaks of one: start(key) -> task, advance(task, action, key) -> task, reward, ended.

    observe(task) gives each entry as one number []. `success` is privileged.
    """
    for name, value in (("worlds", worlds), ("limit", limit)):
        if value < 1:
            raise ValueError(f"{name} must be >= 1, got {value}")
    bounds = Bounds((1,), -1.0, 1.0)

    def show(task) -> dict[str, Array]:
        return {name: value.astype(jnp.float32).reshape(1, 1) for name, value in observe(task).items()}

    def reset_one(key: Key) -> tuple[ProbeState, TimeStep]:
        start_key, key = jax.random.split(key)
        task, no = start(start_key), jnp.zeros((), bool)
        state = ProbeState(task, jnp.zeros((), jnp.int32), no, key)
        return state, TimeStep(show(task), jnp.zeros(()), jnp.ones(()), ~no, no)

    def step_one(state: ProbeState, action: Array) -> tuple[ProbeState, TimeStep]:
        start_key, step_key, key = jax.random.split(state.key, 3)
        first = state.last
        task, reward, ended = advance(state.task, jnp.clip(action, bounds.low, bounds.high), step_key)
        task = jax.tree.map(lambda new, old: jnp.where(first, new, old), start(start_key), task)
        ended = ended & ~first
        steps = jnp.where(first, 0, state.steps + 1)
        last = ended | (steps >= limit)
        reward, discount = jnp.where(first, 0.0, reward), 1.0 - ended.astype(jnp.float32)
        return ProbeState(task, steps, last, key), TimeStep(show(task), reward, discount, first, last)

    def reset(key: Key) -> tuple[ProbeState, TimeStep]:
        return jax.vmap(reset_one)(jax.random.split(key, worlds))

    entries = jax.eval_shape(lambda key: show(start(key)), jax.random.key(0))
    privileged = () if success is None else (success,)
    spec = Spec(entries, bounds, worlds, 1.0, limit, privileged, success)
    return Env(reset, jax.vmap(step_one), spec)
