"""Worlds for tests that show which world, episode and step a row is from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Bounds, Env, Policy, Spec, TimeStep

LENGTH = 6  # steps of an episode of world 0; world w has w more


class Clock(NamedTuple):
    steps: jax.Array  # [B] of this episode
    episode: jax.Array  # [B]
    ended: jax.Array  # [B] bool


def clocks(worlds: int, *, limit: int | None = None, breaks: tuple[int, int] = (-1, -1), ends: bool = False) -> Env:
    """Worlds that show (world, episode, step) and pay the action; episode `breaks[1]` of world `breaks[0]` breaks."""
    own = jnp.arange(worlds)
    lengths = jnp.full((worlds,), limit) if limit else LENGTH + own

    def show(state: Clock, reward, first) -> TimeStep:
        frame = jnp.stack([own, state.episode, state.steps], -1).astype(jnp.float32)
        frames = jnp.stack([frame, frame - 100], 1)  # [B, 2, 3]: the older frame must not be recorded
        obs = {"clock.all": frames, "task.success": (state.episode % 2).astype(jnp.float32)[:, None, None]}
        discount = jnp.where(state.ended & ends & ~first, 0.0, 1.0)
        return TimeStep(obs, jnp.where(first, 0, reward), discount, first, state.ended)

    def reset(key):
        zero = jnp.zeros((worlds,), jnp.int32)
        state = Clock(zero, zero, zero > 0)
        return state, show(state, zero.astype(jnp.float32), zero == 0)

    def step(state: Clock, action):
        broke = (own == breaks[0]) & (state.episode == breaks[1]) & (state.steps == 3)
        first = state.ended | broke
        steps = jnp.where(first, 0, state.steps + 1)
        state = Clock(steps, state.episode + first, ~first & (steps >= lengths))
        return state, show(state, action[:, 0], first)

    shapes = {"clock.all": jax.ShapeDtypeStruct((2, 3), jnp.float32)}
    shapes |= {"task.success": jax.ShapeDtypeStruct((1, 1), jnp.float32)}
    spec = Spec(shapes, Bounds((2,), -1.0, 1.0), worlds, 0.05, LENGTH + worlds, ("task.success",), "task.success")
    return Env(reset, step, spec)


def act(params, carry, step: TimeStep, key):
    """The first action says how many steps the episode has seen; the carry counts all rows."""
    steps = step.obs["clock.all"][:, 0, 2]
    return carry + 1, jnp.stack([steps / 100, 0 * steps], -1), {"age": steps, "rows": carry}


COUNTING = Policy(lambda worlds: jnp.zeros((worlds,), jnp.int32), act)
