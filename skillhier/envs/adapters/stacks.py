"""Frame stacks for worlds of other libraries, as `envs/batch.py` has them for ours: newest first.

gymnasium's FrameStackObservation has them oldest first. What expects that order gets it from `oldest_first`.
"""

import jax
import jax.numpy as jnp

from skillhier.types import Array, Env, EnvState, TimeStep

OBSERVATION = "observation"  # the entry of an observation without a name


def fill_stack(obs: dict[str, Array], depth: dict[str, int]) -> dict[str, Array]:
    """Stacks of the same frame, entry -> [B, S, ...], where an episode opens."""
    return {k: jnp.repeat(v[:, None], depth[k], axis=1) for k, v in obs.items()}


def push_frame(frames: dict[str, Array], obs: dict[str, Array], first: Array) -> dict[str, Array]:
    """Stacks with `obs` as their newest frame; full of it where an episode opens, `first` [B]."""

    def push(old: Array, new: Array) -> Array:
        longer = jnp.concatenate([new[:, None], old[:, :-1]], axis=1)
        return where_worlds(first, jnp.broadcast_to(new[:, None], old.shape), longer)

    return {k: push(frames[k], v) for k, v in obs.items()}


def where_worlds(where: Array, new: Array, old: Array) -> Array:
    """`new` in the worlds `where` [B], else `old`; as it is if it has no axis of worlds."""
    if jnp.ndim(old) == 0 or old.shape[0] != where.shape[0]:
        return old
    return jnp.where(where.reshape(-1, *[1] * (jnp.ndim(old) - 1)), new, old)


def shapes(frames: dict[str, jax.ShapeDtypeStruct], depth: dict[str, int]) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of stacked entries for a spec: the stack axis, then one frame's shape."""
    return {k: jax.ShapeDtypeStruct((depth[k], *v.shape), v.dtype) for k, v in frames.items()}


def oldest_first(env: Env) -> Env:
    """`env` with the frames of every entry in gymnasium's order."""

    def reverse(result: tuple[EnvState, TimeStep]) -> tuple[EnvState, TimeStep]:
        state, step = result
        return state, step._replace(obs={k: v[:, ::-1] for k, v in step.obs.items()})

    return Env(lambda key: reverse(env.reset(key)), lambda state, action: reverse(env.step(state, action)), env.spec)
