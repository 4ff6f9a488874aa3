"""The pendulum whose motor is too weak to lift it at once: reward 1 within 8 degrees of the top.

Observed: `orientation` [2], cosine and sine of the pole against the vertical; `velocity` [1] rad/s.
"""

import math

import jax
import jax.numpy as jnp

from skillhier.envs import batch, physics, rewards
from skillhier.envs.dmc import suite
from skillhier.types import Array, Key

INTERVAL = 0.02  # s
COSINE = math.cos(math.radians(8))


def make(*, profile: str = "auto", engine: str = "auto", worlds: int = 1) -> batch.Task:
    """A pendulum that starts at any angle, at rest.

    profile: parity, fast or auto (see `suite`); engine auto, native, mjx or warp; worlds sizes warp's buffers.
    """
    engines = suite.world("pendulum", INTERVAL, profile, engine, worlds)
    model = engines.model
    pole = model.body("pole").id

    def start(key: Key) -> physics.State:
        return physics.initial(model, jax.random.uniform(key, (1,), minval=-jnp.pi, maxval=jnp.pi))

    def observe(data: physics.Data) -> dict[str, Array]:
        turned = jnp.stack([data.xmat[pole, 2, 2], data.xmat[pole, 0, 2]])
        return {"orientation": turned, "velocity": data.state.qvel}

    def reward(data: physics.Data) -> Array:
        return rewards.tolerance(data.xmat[pole, 2, 2], COSINE, jnp.inf)

    return suite.task(engines, INTERVAL, {"orientation": 2, "velocity": 1}, start, observe, reward)
