"""Worlds as a user's own package registers them: points on a line that are paid for being in the middle.

`own.line` is an Env, `OwnLine-v0` the same in gymnasium, which draws itself.
"""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from skillhier.envs import registry
from skillhier.types import Array, Bounds, Env, Key, Spec, TimeStep

LIMIT, STEP = 12, 0.1


def line(*, worlds: int = 1, limit: int | None = None, half: float = 1.0) -> Env:
    """Places start within `half` of the middle."""
    limit = limit or LIMIT

    def show(place: Array, count: Array, first: Array) -> TimeStep:
        reward = jnp.where(first, 0.0, -jnp.abs(place))
        return TimeStep({"place": place[:, None, None]}, reward, jnp.ones(worlds), first, count == limit)

    def reset(key: Key) -> tuple:
        key, own = jax.random.split(key)
        place = jax.random.uniform(own, (worlds,), minval=-half, maxval=half)
        count = jnp.zeros(worlds, jnp.int32)
        return (place, count, key), show(place, count, jnp.ones(worlds, bool))

    def step(state: tuple, action: Array) -> tuple:
        place, count, key = state
        over = count == limit
        key, own = jax.random.split(key)
        fresh = jax.random.uniform(own, (worlds,), minval=-half, maxval=half)
        place = jnp.where(over, fresh, place + STEP * jnp.clip(action[:, 0], -1.0, 1.0))
        count = jnp.where(over, 0, count + 1)
        return (place, count, key), show(place, count, over)

    seen = {"place": jax.ShapeDtypeStruct((1, 1), jnp.float32)}
    return Env(reset, step, Spec(seen, Bounds((1,), -1.0, 1.0), worlds, 0.1, limit))


class OwnLine(gymnasium.Env):
    """A white column where the point is, 8 pixels high and 16 wide."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.place = float(self.np_random.uniform(-1, 1))
        return np.array([self.place], np.float32), {}

    def step(self, action: np.ndarray) -> tuple:
        self.place += STEP * float(action[0])
        return np.array([self.place], np.float32), -abs(self.place), False, False, {}

    def render(self) -> np.ndarray:
        picture = np.zeros((8, 16, 3), np.uint8)
        picture[:, int(np.clip(8 + 4 * self.place, 0, 15))] = 255
        return picture


registry.register_env("own.line", line)
gymnasium.register("OwnLine-v0", OwnLine, max_episode_steps=LIMIT)
