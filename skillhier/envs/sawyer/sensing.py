"""What the robot feels: joint torques and wrist forces without the robot's own weight, and touch.

The real cell holds the robot's weight by a force on every body, so its sensors do not feel it; MuJoCo's
gravcomp acts on the joints, so ours do. The difference is statics, taken off here.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from skillhier.envs import unrolled
from skillhier.envs.sawyer import model as sawyer
from skillhier.envs.sawyer import robot
from skillhier.types import Array

CLOSED = 252 / 255 * robot.DRIVER_RANGE  # rad; from here on the real fingertips touch each other


class Load(NamedTuple):
    """What the sensors of the robot read."""

    torque: Array  # [7] N m about the joints' axes
    force: Array  # [3] N in the wrist sensor's axes
    moment: Array  # [3] N m


NO_LOAD = Load(*(np.zeros(size, np.float32) for size in (7, 3, 3)))


def unloaded(model: mujoco.MjModel) -> Callable[..., Load]:
    """`read(xpos [nbody, 3], xmat [nbody, 3, 3], site_xpos [nsite, 3], site_xmat [nsite, 3, 3], sensordata) -> Load`.

    Where the raw readings are zero, as right after a reset, nothing was measured yet: it returns its argument
    `before` there (default: zeros).
    """
    layout = sawyer.layout(model)
    weight = model.body_mass * model.body_gravcomp * -model.opt.gravity[2]  # N
    held = np.nonzero(weight)[0]
    joints = np.array([model.joint(name).bodyid[0] for name in sawyer.JOINTS])
    gripper, sensor = model.body("gripper").id, model.site("wrist_sensor").id
    below = np.array([[_hangs(model, b, top) for b in held] for top in (*joints, gripper)]) * weight[held]  # [8, h] N
    total, centre = below.sum(1), model.body_ipos[held]

    def read(
        xpos: Array, xmat: Array, site_xpos: Array, site_xmat: Array, sensordata: Array, before: Load = NO_LOAD
    ) -> Load:  # fmt: skip
        raw = Load(*(unrolled.take(sensordata, place) for place in (layout.torque, layout.force, layout.moment)))
        com = unrolled.take(xpos, held) + unrolled.matvec(unrolled.take(xmat, held), centre[:, None])
        first = unrolled.matmul(jnp.asarray(below), jax.lax.optimization_barrier(com))  # [8, 3] N m
        base = jnp.concatenate([unrolled.take(xpos, joints), site_xpos[sensor][None]])
        lever = first - total[:, None] * base
        holding = jnp.stack([lever[:, 1], -lever[:, 0]], 1)  # [8, 2] x and y of the moment that holds the weight
        axes = site_xmat[sensor]
        torque = raw.torque - unrolled.sum(holding[:7] * unrolled.take(xmat, joints)[:, :2, 2])
        force = raw.force - total[7] * axes[2]
        moment = raw.moment - holding[7, 0] * axes[0] - holding[7, 1] * axes[1]
        measured = unrolled.any(raw.torque != 0)
        pairs = zip((torque, force, moment), before, strict=True)
        return Load(*(jnp.where(measured, now, earlier) for now, earlier in pairs))

    return read


def gripping(layout: sawyer.Layout, qpos: Array, sensordata: Array) -> Array:
    """Whether both fingertips touch something: [] bool, the contact part of the grasp reading.

    Fingers closed on each other count, as they do in the real logs (the reading is 2 from 252 ticks on):
    there a fingertip touches the other finger's pad.
    """
    return unrolled.all(unrolled.take(sensordata, layout.tip_any) > 0) | (qpos[layout.driver] >= CLOSED)


def _hangs(model: mujoco.MjModel, body: int, top: int) -> bool:
    while body and body != top:
        body = model.body_parentid[body]
    return body == top
