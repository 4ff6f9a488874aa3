"""What other libraries see of our worlds, row by row: rules of theirs that ours leaves open, in pure functions.

- `terminated` where the task ended (discount 0 on a last row), `truncated` where the clock cut the episode.
- A world that broke (see `physics.diverged`) is truncated with reward 0; the observation is the last sound one, so
  that whoever bootstraps there bootstraps from a state that was. Its next row opens the next episode.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.envs import registry
from skillhier.types import Array, Env, EnvState, Key, Spec, TimeStep


class Carry(NamedTuple):
    """Worlds between two calls from outside."""

    state: EnvState
    step: TimeStep  # the row our Env showed last
    held: Array  # [B] bool: a broken world stands at its next episode's first row, which is not shown yet
    closed: Array  # [B] bool: the row shown outside closed the episode


class Row(NamedTuple):
    """What is shown outside; every leaf [B, ...]."""

    obs: dict[str, Array]
    reward: Array
    terminated: Array
    truncated: Array
    broken: Array


class Programs(NamedTuple):
    """Compiled functions of some worlds."""

    spec: Spec
    reset: Callable[[Key], tuple[Carry, Row]]
    renew: Callable[[Carry, Key, Array], tuple[Carry, Row]]  # the worlds of a mask [B] begin anew
    step: Callable[[Carry, Array], tuple[Carry, Row]]  # a closed episode is followed by the next one's first row
    through: Callable[[Carry, Array], tuple[Carry, Row, dict[str, Array]]]  # the same, and that row at once


def programs(world: str | Env, worlds: int, settings: dict[str, Any]) -> Programs:
    """The programs of `worlds` worlds; kept, so that the second environment of a kind compiles nothing."""
    if isinstance(world, Env):
        if settings:
            raise ValueError(f"an Env takes no settings, {sorted(settings)} were given; give them where it is made")
        if world.spec.worlds != worlds:
            raise ValueError(
                f"an Env of {world.spec.worlds} worlds was given for {worlds}; make it with worlds={worlds}"
            )
        return _programs(world)
    asked = tuple(sorted(settings.items()))
    try:
        hash(asked)
    except TypeError:  # a setting that cannot be remembered
        return _programs(registry.make(world, worlds=worlds, **settings))
    return _of_name(world, worlds, asked)


@lru_cache(maxsize=16)
def _of_name(name: str, worlds: int, settings: tuple) -> Programs:
    return _programs(registry.make(name, worlds=worlds, **dict(settings)))


def _programs(env: Env) -> Programs:
    def where(chosen: Array, new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(chosen.reshape(-1, *[1] * (jnp.ndim(a) - 1)), a, b), new, old)

    def reset(key: Key) -> tuple[Carry, Row]:
        state, seen = env.reset(key)
        no = jnp.zeros_like(seen.last)
        return Carry(state, seen, no, no), Row(seen.obs, seen.reward, no, no, no)

    def renew(carry: Carry, key: Key, chosen: Array) -> tuple[Carry, Row]:
        fresh, row = reset(key)
        return where(chosen, fresh, carry), row

    def step(carry: Carry, action: Array) -> tuple[Carry, Row]:
        state, seen = where(carry.held, (carry.state, carry.step), env.step(carry.state, env.spec.action.clip(action)))
        broken = seen.first & ~carry.step.last & ~carry.held
        terminated = seen.last & (seen.discount == 0)
        truncated = broken | (seen.last & ~terminated)
        obs = where(broken, carry.step.obs, seen.obs)
        row = Row(obs, jnp.where(seen.first, 0, seen.reward), terminated, truncated, broken)
        return Carry(state, seen, broken, terminated | truncated), row

    def through(carry: Carry, action: Array) -> tuple[Carry, Row, dict[str, Array]]:
        carry, row = step(carry, action)

        def onward(carry: Carry) -> tuple[Carry, dict[str, Array]]:
            opened, first = step(carry, action)  # of which those that are closed take no notice
            return where(carry.closed, (opened, first.obs), (carry, row.obs))

        carry, obs = jax.lax.cond(carry.closed.any(), onward, lambda carry: (carry, row.obs), carry)
        return carry, row, obs

    return Programs(env.spec, *map(jax.jit, (reset, renew, step, through)))


def key_of(seed: int) -> Key:
    """The key that a seed of any size stands for; `jax.random.key(seed)` below 2**32, as in our own runs."""
    key = jax.random.key(np.uint32(seed % 2**32))
    while seed := seed >> 32:
        key = jax.random.fold_in(key, seed % 2**32)
    return key


def on_host(tree: Any) -> Any:
    """A tree of arrays as numpy arrays of its own, which may be kept and changed."""
    return jax.tree.map(np.array, jax.device_get(tree))
