"""The hand's place by its joints, and what a quaternion (w x y z) does, as the C engine computes them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.envs.fetch import robot
from skillhier.types import Array


class Pose(NamedTuple):
    """Where the hand is, and how fast."""

    place: Array  # [3] m
    turn: Array  # [4] quaternion
    grip: Array  # [3] m, the point between the fingertips
    velocity: Array  # [3] m/s, of that point


def pose(base: Array, arm: Array, base_speed: Array, arm_speed: Array) -> Pose:
    """The hand of a robot with `base` [4] m (x, y, z, torso lift) and `arm` [7] rad that move at such speeds.

    The quaternion has the sign that kinematics gives it, and no other: a mocap body that is turned by adding to it
    depends on that.
    """

    def link(above: tuple[Array, ...], here: tuple[Array, ...]) -> tuple[tuple[Array, ...], None]:
        (place, turn, velocity, spin), (offset, axis, angle, speed) = above, here
        axes = matrix(turn)
        way = axes @ offset
        spins = spin + speed * (axes @ axis)
        return (place + way, multiply(turn, about(axis, angle)), velocity + jnp.cross(spin, way), spins), None

    torso = jnp.array(robot.BASE) + jnp.array(robot.TORSO) + base[:3].at[2].add(base[3])
    begin = (torso, jnp.array([1.0, 0.0, 0.0, 0.0]), base_speed[:3].at[2].add(base_speed[3]), jnp.zeros(3))
    offsets, axes = (jnp.array([getattr(link, of) for link in robot.ARM], jnp.float32) for of in ("place", "axis"))
    # written out, the loop would compile for a minute
    (wrist, turn, velocity, spin), _ = jax.lax.scan(link, begin, (offsets, axes, arm, arm_speed))
    axes = matrix(turn)
    place = wrist + axes @ jnp.array(robot.HAND)
    grip = place + axes @ jnp.array(robot.GRIP)
    return Pose(place, turn, grip, velocity + jnp.cross(spin, grip - wrist))


def about(axis: Array, angle: Array) -> Array:
    """The quaternion [4] of a turn by `angle` [] rad about the unit vector `axis` [3]."""
    return jnp.concatenate([jnp.cos(angle / 2)[None], jnp.sin(angle / 2) * axis])


def turning(rotation: Array) -> Array:
    """The quaternion [4] of a turn by the length of `rotation` [3] rad about its direction."""
    angle = jnp.linalg.norm(rotation)
    return jnp.concatenate([jnp.cos(angle / 2)[None], jnp.sinc(angle / (2 * jnp.pi)) / 2 * rotation])


def multiply(a: Array, b: Array) -> Array:
    """The product of quaternions: [4]."""
    (w, x, y, z), (p, q, r, s) = a, b
    return jnp.stack(
        [
            w * p - x * q - y * r - z * s,
            w * q + x * p + y * s - z * r,
            w * r - x * s + y * p + z * q,
            w * s + x * r - y * q + z * p,
        ]
    )


def matrix(quaternion: Array) -> Array:
    """The axes [3, 3] of a unit quaternion."""
    w, x, y, z = quaternion
    return jnp.stack(
        [
            jnp.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]),
            jnp.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]),
            jnp.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]),
        ]
    )


def euler(axes: Array) -> Array:
    """The angles [3] rad of `axes` [3, 3] in gymnasium-robotics's convention: about x, y and z, in that order."""
    level = jnp.hypot(axes[2, 2], axes[1, 2])
    regular = level > 4 * jnp.finfo(axes.dtype).eps
    sine = [jnp.where(regular, axes[1, 2], 0.0), -axes[0, 2], jnp.where(regular, axes[0, 1], -axes[1, 0])]
    cosine = [jnp.where(regular, axes[2, 2], 1.0), level, jnp.where(regular, axes[0, 0], axes[1, 1])]
    return -jnp.arctan2(jnp.stack(sine), jnp.stack(cosine))
