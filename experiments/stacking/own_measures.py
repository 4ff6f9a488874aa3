"""What a skill does from starts of its own kind: figures, and words that follow from them.

Letters: E episodes, T rows, O objects. An object is in hand where both fingers are in contact and it is in REACH of
them; the hand is at an object where the pinch is WITHIN it and it is not in hand. An episode is about one object: the
one that is longest in hand, or where none is, the one that the hand comes nearest to.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.stacking import skill_measures
from experiments.stacking.skill_measures import HELD, NEAR
from experiments.stacking.skill_rollouts import OBJECTS

FILE, PATHS = "own_starts.json", "own_starts.npz"  # in a run folder: figures of each skill, and its episodes
WITHIN, FAR = 0.03, 0.1  # m from the pinch to an object's centre: there; from which on a hand has yet to go to it
LIFTED = 0.05  # m
CARRIED = 0.04  # m sideways
MOST = 0.5  # share of the episodes, from which on a behaviour is in the words
SOME = 0.2  # share of the episodes that a behaviour must concern for it to be in the words
STILL = 0.02  # m


def figures_of(episodes: Mapping[str, np.ndarray], interval: float) -> dict[str, Any]:
    """Of one skill. Shares of episodes, from `reaches` on of those that they concern; None where there are none.

    far, at, in_hand    begin so
    reaches             come NEAR `object`, the one that most episodes are about, of those that begin FAR from it
    holds               have it in hand for TAKEN in all
    grasps              likewise, of those that do not begin with it in hand
    lifts               it rises by LIFTED
    carries, keeps      it ends CARRIED further sideways; it is in hand at the end: of those that begin with it in hand
    releases            likewise: it is not in hand at the end, and the gripper is not closed
    displacement, closed    of the pinch (m) and share of the gripper's stroke, means at the end

    episodes: pinch [E, T, 3] m, objects [E, T, O, 3] m, closed and grasping [E, T], valid [E, T]; interval: s a row.
    """
    pinch, objects, valid, closed = (episodes[name] for name in ("pinch", "objects", "valid", "closed"))
    number, end = np.arange(len(valid)), valid.sum(-1) - 1
    distance = np.linalg.norm(objects - pinch[:, :, None], axis=-1)  # [E, T, O]
    near = (distance < WITHIN) & valid[..., None]
    held = skill_measures.in_hand(distance, valid & episodes["grasping"])
    target = _target(distance, held, valid)  # [E] the object that an episode is about
    of = lambda values: np.take_along_axis(values, target.reshape(-1, 1, *[1] * (values.ndim - 2)), 2)[:, :, 0]  # noqa: E731
    away, near, held = of(distance), of(near), of(held)
    path = np.take_along_axis(objects, target[:, None, None, None], 2)[:, :, 0]  # [E, T, 3]
    most = np.bincount(target, minlength=len(OBJECTS)).argmax()
    to_most = np.where(valid, distance[..., most], np.inf)
    in_hand, far, at = held[:, 0], away[:, 0] > FAR, near[:, 0] & ~held[:, 0]
    taken = skill_measures.takes(held, interval)
    rise = np.where(valid, path[..., 2], -np.inf).max(1) - path[:, 0, 2]
    sideways = np.linalg.norm(path[number, end, :2] - path[:, 0, :2], axis=-1)
    moved = pinch[number, end] - pinch[:, 0]
    shares = {
        "far": float(far.mean()),
        "at": float(at.mean()),
        "in_hand": float(in_hand.mean()),
        "reaches": _of(to_most.min(1) < NEAR, to_most[:, 0] > FAR),
        "holds": float(taken.mean()),
        "grasps": _of(taken, ~in_hand),
        "lifts": float((rise > LIFTED).mean()),
        "carries": _of(sideways > CARRIED, in_hand),
        "keeps": _of(held[number, end], in_hand),
        "releases": _of(~held[number, end] & (closed[number, end] < HELD), in_hand),
    }
    row = {
        **{name: value if value is None else round(value, 3) for name, value in shares.items()},
        "object": list(OBJECTS)[most],
        "displacement": [round(float(value), 4) for value in moved.mean(0)],
        "closed": round(float(closed[number, end].mean()), 3),
    }
    return {**row, "word": word(row)}


def _target(distance: np.ndarray, held: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """[E]: the object that is longest in hand; where none is, the one that the hand comes nearest to."""
    closest = np.where(valid[..., None], distance, np.inf).min(1)
    return np.where(held.any((1, 2)), held.sum(1).argmax(-1), closest.argmin(-1))


def _of(happens: np.ndarray, where: np.ndarray) -> float | None:
    return float(happens[where].mean()) if where.any() else None


def word(row: dict[str, Any]) -> str:
    """What a skill does, from the figures in its row: what happens in most of the episodes that it concerns."""
    happens = lambda name, concerned: concerned >= SOME and (row[name] or 0.0) >= MOST  # noqa: E731
    in_hand, name = row["in_hand"], row["object"]
    doing = [
        *(["reach"] if happens("reaches", row["far"]) else []),
        *(["grasp"] if happens("grasps", 1 - in_hand) else []),
        *(["lift"] if happens("lifts", 1.0) else []),
        *(["carry"] if happens("carries", in_hand) else []),
        *(["release"] if happens("releases", in_hand) else []),
    ]
    if doing:
        return f"{', '.join(doing)} {name}"
    return f"{skill_measures.motion(row['displacement'], STILL)}, {skill_measures.gripper(row['closed'])}"
