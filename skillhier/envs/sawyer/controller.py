"""From a 5-D action to joint velocities and a finger speed: kinematics and the Cartesian 4-D controller.

One robot, no batch axis, made for vmap. No call leaves XLA's own arithmetic: library solvers are slow for thousands
of systems of 6 x 6 (see `unrolled`).
Source: fact sheet 4.3, 4.4 and 4.7 (the moma effectors and the two-level QP of dm_robotics).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.envs import unrolled
from skillhier.envs.sawyer import robot
from skillhier.types import Array

INTERVAL = 0.05  # s between two commands
LINEAR, ANGULAR, FINGER = 0.07, 1.0, 255.0  # m/s, rad/s, ticks/s at an action of 1
DAMPING = 0.01  # of level 1, on |qd|^2
NULL_DAMPING = 1e-5  # of the projection into the null space; float32 wants it above 1e-6
NULL_GAIN = 0.5  # 1/s towards REFERENCE
TILT_GAIN = 0.8  # rad/s per rad of tilt
REFERENCE = (0.0, -0.51862, -0.52938, 1.22086, 0.40857, 1.07832, 0.0)  # rad
SPEED = (1.74, 1.328, 1.957, 1.957, 3.485, 3.485, 4.545)  # rad/s
LIMIT_GAIN, LIMIT_MARGIN = 0.95 / INTERVAL, 0.01  # 1/s, rad: how a joint slows before its end
CENTRE, SIZE = (0.6, 0.0, 0.1698), (0.25, 0.25, 0.2)  # m, workspace of the pinch
WRIST_RANGE = np.pi / 2  # rad either side

_OFFSET = np.array([link[1] for link in robot.CHAIN])  # [7, 3]


def _matrix(quat) -> np.ndarray:
    w, x, y, z = np.asarray(quat, float) / np.linalg.norm(quat)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


_TURN = np.array([_matrix(link[2]) for link in robot.CHAIN])  # [7, 3, 3]
_HAND, _HAND_TURN = np.array(robot.HAND[0]), _matrix(robot.HAND[1])
_PINCH, _PINCH_TURN = np.array(robot.PINCH[0]), _matrix(robot.PINCH[1])


class Pose(NamedTuple):
    """Where the hand is, in world axes."""

    wrist: Array  # [3] m
    wrist_axes: Array  # [3, 3] columns are the wrist site's axes; z points along the tool
    pinch: Array  # [3] m
    pinch_axes: Array  # [3, 3]; the fingers move along y
    jacobian: Array  # [6, 7] of the wrist site: linear rows, then angular


def forward(q: Array) -> Pose:
    """Pose and Jacobian at joint angles `q` [7] rad."""
    cos, sin = jnp.cos(q), jnp.sin(q)
    place, axes = jnp.zeros(3, q.dtype), jnp.eye(3, dtype=q.dtype)
    origins, directions = [], []
    for i in range(7):
        place = place + unrolled.matvec(axes, _OFFSET[i])
        axes = unrolled.matmul(axes, _TURN[i])
        origins.append(place)
        directions.append(axes[:, 2])
        x, y = axes[:, 0], axes[:, 1]
        axes = jnp.stack([x * cos[i] + y * sin[i], y * cos[i] - x * sin[i], axes[:, 2]], 1)
    wrist = place + unrolled.matvec(axes, _HAND)
    wrist_axes = unrolled.matmul(axes, _HAND_TURN)
    pinch = wrist + unrolled.matvec(wrist_axes, _PINCH)
    turning = jnp.stack(directions, 1)  # [3, 7]
    moving = jnp.cross(turning, wrist[:, None] - jnp.stack(origins, 1), axis=0)
    return Pose(wrist, wrist_axes, pinch, unrolled.matmul(wrist_axes, _PINCH_TURN), jnp.concatenate([moving, turning]))


def command(q: Array, action: Array) -> tuple[Array, Array]:
    """Joint velocities [7] rad/s and finger speed [] ticks/s for `action` [5] in [-1, 1] at angles `q` [7]."""
    pose = forward(q)
    return joint_velocity(q, pose, twist(q, pose, action)), FINGER * jnp.clip(action[4], -1.0, 1.0)


def twist(q: Array, pose: Pose, action: Array) -> Array:
    """Wanted velocity of the wrist site in world axes: [6] m/s, rad/s."""
    action = jnp.clip(action, -1.0, 1.0)
    low, high = jnp.array(CENTRE) - jnp.array(SIZE) / 2, jnp.array(CENTRE) + jnp.array(SIZE) / 2
    linear = LINEAR * action[:3]
    leaving = ((pose.pinch < low) & (linear < 0)) | ((pose.pinch > high) & (linear > 0))
    linear = _within(jnp.where(leaving, 0.0, linear), LINEAR)
    spin, turned = ANGULAR * action[3], -q[6]
    spin = jnp.where(((turned < -WRIST_RANGE) & (spin < 0)) | ((turned > WRIST_RANGE) & (spin > 0)), 0.0, spin)
    # The tool's z points down, so turning about the vertical is minus its own z; tilt is turned back about
    # its x and y by the shortest rotation that takes the tool's z to the vertical.
    down = -pose.wrist_axes[2]  # world's -z in wrist axes
    sine = jnp.sqrt(down[0] ** 2 + down[1] ** 2 + 1e-12)
    angle = jnp.arctan2(sine, down[2]) / sine
    local = jnp.stack([-TILT_GAIN * angle * down[1], TILT_GAIN * angle * down[0], -spin])
    angular = _within(unrolled.matvec(pose.wrist_axes, local), ANGULAR)
    return jnp.concatenate([linear, angular])


def joint_velocity(q: Array, pose: Pose, wanted: Array) -> Array:
    """Joint velocities [7] that best give `wanted` [6] within the joints' bounds, nearing REFERENCE for free.

    Level 1 is damped least squares; joints that would break a bound are held there and the rest is solved
    once more. Level 2 goes from there towards REFERENCE along the one direction that does not move the hand,
    as far as the bounds let it: on a line that is the QP's own answer.
    """
    lower, upper = bounds(q)
    jacobian = pose.jacobian
    square = unrolled.gram(jacobian)
    first = unrolled.matvec(jacobian.T, unrolled.solve(square, DAMPING, wanted))
    held = (first < lower) | (first > upper)
    fixed = jnp.where(held, jnp.clip(first, lower, upper), 0.0)
    free = jacobian * ~held
    rest = unrolled.matvec(
        free.T, unrolled.solve(unrolled.gram(free), DAMPING, wanted - unrolled.matvec(jacobian, fixed))
    )
    reach = jnp.clip(fixed + rest, lower, upper)

    spare = jnp.clip(NULL_GAIN * (jnp.array(REFERENCE) - q), lower, upper) - reach
    spare = spare - unrolled.matvec(jacobian.T, unrolled.solve(square, NULL_DAMPING, unrolled.matvec(jacobian, spare)))
    room = jnp.where(spare > 0, upper - reach, lower - reach)
    share = unrolled.min(jnp.where(jnp.abs(spare) > 1e-7, room / jnp.where(spare == 0, 1.0, spare), 1.0))
    return jnp.clip(reach + jnp.minimum(share, 1.0) * spare, lower, upper)


def inverse(pinch: Array, yaw: Array, *, steps: int = 60) -> Array:
    """Joint angles [7] that put the pinch at `pinch` [3] m pointing down, turned by `yaw` [] rad.

    Damped Newton steps from REFERENCE whose spare freedom goes to the middle of the joint ranges: the
    posture that the real cell starts from. Exact within 1e-4 m in the region of starts; check with `forward`.
    """
    middle = (jnp.array(robot.LOWER) + jnp.array(robot.UPPER)) / 2
    cos, sin, zero = jnp.cos(yaw), jnp.sin(yaw), jnp.zeros_like(yaw)
    target = jnp.stack(
        [jnp.stack([cos, sin, zero]), jnp.stack([sin, -cos, zero]), jnp.stack([zero, zero, zero - 1])], 1
    )

    def closer(q, _):
        pose = forward(q)
        turn = 0.5 * unrolled.sum(jnp.cross(pose.pinch_axes, target, axis=0))
        move = pinch - pose.pinch - jnp.cross(turn, pose.pinch - pose.wrist)
        pull, square = 0.4 * (middle - q), unrolled.gram(pose.jacobian)
        reach = unrolled.solve(square, 1e-4, 0.95 * jnp.concatenate([move, turn]))
        spare = unrolled.solve(square, NULL_DAMPING, unrolled.matvec(pose.jacobian, pull))
        change = unrolled.matvec(pose.jacobian.T, reach - spare) + pull
        return jnp.clip(q + jnp.clip(change, -0.4, 0.4), jnp.array(robot.LOWER), jnp.array(robot.UPPER)), None

    return jax.lax.scan(closer, jnp.array(REFERENCE), None, length=steps)[0]


def bounds(q: Array) -> tuple[Array, Array]:
    """Lowest and highest allowed joint velocities [7] rad/s at angles `q` [7]."""
    speed = jnp.array(SPEED)
    below = q - (jnp.array(robot.LOWER) + LIMIT_MARGIN)
    above = (jnp.array(robot.UPPER) - LIMIT_MARGIN) - q
    return -jnp.clip(LIMIT_GAIN * below, 0.0, speed), jnp.clip(LIMIT_GAIN * above, 0.0, speed)


def _within(vector: Array, size: float) -> Array:
    return vector * jnp.minimum(1.0, size / jnp.sqrt(unrolled.sum(vector**2) + 1e-12))
