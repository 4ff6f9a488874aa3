"""A point that goes where it is told, and is paid for being where it should be: a state that actions move."""

import jax
import jax.numpy as jnp

from skillhier.types import Bounds, Env, Spec, TimeStep

STEP = 0.2  # of an action of 1


def reach_world(worlds: int, *, limit: int = 16, axes: int = 1) -> Env:
    """Shows `place`, from 0 on, within +-2, and `wanted`, +-0.8, for the episode; pays 1 - |place - wanted|.

    With several axes each has both, and the mean distance counts.
    """

    def show(state, first) -> TimeStep:
        place, wanted, row, _ = state
        obs = {"place": place[:, None], "wanted": wanted[:, None]}
        reward = jnp.where(first, 0.0, 1.0 - jnp.abs(place - wanted).mean(-1))
        return TimeStep(obs, reward, jnp.ones(worlds), first, row == limit)

    def begun(key):
        draw, key = jax.random.split(key)
        wanted = 0.8 * jax.random.rademacher(draw, (worlds, axes), jnp.float32)
        return jnp.zeros((worlds, axes)), wanted, jnp.zeros(worlds, jnp.int32), key

    def reset(key):
        state = begun(key)
        return state, show(state, jnp.ones(worlds, bool))

    def step(state, action):
        place, wanted, row, key = state
        again = row == limit
        moved = jnp.clip(place + STEP * jnp.clip(action, -1.0, 1.0), -2.0, 2.0), wanted, row + 1
        start, anew = begun(key), again[:, None]
        place, wanted = (jnp.where(anew, a, b) for a, b in zip(start[:2], moved[:2], strict=True))
        state = place, wanted, jnp.where(again, start[2], moved[2]), start[3]
        return state, show(state, again)

    obs = {name: jax.ShapeDtypeStruct((1, axes), jnp.float32) for name in ("place", "wanted")}
    return Env(reset, step, Spec(obs, Bounds((axes,), -1.0, 1.0), worlds, 0.05, limit))
