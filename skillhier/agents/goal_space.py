"""The part of what is seen that goals speak of, and how far a goal may lie from where one is.

A goal space is named by entries and slices of them, as in `goal=("egocentric_state[:16]", "torso_velocity")`. Robots of
the control suite are known by their entries and have one of their own, with half-ranges as the fact sheet on LSP
proposes in section 3.2: of joints half their range (rad), of a torso's height .5 m, of orientations and upright 1.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from skillhier.types import Array, Spec

ITEM = re.compile(r"(?P<entry>.+?)(\[(?P<start>-?\d*):(?P<stop>-?\d*)\])?")


class GoalSpace(NamedTuple):
    """G numbers of an observation."""

    read: Callable[[Mapping[str, Array]], Array]  # entries [..., S, d] -> their newest frame's state, [..., G]
    half_range: np.ndarray  # [G] float32: a goal is a change within +-half_range


class Preset(NamedTuple):
    """The goal space of a robot."""

    entries: dict[str, int]  # it is known by these, and their sizes
    goal: tuple[str, ...]
    half_range: tuple[float, ...]  # [G]; NaN stands for a velocity


def _degrees(*halves: float) -> tuple[float, ...]:
    return tuple(map(math.radians, halves))


PRESETS = {
    "quadruped": Preset(
        {"egocentric_state": 44, "torso_velocity": 3, "torso_upright": 1},
        ("egocentric_state[:16]", "torso_velocity", "torso_upright"),
        (*_degrees(50, 40, 55, 50) * 4, *[math.nan] * 3, 1.0),  # yaw, pitch, knee, ankle of each leg
    ),
    "walker": Preset({"orientations": 14, "height": 1}, ("orientations", "height"), (*[1.0] * 14, 0.5)),
    "cheetah": Preset(  # height, pitch, then thigh, shin and foot behind and in front
        {"position": 8, "velocity": 9}, ("position",), (0.5, 1.0, *_degrees(45, 50, 140, 28.7, 60, 28))
    ),
    "hopper": Preset(  # height, pitch, waist, hip, knee, ankle
        {"position": 6, "velocity": 7, "touch": 2}, ("position",), (0.5, 1.0, *_degrees(30, 90, 72.5, 45))
    ),
}


def make(
    spec: Spec, goal: Sequence[str] = (), half_range: float | Sequence[float] = (), velocity: float = 1.0
) -> GoalSpace:
    """The goal space of worlds of `spec`.

    goal        entries, or slices of them; none: that of the robot with these entries, else all visible entries
    half_range  one for all, one for each item of `goal`, or one for each of the G numbers; none: the robot's, else 1
    velocity    of the robot's velocities, m/s: 1 to walk, 5 to run

    Raises ValueError, one line: an entry that is not there or no vector, an empty slice, half-ranges that do not fit.
    """
    preset = _preset(spec)
    own = preset is not None and tuple(goal) in ((), preset.goal)
    items = (preset.goal if own else spec.visible) if not goal else tuple(goal)
    slices = [_slice(spec, item) for item in items]
    sizes = [len(range(*cut.indices(spec.obs[entry].shape[-1]))) for entry, cut in slices]
    if own and np.size(half_range) == 0:
        halves = np.nan_to_num(np.array(preset.half_range), nan=velocity)
    else:
        halves = _spread(half_range, sizes)
    if not (np.isfinite(halves).all() and (halves > 0).all()):
        raise ValueError(f"half-ranges of goals must be above 0, got {halves.min():g}; set agent.goal_half_range")

    def read(obs: Mapping[str, Array]) -> Array:
        return jnp.concatenate([obs[entry][..., 0, cut] for entry, cut in slices], -1).astype(jnp.float32)

    return GoalSpace(read, halves.astype(np.float32))


def _preset(spec: Spec) -> Preset | None:
    def fits(entries: Mapping[str, int]) -> bool:
        return all(name in spec.visible and spec.obs[name].shape[1:] == (size,) for name, size in entries.items())

    return next((preset for preset in PRESETS.values() if fits(preset.entries)), None)


def _slice(spec: Spec, item: str) -> tuple[str, slice]:
    match = ITEM.fullmatch(item)
    entry = match["entry"] if match else item
    vectors = [name for name, one in spec.obs.items() if len(one.shape) == 2]
    if entry not in vectors:
        what = f"has shape {list(spec.obs[entry].shape[1:])}" if entry in spec.obs else "is not known"
        raise ValueError(f"goals are of vectors, and '{entry}' {what}; choose of {', '.join(vectors)} in agent.goal")
    bounds = [int(match[side]) if match[side] else None for side in ("start", "stop")]
    size = spec.obs[entry].shape[-1]
    if not range(*slice(*bounds).indices(size)):
        raise ValueError(f"the goal '{item}' is empty, for the entry has {size} numbers; set agent.goal")
    return entry, slice(*bounds)


def _spread(half_range: float | Sequence[float], sizes: Sequence[int]) -> np.ndarray:
    """[G] from one number for all, for each item or for each of G; 1 if there is none."""
    given = np.ravel(np.asarray(half_range, np.float64))
    given = given if given.size else np.ones(1)
    if given.size == len(sizes):
        return np.repeat(given, sizes)
    if given.size in (1, sum(sizes)):
        return np.broadcast_to(given, (sum(sizes),))
    raise ValueError(
        f"{given.size} half-ranges do not fit goals of {len(sizes)} entries and {sum(sizes)} numbers; "
        "set agent.goal_half_range"
    )
