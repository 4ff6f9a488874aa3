"""The scene at rest as one frame of observations shows it."""

import jax.numpy as jnp
import mujoco

from skillhier.envs import physics
from skillhier.envs.sawyer import model as scenery
from skillhier.envs.sawyer import robot
from skillhier.envs.sawyer.rewards import NONE
from skillhier.types import Array

SQUEEZE = 73.0  # ticks by which the fingers' motor is ahead of fingers that hold: the median of the experts' logs


def state(model: mujoco.MjModel, layout: scenery.Layout, frame: dict[str, Array]) -> physics.State:
    """The state at rest with the joints, fingers and objects of one frame of entries, [D] each.

    The motor of fingers in contact is ahead of them by SQUEEZE, which no entry shows: without it they would drop what
    they hold. Parts of entries that belong to motion are not used.
    """
    arm, ticks = frame["sawyer.joints.angle"], frame["gripper.joints.angle"][0]
    ahead = jnp.where(frame["gripper.grasp"][0] == NONE, 0.0, SQUEEZE)
    driver = ticks / robot.TICKS * robot.DRIVER_RANGE
    poses = jnp.stack([frame[f"rgb30_{colour}.abs_pose"] for colour in scenery.COLOURS])
    qpos = jnp.asarray(model.qpos0, jnp.float32).at[layout.arm].set(arm).at[layout.objects].set(poses)
    qpos = qpos.at[layout.fingers].set(driver * jnp.array([1.0, -1.0, 1.0, -1.0]))
    act = jnp.zeros(model.na, jnp.float32).at[layout.arm].set(arm)
    return physics.initial(model, qpos, act=act.at[layout.gripper].set(jnp.minimum(ticks + ahead, robot.TICKS)))
