"""Observations of the stacking world: one frame of entries, and the scene that the rewards read.

Names, sizes and order: fact sheet 4.2 (the public RGB-stacking environment), scalars as [1], the
pinch pose as the only pose. Lengths in m, angles in rad, forces in N; quaternions wxyz, w >= 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.envs import unrolled
from skillhier.envs.physics import Data, State
from skillhier.envs.sawyer import model as scenery
from skillhier.envs.sawyer import robot
from skillhier.envs.sawyer.rewards import INWARD, NONE, OUTWARD, Scene
from skillhier.envs.sawyer.sensing import Load, gripping
from skillhier.types import Array

PROPRIO = {
    "sawyer.joints.angle": 7, "sawyer.joints.velocity": 7, "sawyer.joints.torque": 7,
    "sawyer.pinch.pose": 7, "sawyer.tcp.velocity": 6,
    "gripper.joints.angle": 1, "gripper.joints.velocity": 1, "gripper.grasp": 1,
    "wrist.force": 3, "wrist.torque": 3,
}  # fmt: skip
OBJECTS = {f"rgb30_{colour}.{kind}": 7 for colour in scenery.COLOURS for kind in ("abs_pose", "to_pinch")}
WINDOW = 0.0125  # s, over which `gripper.joints.velocity` counts ticks
FIRM = 2.0  # ticks/s: below this finger command there is no grasp


def frame(layout: scenery.Layout, data: Data, load: Load, ticks: Array, moved: Array, grasp: Array) -> dict[str, Array]:
    """One frame of one world. `ticks` [] of the fingers, `moved` [] in the last WINDOW, `grasp` [] reading."""
    state = data.state
    pinch = jnp.concatenate([data.site_xpos[layout.pinch], quaternion(data.site_xmat[layout.pinch])])
    entries = {
        "sawyer.joints.angle": unrolled.take(state.qpos, layout.arm),
        "sawyer.joints.velocity": unrolled.take(state.qvel, layout.arm),
        "sawyer.joints.torque": load.torque,
        "sawyer.pinch.pose": pinch,
        "sawyer.tcp.velocity": unrolled.take(data.sensordata, layout.velocity),
        "gripper.joints.angle": ticks[None],
        "gripper.joints.velocity": moved[None],
        "gripper.grasp": grasp[None],
        "wrist.force": load.force,
        "wrist.torque": load.moment,
    }
    for i, colour in enumerate(scenery.COLOURS):
        pose = unrolled.take(state.qpos, layout.objects[i])
        pose = jnp.concatenate([pose[:3], upward(pose[3:])])
        entries |= {f"rgb30_{colour}.abs_pose": pose, f"rgb30_{colour}.to_pinch": pose - pinch}
    return entries


class Finger(NamedTuple):
    """The observed finger joint."""

    angle: Array  # [] rad
    rate: Array  # [] rad/s


def finger(layout: scenery.Layout, state: State) -> Finger:
    """The observed finger joint at a state."""
    return Finger(state.qpos[layout.driver], state.qvel[layout.driver])


def whole_ticks(angle: Array) -> Array:
    """The finger angle [] rad in whole ticks, 0 (open) to 255 (closed)."""
    return jnp.round(robot.TICKS * jnp.clip(angle / robot.DRIVER_RANGE, 0.0, 1.0))


def ticks_moved(before: Finger, now: Finger, interval: float) -> Array:
    """Ticks moved in the last WINDOW of a control step of `interval` s, from the finger at its two ends: [].

    The angle in between is a cubic with the angles and rates of both ends. So it depends neither on the engine nor on
    its physics step, and the engines return no state from within a control step.
    """
    share = 1.0 - WINDOW / interval
    bend = before.angle - now.angle
    chord = (1 - share) * before.angle + share * now.angle
    pull = (1 - share) * (interval * before.rate + bend) - share * (interval * now.rate + bend)
    return whole_ticks(now.angle) - whole_ticks(chord + share * (1 - share) * pull)


def grasp_reading(layout: scenery.Layout, data: Data, speed: Array) -> Array:
    """1 none, 2 inward, 3 outward: both fingertips touch something, under a finger command `speed` [] ticks/s."""
    grips = gripping(layout, data.state.qpos, data.sensordata) & (jnp.abs(speed) >= FIRM)
    return jnp.where(grips, jnp.where(speed > 0, INWARD, OUTWARD), NONE)


def scene(layout: scenery.Layout, data: Data, ticks: Array, grasp: Array) -> Scene:
    """What the rewards read of one world."""
    contact = data.sensordata > 0
    touching = jnp.zeros((3, 3), bool)
    for row, (i, j) in enumerate(scenery.PAIRS):
        either = contact[layout.object_object[row]]
        touching = touching.at[i, j].set(either).at[j, i].set(either)
    return Scene(
        pinch=data.site_xpos[layout.pinch],
        objects=unrolled.take(data.state.qpos, layout.objects)[:, :3],
        ticks=ticks,
        grasp=grasp,
        touching=touching,
        grounded=unrolled.any(unrolled.take(contact, layout.object_basket)),
        handled=unrolled.any(unrolled.take(contact, layout.tip_object))
        | unrolled.any(unrolled.take(contact, layout.object_palm)),
    )


def shapes(sizes: dict[str, int]) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of entries, for Task.obs."""
    return {name: jax.ShapeDtypeStruct((size,), jnp.float32) for name, size in sizes.items()}


def upward(quat: Array) -> Array:
    """The same rotation with w >= 0: [4]."""
    return jnp.where(quat[0] < 0, -quat, quat)


def quaternion(axes: Array) -> Array:
    """The rotation `axes` [3, 3] (columns are the turned axes) as wxyz with w >= 0: [4].

    Each row below is 4 q_i q, so it is the quaternion scaled by its i-th part; the largest is the exact one.
    """
    (a, b, c), (d, e, f), (g, h, i) = axes
    rows = jnp.stack([
        jnp.stack([1 + a + e + i, h - f, c - g, d - b]),
        jnp.stack([h - f, 1 + a - e - i, b + d, c + g]),
        jnp.stack([c - g, b + d, 1 - a + e - i, f + h]),
        jnp.stack([d - b, c + g, f + h, 1 - a - e + i]),
    ])  # fmt: skip
    row, largest = rows[0], rows[0, 0]
    for k in range(1, 4):
        row, largest = jnp.where(rows[k, k] > largest, rows[k], row), jnp.maximum(rows[k, k], largest)
    return upward(row / unrolled.norm(row))
