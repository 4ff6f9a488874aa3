"""The planar one-legged hopper: stands without effort, or hops at 2 m/s. Starts have random poses.

Observed: `position` [6] without the way travelled, m, rad; `velocity` [7]; `touch` [2], log(1 + N) at toe and heel.
"""

import jax.numpy as jnp
import numpy as np

from skillhier.envs import batch, physics, rewards
from skillhier.envs.dmc import suite
from skillhier.types import Array

INTERVAL = 0.02  # s
HEIGHT = (0.6, 2.0)  # m of the torso's centre above the foot's
SPEED = 2.0  # m/s


def make(task: str, *, profile: str = "auto", engine: str = "auto", worlds: int = 1) -> batch.Task:
    """A hopper paid for its height and for speed (`task` hop) or for using little control (stand).

    profile: parity, fast or auto (see `suite`); engine auto, native, mjx or warp; worlds sizes warp's buffers.
    """
    engines = suite.world("hopper", INTERVAL, profile, engine, worlds)
    model = engines.model
    torso, foot = (model.body(name).id for name in ("torso", "foot"))
    toe, heel = (suite.reader(model, f"touch_{name}") for name in ("toe", "heel"))
    velocity, draw = suite.reader(model, "torso_subtreelinvel"), suite.scattered(model)
    centres = np.asarray(model.body_ipos, np.float32)  # of mass, in each body's axes

    def above(data: physics.Data, body: int) -> Array:
        return data.xpos[body, 2] + (data.xmat[body, 2] * centres[body]).sum()

    def observe(data: physics.Data) -> dict[str, Array]:
        return {
            "position": data.state.qpos[1:],
            "velocity": data.state.qvel,
            "touch": jnp.log1p(jnp.concatenate([toe(data), heel(data)])),
        }

    def reward(data: physics.Data) -> Array:
        standing = rewards.tolerance(above(data, torso) - above(data, foot), *HEIGHT)
        if task == "hop":
            ahead = rewards.tolerance(velocity(data)[0], SPEED, jnp.inf, margin=SPEED / 2, shape="linear", left=0.5)
            return standing * ahead
        effort = rewards.tolerance(data.ctrl, margin=1.0, shape="quadratic", left=0.0).mean()
        return standing * (4 + effort) / 5

    sizes = {"position": model.nq - 1, "velocity": model.nv, "touch": 2}
    start = lambda key: physics.initial(model, draw(key))  # noqa: E731
    return suite.task(engines, INTERVAL, sizes, start, observe, reward)
