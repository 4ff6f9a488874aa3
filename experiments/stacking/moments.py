"""Moments of demonstrations that every skill can be tried from: the hand at an object, and an object just taken."""

from typing import NamedTuple

import numpy as np

from experiments.stacking.own_measures import WITHIN
from experiments.stacking.skill_measures import REACH
from experiments.stacking.skill_rollouts import GRASP, GRIPPER, OBJECTS, PINCH, grasping
from skillhier.data.dataset import Dataset

LASTING, BEFORE = 10, 20  # rows after and before the one where it is taken
SHARE = 0.5  # of the rows after, in which it is in hand: where experts hold by short pulses the reading alternates


class Moments(NamedTuple):
    """Rows of a Dataset."""

    at: np.ndarray  # [N] an object is within reach of the fingers and is in hand a second later, or sooner
    in_hand: np.ndarray  # [N] the row from which on it is


def moments(data: Dataset) -> Moments:
    """Those of all episodes; an episode may have several."""
    at, in_hand = [], []
    for begin, length in zip(data.start, data.length, strict=True):
        rows = slice(begin, begin + length + 1)
        for name in OBJECTS.values():
            distance = np.linalg.norm(data.obs[name][rows, :3] - data.obs[PINCH][rows, :3], axis=-1)
            held = (distance < REACH) & grasping(data.obs[GRASP][rows, 0], data.obs[GRIPPER][rows, 0])
            for row in taken(held):
                in_hand.append(begin + row)
                before = np.arange(max(row - BEFORE, 0), row)
                waiting = before[(distance[before] < WITHIN) & ~held[before]]
                if len(waiting):
                    at.append(begin + waiting[0])
    return Moments(np.array(at, int), np.array(in_hand, int))


def taken(held: np.ndarray) -> np.ndarray:
    """Rows of `held` [T] from which on it is mostly true for LASTING rows, and before which it was not for BEFORE."""
    rows = np.flatnonzero(held[1:] & ~held[:-1]) + 1
    lasts = lambda r: held[r : r + LASTING].mean() >= SHARE and not held[max(r - BEFORE, 0) : r].any()  # noqa: E731
    return np.array([r for r in rows if lasts(r)], int)
