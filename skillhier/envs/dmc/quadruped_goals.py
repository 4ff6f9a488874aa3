"""Goals of quadruped tasks: starts, layouts of obstacles and targets, rewards.

Rewards are pure functions of privileged entries, so the reward of any task can be computed from rows stored in any
other (`REWARDS`, `aim`). Source: the LSP fact sheet, 4.2 to 4.4, where the paper leaves open what is chosen here.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.envs.dmc.quadruped_model import DISC, PARKED, SLOTS
from skillhier.envs.rewards import tolerance
from skillhier.types import Array, Key

WALK, RUN = 0.5, 5.0  # m/s, speeds that are paid in full
# Privileged entries and their sizes; episodes open with the torso above the origin.
PRIVILEGED = {
    "task.torso": 3,  # m, its position
    "task.frame": 9,  # its axes in the world, row by row
    "task.velocity": 3,  # m/s, along its own axes
    "task.target": 3,  # m; drawn as Reach does where a task has no target of its own
}
NEAREST = 5  # pillars in the observation
TRANSFER_ENTRIES = {"target_position": 3, "obstacle_positions": 2 * NEAREST}


class Places(NamedTuple):
    """Positions of target and pillars in an episode; unused pillars are parked."""

    target: Array  # [3] m
    pillars: Array  # [SLOTS, 3] m


class Goal(NamedTuple):
    """A task, as functions of one world."""

    turn: Callable[[Key], Array]  # the orientation an episode opens with: a quaternion [4], wxyz
    place: Callable[[Key], Places]
    shown: bool  # whether the target is drawn and observed
    reward: Callable[[dict[str, Array]], Array]  # privileged entries [..., D] -> [...]
    fixed: Array | None = None  # [3] m: the target of every episode; None: drawn anew for each


# --- rewards ---------------------------------------------------------------------------------------


def upright(entries: dict[str, Array]) -> Array:
    """1 where the torso stands upright, 0 where it is upside down: [...]."""
    return (1 + entries["task.frame"][..., 8]) / 2


def moving(entries: dict[str, Array], speed: float = WALK) -> Array:
    """Upright times forward speed: half at rest, 1 from `speed` (m/s) on: [...]. The suite's walk and run."""
    forward = entries["task.velocity"][..., 0]
    return upright(entries) * tolerance(forward, speed, math.inf, speed, "linear", 0.5)


def distance(entries: dict[str, Array]) -> Array:
    """From torso to target over ground, m: [...]."""
    return jnp.linalg.norm((entries["task.target"] - entries["task.torso"])[..., :2], axis=-1)


def reaching(entries: dict[str, Array], radius: float = 0.4, slack: float = 0.0) -> Array:
    """Upright times closeness: 1 within `radius` (m), 0 from `slack` (m) beyond the distance at the start: [...].

    With no slack nobody is paid for standing about, and nobody for standing up before walking.
    """
    start = jnp.linalg.norm(entries["task.target"][..., :2], axis=-1) + slack
    return upright(entries) * tolerance(distance(entries), 0.0, radius, start - radius, "linear", 0.0)


def arriving(entries: dict[str, Array], radius: float = 1.0) -> Array:
    """1 within `radius` (m) of the target, else 0: [...]."""
    return tolerance(distance(entries), 0.0, radius)


# world -> its reward, with the settings it has by default
REWARDS: dict[str, Callable[[dict[str, Array]], Array]] = {
    "dmc.quadruped_walk": moving,
    "dmc.quadruped_walk_upright": moving,
    "dmc.quadruped_run": partial(moving, speed=RUN),
    "dmc.quadruped_reach": reaching,
    "dmc.quadruped_reach_upright": reaching,
    "dmc.quadruped_obstacles_random": moving,
    "dmc.quadruped_obstacles_line": reaching,
    "dmc.quadruped_obstacles_cove": arriving,
}


def aim(entries: dict[str, Array], target: Array | None = None) -> dict[str, Array]:
    """Stored `entries` [..., D] as they would be with their target, or `target` [..., 3] (m, in the world), shown.

    For rows of a task without a target that are to be learnt from for one with: obstacles stay what they were.
    Raises ValueError for stacked frames, whose older poses are not in the row.
    """
    there = entries["task.target"]
    target = there if target is None else jnp.broadcast_to(target, there.shape).astype(there.dtype)
    aimed = {**entries, "task.target": target}
    if "target_position" in entries:
        if entries["target_position"].shape[:-1] != there.shape[:-1]:
            raise ValueError("rows of stacked frames cannot be aimed; record with env.stack=1")
        aimed["target_position"] = toward(entries["task.torso"], entries["task.frame"], target)
    return aimed


def relabel(goal: Goal, entries: dict[str, Array]) -> tuple[dict[str, Array], Array]:
    """Stored `entries` [..., D] of any quadruped as they would be with that goal, and its reward [...].

    A target that is drawn anew stays where the rows have it; obstacles stay what they were.
    """
    aimed = aim(entries, goal.fixed)
    if not goal.shown and "target_position" in aimed:
        aimed["target_position"] = jnp.zeros_like(aimed["target_position"])
    return aimed, goal.reward(aimed)


def toward(torso: Array, frame: Array, target: Array) -> Array:
    """`target` [..., 3] seen from a torso at `torso` [..., 3] with axes `frame` [..., 9]: [..., 3] m."""
    axes = frame.reshape(*frame.shape[:-1], 3, 3)
    return jnp.einsum("...i,...ij->...j", target - torso, axes)


def around(torso: Array, frame: Array, pillars: Array) -> Array:
    """Where the nearest of `pillars` [P, 3] stand, seen from the torso [3] with axes [9]: [2 * NEAREST] m.

    Along the torso's x and y, to a pillar's axis at the torso's height; nearest first, zeros where there is none.
    """
    there = pillars[:, 2] > PARKED / 2
    way = (pillars - torso).at[:, 2].set(0.0)
    closeness, nearest = jax.lax.top_k(jnp.where(there, -jnp.linalg.norm(way, axis=-1), -jnp.inf), NEAREST)
    local = way[nearest] @ frame.reshape(3, 3)[:, :2]
    return jnp.where(jnp.isfinite(closeness)[:, None], local, 0.0).reshape(-1)


# --- starts ----------------------------------------------------------------------------------------


def turned(start: str, yaw: float) -> Callable[[Key], Array]:
    """How episodes open: `random`, any orientation alike; `upright`, turned by at most `yaw` degrees off the x axis."""
    if start not in ("random", "upright"):
        raise ValueError(f"start '{start}' is not known; choose random or upright in env.start")
    if not 0 <= yaw <= 180:
        raise ValueError(f"yaw {yaw} is not within 0 to 180 degrees; set env.yaw")

    def anyhow(key: Key) -> Array:
        quaternion = jax.random.normal(key, (4,))
        return quaternion / jnp.linalg.norm(quaternion)

    def standing(key: Key) -> Array:
        half = jnp.deg2rad(yaw) / 2 * jax.random.uniform(key, minval=-1.0)
        return jnp.array([1.0, 0, 0, 0]) * jnp.cos(half) + jnp.array([0, 0, 0, 1.0]) * jnp.sin(half)

    return anyhow if start == "random" else standing


# --- layouts ---------------------------------------------------------------------------------------


def on_ground(xy: Array) -> Array:
    """The position [3] of a target over `xy` [2] (m)."""
    return jnp.concatenate([xy, jnp.full((1,), DISC[1], jnp.float32)])


def standing_at(xy: Array, there: Array | bool = True) -> Array:
    """Pillars over `xy` [P, 2] (m), parked where not `there` [P]; slots beyond the last are parked: [SLOTS, 3]."""
    there = jnp.broadcast_to(there, len(xy))[:, None]
    parked = jnp.array([0.0, 0.0, PARKED])
    placed = jnp.where(there, jnp.concatenate([xy, jnp.zeros((len(xy), 1))], axis=1), parked)
    return jnp.concatenate([placed, jnp.tile(parked, (SLOTS - len(xy), 1))])


def free(near: float = 3.0, far: float = 6.0) -> Callable[[Key], Places]:
    """No pillars; a target anywhere between `near` and `far` m from the start, every square metre alike."""
    if not 0 < near <= far:
        raise ValueError(f"near {near} m and far {far} m: want 0 < near <= far; set env.near and env.far")

    def place(key: Key) -> Places:
        k_far, k_way = jax.random.split(key)
        reach = jnp.sqrt(jax.random.uniform(k_far, minval=near**2, maxval=far**2))
        way = jax.random.uniform(k_way, maxval=2 * jnp.pi)
        target = on_ground(reach * jnp.array([jnp.cos(way), jnp.sin(way)]))
        return Places(target, standing_at(jnp.zeros((0, 2))))

    return place


def scattered(pillars: int = SLOTS, field: float = 8.0, clear: float = 2.0) -> Callable[[Key], Places]:
    """`pillars` anywhere within `field` m of the start along x and y, none with its axis within `clear` m of it.

    Places are drawn 16 times as often as needed and the first good ones taken: no loop of unknown length.
    """
    _fits(pillars)
    if not 0 <= clear <= field:
        raise ValueError(f"clear {clear} m is not within 0 and field {field} m; set env.clear and env.field")

    def place(key: Key) -> Places:
        k_target, k_pillars = jax.random.split(key)
        drawn = jax.random.uniform(k_pillars, (16 * pillars, 2), minval=-field, maxval=field)
        good = jnp.linalg.norm(drawn, axis=-1) >= clear
        first = jnp.argsort(~good, stable=True)[:pillars]
        return Places(free()(k_target).target, standing_at(drawn[first], good[first]))

    return place


def ahead_of(goal: float) -> Array:
    """The position [3] of a target `goal` m before the start."""
    return on_ground(jnp.array([goal, 0.0]))


def line(pillars: int = 5, ahead: float = 3.0, spacing: float = 1.0, shift: float = 1.0, goal: float = 6.0):
    """A wall across the way, `ahead` m before the start, `pillars` every `spacing` m, and a target behind it.

    The target is `goal` m before the start; the wall's middle is drawn within `shift` m to either side of the line
    between. key -> Places.
    """
    _fits(pillars)
    _between(ahead, goal)
    row = spacing * (np.arange(pillars) - (pillars - 1) / 2)

    def place(key: Key) -> Places:
        middle = jax.random.uniform(key, minval=-shift, maxval=shift)
        wall = jnp.stack([jnp.full(pillars, ahead), middle + row], axis=-1)
        return Places(ahead_of(goal), standing_at(wall))

    return place


def cove(pillars: int = 7, ahead: float = 2.5, bend: float = 2.0, goal: float = 6.0):
    """A half circle that opens towards the start, and a target behind it: the straight way ends in a trap.

    Its centre is `ahead` m before the start and its radius `bend` m; the target is `goal` m before the start.
    key -> Places, always the same ones.
    """
    _fits(pillars)
    _between(ahead + bend, goal)
    angle = np.linspace(-np.pi / 2, np.pi / 2, pillars)
    bow = np.stack([ahead + bend * np.cos(angle), bend * np.sin(angle)], axis=-1).astype(np.float32)
    return lambda key: Places(ahead_of(goal), standing_at(bow))


def _fits(pillars: int) -> None:
    if not 0 < pillars <= SLOTS:
        raise ValueError(f"pillars {pillars} is not within 1 to {SLOTS}; set env.pillars")


def _between(wall: float, goal: float) -> None:
    if not 0 < wall < goal:
        raise ValueError(f"a wall at {wall} m does not stand between start and goal at {goal} m; set env.goal")
