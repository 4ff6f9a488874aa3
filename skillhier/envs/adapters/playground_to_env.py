"""A MuJoCo Playground environment (package `playground`) as an Env: pure JAX, so it fits `jit`, `vmap`, `scan`.

It has neither time limit nor automatic reset; both are added here. Actions are clipped to [-1, 1], the range of all of
its environments. Entries named `privileged...` are privileged. A `done` with `time_out` or `truncation` in its info is
a truncation. A world whose observation, reward or state (`qpos` and `qvel` of its data) is not finite is broken and
reset, as in finite.py.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillhier.envs.adapters import stacks
from skillhier.types import Array, Bounds, Env, Key, Spec, TimeStep

STATE = ("qpos", "qvel")  # what is looked at of an environment's data


class Worlds(NamedTuple):
    """All worlds; leaves [B, ...]."""

    inner: Any  # the library's state
    frames: dict[str, Array]  # [B, S, ...]
    steps: Array  # [B] int32 of this episode
    last: Array  # [B] bool
    episode: Array  # [B] int32
    key: Key  # [B]


def make(
    name: str,
    *,
    worlds: int = 1,
    limit: int | None = None,
    stack: int | None = None,
    impl: str = "auto",
    **overrides,
) -> Env:
    """See `adapters.from_playground`."""
    try:
        from mujoco_playground import registry
    except ImportError as error:
        raise ValueError(f"playground:{name} needs the extra 'playground' of this package ({error})") from None
    if name not in registry.ALL_ENVS:
        raise ValueError(f"playground has no environment '{name}'; it has {', '.join(registry.ALL_ENVS)}")
    config = registry.get_default_config(name)
    if "impl" in config:
        overrides["impl"] = ("warp" if _has_warp() else "jax") if impl == "auto" else impl
    try:
        env = registry.load(name, config_overrides=overrides)
    except (KeyError, ValueError, OSError) as error:  # OSError: models it would download, and cannot
        raise ValueError(" ".join(f"playground does not make '{name}': {error}".split())) from None
    repeat = config.get("action_repeat", 1)
    length = overrides.get("episode_length", config.episode_length)
    return wrapped(env, worlds=worlds, limit=limit or -(-length // repeat), stack=stack or 1, repeat=repeat)


def wrapped(env: Any, *, worlds: int, limit: int, stack: int = 1, repeat: int = 1) -> Env:
    """`worlds` of `env`, anything with Playground's `reset(key)`, `step(state, action)`, `action_size` and `dt`."""
    bounds = Bounds((env.action_size,), -1.0, 1.0)
    shapes = jax.eval_shape(lambda key: _entries(env.reset(key)), jax.random.key(0))
    privileged = tuple(k for k in shapes if k.startswith("privileged"))
    depth = {k: 1 if k in privileged else stack for k in shapes}

    def open_episodes(key: Key, episode: Array) -> Any:
        return _strong(jax.vmap(lambda k, e: env.reset(jax.random.fold_in(k, e)))(key, episode))

    def reset(key: Key) -> tuple[Worlds, TimeStep]:
        keys, zero = jax.random.split(key, worlds), jnp.zeros(worlds, jnp.int32)
        no, ones = jnp.zeros(worlds, bool), jnp.ones(worlds)
        inner = open_episodes(keys, zero)
        frames = stacks.fill_stack(jax.vmap(_entries)(inner), depth)
        return Worlds(inner, frames, zero, no, zero, keys), TimeStep(frames, ones * 0, ones, ~no, no)

    def act_repeatedly(inner: Any, action: Array) -> tuple[Any, Array]:
        def once(inner: Any, _: None) -> tuple[Any, Array]:
            inner = _strong(env.step(inner, action))
            return inner, inner.reward

        inner, rewards = jax.lax.scan(once, inner, None, repeat)
        return inner, rewards.sum(0)

    def step(state: Worlds, action: Array) -> tuple[Worlds, TimeStep]:
        inner, reward = jax.vmap(act_repeatedly)(state.inner, bounds.clip(action))
        finite = jnp.isfinite(reward)
        state_parts = [part for part in (getattr(inner.data, name, None) for name in STATE) if part is not None]
        for part in (*jax.vmap(_entries)(inner).values(), *state_parts):
            finite &= jnp.isfinite(part.reshape(worlds, -1)).all(-1)
        first = state.last | ~finite
        episode = state.episode + first

        def renewed(inner: Any) -> Any:
            fresh = open_episodes(state.key, episode)
            return _strong(jax.tree.map(lambda a, b: stacks.where_worlds(first, a, b), fresh, inner))

        inner = jax.lax.cond(first.any(), renewed, lambda inner: inner, inner)
        done = (inner.done > 0) & ~first
        ended = done & ~_truncated(inner.info, worlds)
        steps = jnp.where(first, 0, state.steps + 1)
        last = ~first & (done | (steps >= limit))
        frames = stacks.push_frame(state.frames, jax.vmap(_entries)(inner), first)
        reward = jnp.where(first, 0.0, reward).astype(jnp.float32)
        state = Worlds(inner, frames, steps, last, episode, state.key)
        return state, TimeStep(frames, reward, jnp.where(ended, 0.0, 1.0), first, last)

    return Env(
        reset, step, Spec(stacks.shapes(shapes, depth), bounds, worlds, float(env.dt) * repeat, limit, privileged)
    )


def _entries(state: Any) -> dict[str, Array]:
    """The entries of one world's observation as vectors; pictures keep their shape."""
    obs = state.obs if isinstance(state.obs, Mapping) else {stacks.OBSERVATION: state.obs}
    return {k: jnp.asarray(v if jnp.ndim(v) == 3 else jnp.ravel(v), jnp.float32) for k, v in obs.items()}


def _truncated(info: Mapping[str, Any], worlds: int) -> Array:
    truncated = jnp.zeros(worlds, bool)
    for name in ("time_out", "truncation"):
        truncated |= jnp.asarray(info.get(name, 0) > 0)
    return truncated


def _strong(tree: Any) -> Any:
    """The same values without weak types, so that a reset and a step return the same types."""
    return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jax.dtypes.extended) else x.astype(x.dtype), tree)


def _has_warp() -> bool:
    if jax.default_backend() != "gpu":
        return False
    try:
        import warp  # noqa: F401
    except ImportError:
        return False
    return True
