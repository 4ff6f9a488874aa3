"""Quadrupeds in plain JAX that glide instead of walking: with the entries and the rewards of the real ones."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.envs.dmc import quadruped_goals as goals
from skillhier.types import Bounds, Env, Spec, TimeStep

SIZES = {"torso_upright": 1, "imu": 6, **goals.TRANSFER_ENTRIES, **goals.PRIVILEGED}


class State(NamedTuple):
    torso: jax.Array  # [B, 3] m
    velocity: jax.Array  # [B, 3] m/s
    target: jax.Array  # [B, 3] m
    steps: jax.Array  # [B] int32 control steps of this episode
    last: jax.Array  # [B] bool
    key: jax.Array  # [B]


def roam(name: str, *, worlds: int, limit: int = 20, repeat: int = 1, **_) -> Env:
    """The first two numbers of an action push the torso, which may leave the ground: it turns as it rises."""
    shown = "reach" in name or "line" in name or "cove" in name

    def entries(state: State) -> dict:
        up = jnp.cos(state.torso[:, 2] - 0.6)[:, None]
        flat = jnp.broadcast_to(jnp.eye(3).reshape(9), (worlds, 9)).at[:, 8].set(up[:, 0])
        observed = dict(zip(goals.PRIVILEGED, (state.torso, flat, state.velocity, state.target), strict=True))
        seen = goals.toward(state.torso, flat, state.target) if shown else jnp.zeros((worlds, 3))
        observed |= {"torso_upright": up, "imu": jnp.tile(state.velocity, (1, 2)), "target_position": seen}
        return observed | {"obstacle_positions": jnp.zeros((worlds, 10))}

    def show(state: State, reward, first) -> TimeStep:
        obs = {entry: value[:, None] for entry, value in entries(state).items()}
        return TimeStep(
            {entry: obs[entry] for entry in SIZES}, jnp.where(first, 0.0, reward), jnp.ones(worlds), first, state.last
        )

    def opened(key) -> State:
        both = jax.vmap(jax.random.split)(key)
        target = jax.vmap(lambda k: goals.free()(k).target)(both[:, 0])
        zero = jnp.zeros(worlds, jnp.int32)
        start = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.6]), (worlds, 3))
        return State(start, jnp.zeros((worlds, 3)), target, zero, zero > 0, both[:, 1])

    def reset(key):
        state = opened(jax.random.split(key, worlds))
        return state, show(state, jnp.zeros(worlds), jnp.ones(worlds, bool))

    def step(state: State, action):
        first, reward = state.last, jnp.zeros(worlds)
        new = opened(state.key)
        for _ in range(repeat):
            velocity = state.velocity + 0.3 * jnp.clip(action[:, :3], -1, 1)
            moved = state.torso + 0.1 * velocity
            state = state._replace(torso=moved, velocity=velocity, steps=state.steps + 1)
            reward = reward + goals.REWARDS[name](entries(state))
        state = state._replace(last=state.steps >= limit)
        pick = lambda a, b: jnp.where(first.reshape(-1, *(1,) * (a.ndim - 1)), a, b)  # noqa: E731
        state = jax.tree.map(pick, new, state)
        return state, show(state, reward, first)

    obs = {entry: jax.ShapeDtypeStruct((1, size), jnp.float32) for entry, size in SIZES.items()}
    privileged = tuple(goals.PRIVILEGED)
    return Env(reset, step, Spec(obs, Bounds((12,), -1.0, 1.0), worlds, 0.02 * repeat, limit // repeat, privileged))
