"""The planar walker: stands, walks at 1 m/s or runs at 8 m/s. Starts have random poses.

Observed: `orientations` [14], the x axes of the seven bodies in the plane (xx, xz of each); `height` [1] m of the
torso; `velocity` [9] m/s, rad/s.
"""

import jax.numpy as jnp

from skillhier.envs import batch, physics, rewards
from skillhier.envs.dmc import suite
from skillhier.types import Array

INTERVAL = 0.025  # s
SPEED = {"stand": 0.0, "walk": 1.0, "run": 8.0}  # m/s
HEIGHT = 1.2  # m of a torso that counts as standing


def make(task: str, *, profile: str = "auto", engine: str = "auto", worlds: int = 1) -> batch.Task:
    """A walker paid for standing and, to walk or run, for moving ahead at the `task`'s SPEED.

    profile: parity, fast or auto (see `suite`); engine auto, native, mjx or warp; worlds sizes warp's buffers.
    """
    engines = suite.world("walker", INTERVAL, profile, engine, worlds)
    model, speed = engines.model, SPEED[task]
    torso, velocity, draw = model.body("torso").id, suite.reader(model, "torso_subtreelinvel"), suite.scattered(model)

    def observe(data: physics.Data) -> dict[str, Array]:
        axes = data.xmat[1:, 0]  # [7, 3] first row of each body: xx, xy, xz
        return {
            "orientations": jnp.stack([axes[:, 0], axes[:, 2]], -1).ravel(),
            "height": data.xpos[torso, 2:],
            "velocity": data.state.qvel,
        }

    def reward(data: physics.Data) -> Array:
        standing = rewards.tolerance(data.xpos[torso, 2], HEIGHT, jnp.inf, margin=HEIGHT / 2)
        stands = (3 * standing + (1 + data.xmat[torso, 2, 2]) / 2) / 4
        if speed == 0:
            return stands
        moving = rewards.tolerance(velocity(data)[0], speed, jnp.inf, margin=speed / 2, shape="linear", left=0.5)
        return stands * (5 * moving + 1) / 6

    sizes = {"orientations": 2 * (model.nbody - 1), "height": 1, "velocity": model.nv}
    start = lambda key: physics.initial(model, draw(key))  # noqa: E731
    return suite.task(engines, INTERVAL, sizes, start, observe, reward)
