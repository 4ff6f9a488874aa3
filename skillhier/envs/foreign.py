"""Worlds of other libraries by name: `gymnasium:Pendulum-v1`, `playground:CartpoleBalance`; and what both share."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from skillhier.types import Array, Env

OBSERVATION = "observation"  # what an observation is called that has no name there


def make(name: str, *, delay: tuple[int, int] = (0, 0), repeat: int = 1, **settings) -> Env:
    """The world `LIBRARY:NAME`; `settings` as in `interop.from_gymnasium` and `interop.from_playground`."""
    library, _, inner = name.partition(":")
    if library not in LIBRARIES:
        raise ValueError(f"library '{library}' of world '{name}' is not known; choose {' or '.join(LIBRARIES)}")
    for setting, given, nothing in (("delay", tuple(delay), (0, 0)), ("repeat", repeat, 1)):
        if given != nothing:
            raise ValueError(f"{setting} {given} is for worlds of our own; world '{name}' has none, leave it out")
    return LIBRARIES[library](inner, **settings)


def _gymnasium(name: str, **settings) -> Env:
    from skillhier.envs import foreign_gymnasium

    return foreign_gymnasium.make(name, **settings)


def _playground(name: str, **settings) -> Env:
    from skillhier.envs import foreign_playground

    return foreign_playground.make(name, **settings)


LIBRARIES: dict[str, Callable[..., Env]] = {"gymnasium": _gymnasium, "playground": _playground}


def filled(obs: dict[str, Array], depth: dict[str, int]) -> dict[str, Array]:
    """Stacks of the same frame, entry -> [B, S, ...], where an episode opens."""
    return {k: jnp.repeat(v[:, None], depth[k], axis=1) for k, v in obs.items()}


def pushed(frames: dict[str, Array], obs: dict[str, Array], first: Array) -> dict[str, Array]:
    """Stacks with `obs` as their newest frame; full of it where an episode opens, `first` [B]."""

    def push(old: Array, new: Array) -> Array:
        longer = jnp.concatenate([new[:, None], old[:, :-1]], axis=1)
        return chosen(first, jnp.broadcast_to(new[:, None], old.shape), longer)

    return {k: push(frames[k], v) for k, v in obs.items()}


def chosen(where: Array, new: Array, old: Array) -> Array:
    """`new` in the worlds `where` [B], else `old`; as it is if it has no axis of worlds."""
    if jnp.ndim(old) == 0 or old.shape[0] != where.shape[0]:
        return old
    return jnp.where(where.reshape(-1, *[1] * (jnp.ndim(old) - 1)), new, old)


def shapes(frames: dict[str, jax.ShapeDtypeStruct], depth: dict[str, int]) -> dict[str, jax.ShapeDtypeStruct]:
    """What a spec says of stacked entries: one frame's shapes with the stack before them."""
    return {k: jax.ShapeDtypeStruct((depth[k], *v.shape), v.dtype) for k, v in frames.items()}
