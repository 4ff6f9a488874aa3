"""The cart with a pole: balanced from near the top, or swung up from below; dense or sparse reward.

Observed: `position` [3], the cart's place (m), the pole's cosine and sine; `velocity` [2] m/s, rad/s.
"""

import jax
import jax.numpy as jnp

from skillhier.envs import batch, physics, rewards
from skillhier.envs.dmc import suite
from skillhier.types import Array, Key

INTERVAL = 0.01  # s
PLACE, COSINE = 0.25, 0.995  # m either side, of the pole: what a sparse task pays for
STILL = 0.01  # standard deviation of every start that is not drawn uniformly: m, rad, m/s, rad/s
NEAR = (0.1, 0.034)  # m, rad either side: starts of balancing


def make(task: str, *, profile: str = "auto", engine: str = "auto", worlds: int = 1) -> batch.Task:
    """A cart-pole: `task` is balance (starts near the top) or swingup (from below), `_sparse` behind it or not.

    profile: parity, fast or auto (see `suite`); engine auto, native, mjx or warp; worlds sizes warp's buffers.
    """
    engines = suite.world("cartpole", INTERVAL, profile, engine, worlds)
    model, swing_up, sparse = engines.model, task.startswith("swingup"), task.endswith("sparse")
    pole = model.body("pole_1").id

    def start(key: Key) -> physics.State:
        k_place, k_velocity = jax.random.split(key)
        if swing_up:
            qpos = jnp.array([0.0, jnp.pi]) + STILL * jax.random.normal(k_place, (2,))
        else:
            qpos = jnp.array(NEAR) * jax.random.uniform(k_place, (2,), minval=-1.0, maxval=1.0)
        return physics.initial(model, qpos, STILL * jax.random.normal(k_velocity, (2,)))

    def observe(data: physics.Data) -> dict[str, Array]:
        turned = jnp.stack([data.xmat[pole, 2, 2], data.xmat[pole, 0, 2]])
        return {"position": jnp.concatenate([data.state.qpos[:1], turned]), "velocity": data.state.qvel}

    def reward(data: physics.Data) -> Array:
        place, cosine = data.state.qpos[0], data.xmat[pole, 2, 2]
        if sparse:
            return rewards.tolerance(place, -PLACE, PLACE) * rewards.tolerance(cosine, COSINE, jnp.inf)
        centred = rewards.tolerance(place, margin=2.0)
        effort = rewards.tolerance(data.ctrl[0], margin=1.0, shape="quadratic", left=0.0)
        calm = rewards.tolerance(data.state.qvel[1], margin=5.0)
        return (cosine + 1) / 2 * (4 + effort) / 5 * (1 + calm) / 2 * (1 + centred) / 2

    return suite.task(engines, INTERVAL, {"position": 3, "velocity": 2}, start, observe, reward)
