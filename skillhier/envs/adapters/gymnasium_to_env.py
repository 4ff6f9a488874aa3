"""A gymnasium environment as an Env, through a callback to the host.

Such an environment holds its own state, so this Env is not a pure function: its state is a ticket with the number of
the next call, calls run in program order (`io_callback(ordered=True)`), and any but the latest state raises. So there
is one rollout at a time, no `vmap`, one device; `lax.scan`, `jit`, `rollout` and `evaluate` work, and a run that goes
on from a checkpoint opens its worlds anew.

Observations: a Box is the entry `observation`, a Dict of Boxes its entries (nested names joined by dots); uint8 stays
as it is, other numbers become float32 vectors. Actions are clipped to [-1, 1]; they are scaled to the bounds of a Box,
and of Discrete(n) the largest of n scores is chosen. Other spaces raise ValueError.

A world that is no longer finite is broken and reset (see finite.py). A vector environment that cannot reset some of its
worlds (any but gymnasium's own SyncVectorEnv and AsyncVectorEnv) is reset as a whole, and all of its episodes count as
broken.
"""

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from jax.experimental import io_callback

from skillhier.envs.adapters import finite, stacks
from skillhier.types import Array, Bounds, Env, Key, Spec, TimeStep

OURS = "skillhier.envs.adapters.env_to_gymnasium"  # where our worlds are made gymnasium's
RESETS = 10  # attempts at an opening observation that is finite


class Ticket(NamedTuple):
    """Our state of worlds on the host."""

    turn: Array  # [] int32 the number of the call that returned it
    last: Array  # [B] bool
    frames: dict[str, Array]  # [B, S, ...]


def make(
    source: str | gymnasium.Env | VectorEnv,
    *,
    worlds: int = 1,
    limit: int | None = None,
    interval: float | None = None,
    stack: int | None = None,
    wrap: Callable[[gymnasium.Env], gymnasium.Env] | None = None,
    **settings,
) -> Env:
    """See `adapters.from_gymnasium`."""
    env = _vector(source, worlds, limit, wrap, settings)
    title = source if isinstance(source, str) else getattr(source.spec, "id", None) or type(source.unwrapped).__name__
    if type(getattr(env, "envs", [env])[0].unwrapped).__module__ == OURS:  # JAX within a callback of JAX may hang
        raise ValueError(f"'{title}' is a world of this library; make it with envs.registry.make, by its own name")
    own = min(filter(None, _limits(env)), default=None)
    if isinstance(source, VectorEnv) and limit and (limit < own if own else isinstance(env, SyncVectorEnv)):
        raise ValueError(
            f"the vector environment '{title}' keeps its own time limit, {own or 'none'}, and not limit={limit}; "
            f"make it with max_episode_steps={limit}"
        )
    limit = min(filter(None, (limit, own)), default=None)
    if limit is None:
        raise ValueError(f"'{title}' has no time limit; set limit, the steps after which an episode is truncated")
    interval = interval or _interval(env)
    if interval is None:
        raise ValueError(f"'{title}' does not say how long a step takes; set interval, in s")
    frames = _entries(env.single_observation_space, title)
    bounds, to_action = _actions(env.single_action_space, title)
    host = _Host(env, title, list(frames), to_action)
    depth = dict.fromkeys(frames, stack or 1)
    vector = lambda dtype: jax.ShapeDtypeStruct((env.num_envs,), dtype)  # noqa: E731
    obs = {k: jax.ShapeDtypeStruct((env.num_envs, *v.shape), v.dtype) for k, v in frames.items()}
    turn = jax.ShapeDtypeStruct((), jnp.int32)

    def reset(key: Key) -> tuple[Ticket, TimeStep]:
        seed = jax.random.randint(key, (), 0, 2**31 - 1 - env.num_envs)
        now, shown = io_callback(host.reset, (turn, obs), seed, ordered=True)
        zeros, no = jnp.zeros(env.num_envs), jnp.zeros(env.num_envs, bool)
        ticket = Ticket(now, no, stacks.fill_stack(shown, depth))
        return ticket, TimeStep(ticket.frames, zeros, zeros + 1, ~no, no)

    def step(ticket: Ticket, action: Array) -> tuple[Ticket, TimeStep]:
        results = (turn, obs, vector(jnp.float32), *[vector(jnp.bool_)] * 3)
        now, shown, reward, terminated, truncated, broken = io_callback(
            host.step, results, ticket.turn, bounds.clip(action), ordered=True
        )
        first = ticket.last | broken
        terminated, last = ~first & terminated, ~first & (terminated | truncated)
        ticket = Ticket(now, last, stacks.push_frame(ticket.frames, shown, first))
        discount = jnp.where(terminated, 0.0, 1.0)
        return ticket, TimeStep(ticket.frames, jnp.where(first, 0.0, reward), discount, first, last)

    shapes = stacks.shapes(frames, depth)
    spec = Spec(shapes, bounds, env.num_envs, float(interval), int(limit), restorable=False)
    return Env(reset, step, spec)


class _Host:
    """The environments and the number of their next call."""

    def __init__(self, env: VectorEnv, title: str, names: list[str], to_action: Callable):
        self.env, self.title, self.names, self.to_action, self.turn = env, title, names, to_action, 0
        self.partial = isinstance(env, (SyncVectorEnv, AsyncVectorEnv))  # whether some of its worlds can be reset
        self.lock = threading.Lock()

    def reset(self, seed: np.ndarray) -> tuple[np.ndarray, dict]:
        with self.lock:
            self.turn += 1
            obs, _ = self.env.reset(seed=int(seed))
            return np.int32(self.turn), self._opened(self._flatten(obs))[0]

    def step(self, turn: np.ndarray, action: np.ndarray) -> tuple:
        with self.lock:
            if int(turn) != self.turn:
                raise RuntimeError(
                    f"a gymnasium environment stands at call {self.turn} and cannot go back to call {int(turn)}: "
                    "it has one rollout at a time, each from where the one before ended or from a reset"
                )
            self.turn += 1
            obs, reward, terminated, truncated, _ = self.env.step(self.to_action(np.asarray(action)))
            with np.errstate(over="ignore"):  # becomes infinite, and the world broken
                reward = np.array(reward, np.float32)
            entries, broken = self._opened(self._flatten(obs), reward)
            return np.int32(self.turn), entries, reward, np.array(terminated, bool), np.array(truncated, bool), broken

    def _opened(self, entries: dict, reward: np.ndarray | float = 0.0) -> tuple[dict, np.ndarray]:
        """The entries with those of a new episode in worlds that are not finite, and which worlds that are [B]."""
        broken = again = self._not_finite(entries, np.broadcast_to(reward, self.env.num_envs))
        for _ in range(RESETS):
            if not again.any():
                return entries, broken
            if not self.partial:
                again = broken = np.ones_like(broken)
            obs, _ = self.env.reset(options={"reset_mask": again}) if self.partial else self.env.reset()
            entries = self._flatten(obs)
            again = self._not_finite(entries, np.zeros(self.env.num_envs))
        if not again.any():
            return entries, broken
        wrong = [k for k, v in entries.items() if v.dtype.kind == "f" and not np.isfinite(v).all()] or ["its state"]
        raise RuntimeError(
            f"'{self.title}' is not finite where episodes open, after {RESETS} resets: {', '.join(wrong)}; "
            "entries that may be NaN or infinite must be replaced by a wrapper of the environment"
        )

    def _not_finite(self, entries: dict, reward: np.ndarray) -> np.ndarray:
        finite_worlds = finite.rows_are_finite(entries, reward)
        if isinstance(self.env, SyncVectorEnv):
            finite_worlds &= [finite.state_is_finite(env) for env in self.env.envs]
        return ~finite_worlds

    def _flatten(self, obs: Any) -> dict[str, np.ndarray]:
        entries = {}
        for name in self.names:
            value = obs
            for part in name.split(".") if isinstance(obs, dict) else ():
                value = value[part]
            value = np.asarray(value)
            with np.errstate(over="ignore"):
                entries[name] = value if value.dtype == np.uint8 else value.astype(np.float32).reshape(len(value), -1)
        return entries


def _vector(source: Any, worlds: int, limit: int | None, wrap: Callable | None, settings: dict) -> VectorEnv:
    wrap = wrap or (lambda env: env)
    if isinstance(source, VectorEnv):
        if settings or worlds not in (1, source.num_envs):
            raise ValueError(f"a vector environment of {source.num_envs} takes neither worlds nor settings")
        mode = source.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        if mode != AutoresetMode.NEXT_STEP:
            raise ValueError(f"autoreset_mode must be NEXT_STEP, got {mode}; make the vector environment with it")
        return source
    if isinstance(source, gymnasium.Env):
        if settings or worlds != 1:
            raise ValueError("an environment object is one world and takes no settings; pass its id for more worlds")
        return SyncVectorEnv([lambda: wrap(gymnasium.wrappers.TimeLimit(source, limit) if limit else source)])
    try:
        return SyncVectorEnv([lambda: wrap(gymnasium.make(source, max_episode_steps=limit, **settings))] * worlds)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise ValueError(" ".join(f"gymnasium does not make '{source}': {error}".split())) from None


def _limits(env: VectorEnv) -> Iterator[int | None]:
    """The time limits that cut episodes of an environment: those of its wrappers, and what its spec says."""
    if not isinstance(env, SyncVectorEnv):
        spec = env.get_attr("spec")[0] if isinstance(env, AsyncVectorEnv) else env.spec
        asked = getattr(spec, "kwargs", {}).get("max_episode_steps")  # of make_vec, which leaves the spec as it was
        yield asked or getattr(spec, "max_episode_steps", None)
        return
    inner = env.envs[0]
    while isinstance(inner, gymnasium.Wrapper):
        if isinstance(inner, gymnasium.wrappers.TimeLimit):
            yield inner._max_episode_steps
        inner = inner.env
    yield getattr(inner.spec, "max_episode_steps", None)


def _interval(env: VectorEnv) -> float | None:
    inner = env.envs[0].unwrapped if isinstance(env, SyncVectorEnv) else env
    step, pictures = getattr(inner, "dt", None), inner.metadata.get("render_fps")
    return step if isinstance(step, (int, float)) else (1 / pictures if pictures else None)


def _entries(space: spaces.Space, title: str, name: str = "") -> dict[str, jax.ShapeDtypeStruct]:
    """The entries of one world's observations of `space`, name -> one frame."""
    if isinstance(space, spaces.Dict):
        entries = {}
        for key, part in space.items():
            if "." in key:
                raise ValueError(f"'{title}' has the entry '{key}'; names with a dot are not supported")
            entries |= _entries(part, title, f"{name}.{key}" if name else key)
        return entries
    at = name or stacks.OBSERVATION
    if not isinstance(space, spaces.Box):
        raise ValueError(f"'{title}' has the entry '{at}' in {space}; supported are a Box and a Dict of them")
    if space.dtype == np.uint8:
        return {at: jax.ShapeDtypeStruct(space.shape, jnp.uint8)}
    return {at: jax.ShapeDtypeStruct((math.prod(space.shape),), jnp.float32)}


def _actions(space: spaces.Space, title: str) -> tuple[Bounds, Callable[[np.ndarray], np.ndarray]]:
    """The bounds of our actions, and the function that converts them to the environment's, [B, A] -> [B, ...]."""
    if isinstance(space, spaces.Discrete):
        choose = lambda action: (space.start + action.argmax(-1)).astype(space.dtype)  # noqa: E731
        return Bounds((int(space.n),), -1.0, 1.0), choose
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f" or not space.is_bounded():
        raise ValueError(f"'{title}' has actions in {space}; supported are a bounded Box of floats and a Discrete")
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)

    def scale(action: np.ndarray) -> np.ndarray:
        share = (action.astype(np.float64) + 1) / 2
        return (low + share * (high - low)).reshape(len(action), *space.shape).astype(space.dtype)

    return Bounds((len(low),), -1.0, 1.0), scale
