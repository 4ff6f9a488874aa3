"""Steps of our worlds as other libraries define them, in pure functions.

- `terminated` where the task ended (discount 0 on a last row), `truncated` where the time limit cut the episode.
- A world that broke (see `physics.diverged`) is truncated with reward 0; the observation is the last valid one, so
  that a learner bootstraps from a state that occurred. Its next row opens the next episode.
- Actions are clipped to the spec's bounds.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.envs import registry
from skillhier.envs.adapters import stacks
from skillhier.types import Array, Env, EnvState, Key, Spec, TimeStep

_forked = []  # holds True in a process that was forked from one with this module
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forked.append(True))


class Carry(NamedTuple):
    """The state of the worlds between two calls."""

    state: EnvState
    step: TimeStep  # the latest row of our Env
    pending: Array  # [B] bool: a broken world is at the first row of its next episode, which is not yet returned
    closed: Array  # [B] bool: the row returned last closed the episode


class Row(NamedTuple):
    """What the other library gets; every leaf [B, ...]."""

    obs: dict[str, Array]
    reward: Array
    terminated: Array
    truncated: Array
    broken: Array


class Programs(NamedTuple):
    """Compiled functions of some worlds."""

    spec: Spec
    reset: Callable[[Key], tuple[Carry, Row]]
    renew: Callable[[Carry, Key, Array], tuple[Carry, Row]]  # resets the worlds of a mask [B]
    reopen: Callable[[Carry], tuple[Carry, Row]]  # the next episode of every world, wherever it is in its present one
    step: Callable[[Carry, Array], tuple[Carry, Row]]  # a closed episode is followed by the next one's first row
    # the same, and that first row at once
    step_and_reset: Callable[[Carry, Array], tuple[Carry, Row, dict[str, Array]]]


def programs(world: str | Env, worlds: int, settings: dict[str, Any], oldest_first: bool = False) -> Programs:
    """The programs of `worlds` worlds; cached, so that a second environment of the same kind compiles nothing.

    oldest_first: the order of an entry's frames; newest first otherwise.
    """
    if isinstance(world, Env):
        if settings:
            raise ValueError(f"an Env takes no settings, got {sorted(settings)}; pass them to registry.make")
        if world.spec.worlds != worlds:
            raise ValueError(
                f"the Env must have {worlds} worlds, got {world.spec.worlds}; make it with worlds={worlds}"
            )
        return _programs(world, oldest_first)
    items = tuple(sorted(settings.items()))
    try:
        hash(items)
    except TypeError:  # an unhashable setting: not cached
        return _of_name.__wrapped__(world, worlds, tuple(settings.items()), oldest_first)
    return _of_name(world, worlds, items, oldest_first)


@lru_cache(maxsize=16)
def _of_name(name: str, worlds: int, settings: tuple, oldest_first: bool) -> Programs:
    refuse_fork()
    return _programs(registry.make(name, worlds=worlds, **dict(settings)), oldest_first)


def _programs(env: Env, oldest_first: bool) -> Programs:
    env = stacks.oldest_first(env) if oldest_first else env

    def where(chosen: Array, new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(chosen.reshape(-1, *[1] * (jnp.ndim(a) - 1)), a, b), new, old)

    def reset(key: Key) -> tuple[Carry, Row]:
        state, timestep = env.reset(key)
        no = jnp.zeros_like(timestep.last)
        return Carry(state, timestep, no, no), Row(timestep.obs, timestep.reward, no, no, no)

    def renew(carry: Carry, key: Key, chosen: Array) -> tuple[Carry, Row]:
        fresh, row = reset(key)
        return where(chosen, fresh, carry), row

    def reopen(carry: Carry) -> tuple[Carry, Row]:
        everywhere = jnp.ones_like(carry.closed)
        state = carry.state._replace(last=everywhere)  # of batch.Worlds
        carry = Carry(state, carry.step._replace(last=everywhere), ~everywhere, everywhere)
        return step(carry, jnp.zeros((len(everywhere), *env.spec.action.shape)))

    def step(carry: Carry, action: Array) -> tuple[Carry, Row]:
        state, timestep = where(
            carry.pending, (carry.state, carry.step), env.step(carry.state, env.spec.action.clip(action))
        )
        broken = timestep.first & ~carry.step.last & ~carry.pending
        terminated = timestep.last & (timestep.discount == 0)
        truncated = broken | (timestep.last & ~terminated)
        obs = where(broken, carry.step.obs, timestep.obs)
        row = Row(obs, jnp.where(timestep.first, 0, timestep.reward), terminated, truncated, broken)
        return Carry(state, timestep, broken, terminated | truncated), row

    def step_and_reset(carry: Carry, action: Array) -> tuple[Carry, Row, dict[str, Array]]:
        carry, row = step(carry, action)

        def reset_closed(carry: Carry) -> tuple[Carry, dict[str, Array]]:
            opened, first = step(carry, action)  # closed worlds ignore the action
            return where(carry.closed, (opened, first.obs), (carry, row.obs))

        carry, obs = jax.lax.cond(carry.closed.any(), reset_closed, lambda carry: (carry, row.obs), carry)
        return carry, row, obs

    return Programs(env.spec, *map(jax.jit, (reset, renew, reopen, step, step_and_reset)))


def refuse_fork() -> None:
    """Raises RuntimeError in a forked process, where JAX waits for ever for threads that only its parent has."""
    if _forked:
        raise RuntimeError(
            "a world of skillhier cannot be stepped in a forked process, as vectorization_mode='async' starts them; "
            "gymnasium.make_vec without vectorization_mode (or with 'vector_entry_point') steps num_envs worlds in one "
            "program, and vector_kwargs={'context': 'spawn'} starts processes that work"
        )


def key_from_seed(seed: int) -> Key:
    """A key from a seed of any size; for seeds below 2**32 it is `jax.random.key(seed)`, as in our own runs."""
    key = jax.random.key(np.uint32(seed % 2**32))
    while seed := seed >> 32:
        key = jax.random.fold_in(key, seed % 2**32)
    return key


def to_numpy(tree: Any) -> Any:
    """Copies of a tree of arrays as writable numpy arrays."""
    return jax.tree.map(np.array, jax.device_get(tree))
