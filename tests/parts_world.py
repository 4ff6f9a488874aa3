"""A world whose action has parts: {"move": [2], "grip": [1]}; it shows what was done to it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Bounds, Env, Spec, TimeStep

ACTION = {"move": Bounds((2,), -1.0, 1.0), "grip": Bounds((1,), 2.0, 3.0)}


class State(NamedTuple):
    row: jax.Array  # [B]


def parts_world(worlds: int, length: int = 4) -> Env:
    """Episodes of `length` steps. The entry `x` holds the last action's parts, [1, 3]; pays row + grip."""

    def show(row, x, paid) -> TimeStep:
        first, last = row % (length + 1) == 0, row % (length + 1) == length
        reward = jnp.where(first, 0.0, row + paid)
        return TimeStep({"x": x[:, None]}, reward, jnp.ones(worlds), first, last)

    def reset(key):
        row = jnp.zeros(worlds, jnp.int32)
        return State(row), show(row, jnp.zeros((worlds, 3)), jnp.zeros(worlds))

    def step(state, action):
        row = state.row + 1
        x = jnp.concatenate([action["move"], action["grip"]], -1)
        return State(row), show(row, x, action["grip"][:, 0])

    obs = {"x": jax.ShapeDtypeStruct((1, 3), jnp.float32)}
    return Env(reset, step, Spec(obs, ACTION, worlds, 0.05, length))
