"""Rewards of RGB stacking and of the pyramid: pure functions of one `Scene`; all in [0, 1].

Source: the terms and constants of the public RGB-stacking environment (stack_rewards.py,
reward_functions.py); sparsification and the pyramid: HeLMS (Rao et al., ICLR 2022), appendix.
`top` and `bottom` are object indices and may be traced, so one program serves all six pairs.
Lengths in m, world frame; object positions are mesh origins.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from skillhier.envs import unrolled
from skillhier.envs.rewards import near, ramp, sparsify, staged
from skillhier.envs.sawyer.controller import CENTRE, SIZE
from skillhier.envs.sawyer.model import BASKET
from skillhier.envs.sawyer.robot import TICKS
from skillhier.types import Array

PAIRS = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))  # all (top, bottom)

FLOOR = BASKET[2]
CLOSED = float(TICKS)
NONE, INWARD, OUTWARD = 1.0, 2.0, 3.0  # readings of the grasp sensor
STACKED = 0.04  # height of the top origin over the bottom one; the same for every pair of objects
PLAY = 1e-3  # added to the 1 cm of `stack`: set 5 stacks at exactly 5 cm, where contact softness would decide


class Scene(NamedTuple):
    """What the rewards read of one world."""

    pinch: Array  # [3] m
    objects: Array  # [3, 3] m, positions of red, green, blue
    ticks: Array  # [] 0 (open) to 255 (closed)
    grasp: Array  # [] 1 none, 2 inward, 3 outward
    touching: Array  # [3, 3] bool: one object touches another
    grounded: Array  # [3] bool: touches basket or ground
    handled: Array  # [3] bool: touches the robot


# --- terms -----------------------------------------------------------------------------------------


def reach(scene: Scene, obj: Array) -> Array:
    """How near the pinch is to an object."""
    return near(scene.objects[obj] - scene.pinch, 0.02, margin=0.15)


def close_fingers(scene: Scene) -> Array:
    """How far the fingers are closed; 0.05 when open."""
    return near((CLOSED - scene.ticks)[..., None], 1e-3, margin=CLOSED)


def grasp(scene: Scene) -> Array:
    """1 when grasping inward, half of `close_fingers` otherwise."""
    return jnp.maximum(0.5 * close_fingers(scene), scene.grasp == INWARD)


def reach_grasp(scene: Scene, obj: Array) -> Array:
    """Half for reaching; the other half for grasping once there."""
    reached = reach(scene, obj)
    return jnp.where(reached > 0.9, 0.5 + 0.5 * grasp(scene), 0.5) * reached


def lift(scene: Scene, obj: Array) -> Array:
    """Grasping, times the object's rise from 5.5 to 10 cm over the floor, inside the workspace's ellipsoid."""
    position = scene.objects[obj]
    offset = (position - jnp.asarray(CENTRE)) / (0.5 * jnp.asarray(SIZE))
    inside = unrolled.sum(offset**2) <= 1.0
    return grasp(scene) * ramp(position[2], FLOOR + 0.055, FLOOR + 0.1) * inside


def hover(scene: Scene, top: Array, target: Array, tolerance: tuple[float, ...] | float = 0.01) -> Array:
    """How near an object that is at least 10 cm high is to `target` [3]."""
    position = scene.objects[top]
    return near(target - position, tolerance, margin=0.2) * (position[2] >= 0.1)


def place(scene: Scene, top: Array, bottom: Array, tolerance: tuple[float, ...] | float = 0.01) -> Array:
    """How near the lifted top is to where it would rest on the bottom."""
    return hover(scene, top, scene.objects[bottom] + jnp.array([0.0, 0.0, STACKED]), tolerance)


def stack(scene: Scene, top: Array, bottom: Array, play: float = PLAY) -> Array:
    """1 where the top rests on the bottom to within (3, 1) cm and is not held. `play` 0 is the public rule."""
    offset = scene.objects[top] - scene.objects[bottom]
    level = jnp.abs(offset[2] - STACKED) <= 0.01 + play
    return 1.0 * ((jnp.hypot(offset[0], offset[1]) <= 0.03) & level & (scene.grasp != INWARD))


def above(scene: Scene, obj: Array) -> Array:
    """How near the pinch is to 10 cm over an object; anywhere sideways."""
    return near(scene.objects[obj] + jnp.array([0.0, 0.0, 0.1]) - scene.pinch, (1.0, 1.0, 0.03), margin=0.05)


# --- stacking --------------------------------------------------------------------------------------


def stages(scene: Scene, top: Array, bottom: Array, play: float = PLAY) -> Array:
    """The five stages of stacking: [5]."""
    stacked = stack(scene, top, bottom, play)
    return jnp.stack([
        reach_grasp(scene, top),
        lift(scene, top),
        place(scene, top, bottom),
        stacked,
        stacked * above(scene, top),
    ])  # fmt: skip


def stack_leave(scene: Scene, top: Array, bottom: Array, play: float = PLAY) -> Array:
    """Stacked, and the hand gone up: the public environment's own sparse reward."""
    return stack(scene, top, bottom, play) * above(scene, top)


def success(scene: Scene, top: Array, bottom: Array, play: float = PLAY) -> Array:
    """1 by the public success test: over the bottom and touching it, and neither ground nor robot. Ignores `play`."""
    offset = scene.objects[top] - scene.objects[bottom]
    over = (jnp.hypot(offset[0], offset[1]) < 0.05) & (offset[2] > 0.02)
    free = ~scene.grounded[top] & ~scene.handled[top]
    return 1.0 * (over & free & scene.touching[top, bottom])


def dense(scene: Scene, top: Array, bottom: Array, play: float = PLAY) -> Array:
    """Staged progress: at most 1 a step."""
    return staged(stages(scene, top, bottom, play))


def sparse_staged(scene: Scene, top: Array, bottom: Array, play: float = PLAY) -> Array:
    """Staged progress of stages that count only above 0.95: 0, 0.2, ..., 1 to within 5 % of a stage."""
    return staged(sparsify(stages(scene, top, bottom, play)))


STACKING: dict[str, Callable[..., Array]] = {
    "dense": dense,
    "sparse_staged": sparse_staged,
    "sparse": stack,
    "stack_leave": stack_leave,
    "success": success,
}  # f(scene, top, bottom, play) -> []


# --- pyramid ---------------------------------------------------------------------------------------


class Pyramid(NamedTuple):
    """Constants of the pyramid. The paper names the stages and gives no number: all UNVERIFIED."""

    hover: tuple[float, float, float] = (0.06, 0.06, 0.01)  # m, half axes around the hovering place
    beside: float = 0.065  # m, centres of two objects that count as placed beside each other
    low: float = 0.09  # m, both of them below this height
    gap: float = 0.085  # m, the widest pair that still carries a pyramid
    centred: float = 0.03  # m, sideways distance of the top from the midpoint
    height: float = 0.045  # m, of the top over the midpoint
    level: float = 0.015  # m, error of that height


PROPOSED = Pyramid()


def pyramid_stages(scene: Scene, settings: Pyramid = PROPOSED) -> Array:
    """The nine stages: red beside green, then blue on both. [9]

    The blue stages count only while red stands beside green, or a grasp of blue would pay before red is
    placed. That gate leaves out the open hand that placing itself asks for, since blue is grasped under it.
    """
    red, green, blue = range(3)
    first, second, top = scene.objects
    middle = 0.5 * (first + second)
    apart = jnp.hypot(*(first - second)[:2])
    resting = (first[2] < settings.low) & (second[2] < settings.low)
    beside = resting & (apart <= settings.beside)
    open_hand = scene.grasp != INWARD
    offset = top - middle
    built = (
        resting
        & (apart <= settings.gap)
        & (jnp.hypot(offset[0], offset[1]) <= settings.centred)
        & (jnp.abs(offset[2] - settings.height) <= settings.level)
        & open_hand
    )
    return jnp.stack([
        reach_grasp(scene, red),
        lift(scene, red),
        place(scene, red, green, settings.hover),
        1.0 * (beside & open_hand),
        beside * reach_grasp(scene, blue),
        beside * lift(scene, blue),
        beside * hover(scene, blue, middle + jnp.array([0.0, 0.0, settings.height]), settings.hover),
        1.0 * built,
        built * above(scene, blue),
    ])  # fmt: skip


def pyramid_success(scene: Scene, settings: Pyramid = PROPOSED) -> Array:
    """1 where the pyramid stands and is not held."""
    return pyramid_stages(scene, settings)[7]


PYRAMID: dict[str, Callable[..., Array]] = {
    "dense": lambda scene, settings: staged(pyramid_stages(scene, settings)),
    "sparse_staged": lambda scene, settings: staged(sparsify(pyramid_stages(scene, settings))),
    "sparse": pyramid_success,
}  # f(scene, settings) -> []
