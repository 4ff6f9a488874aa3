"""Measures of skill rollouts: figures of each skill, distances between skills, and a label for each skill.

The label follows from the figures by the thresholds below; it is a reading aid, not a measurement.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.fixed_skills.measures import mean_along, noise, shares, spread
from experiments.fixed_skills.rollouts import REPEATS
from experiments.shared.lanes import PRIOR
from experiments.stacking.skill_rollouts import OBJECTS, SkillRollouts, save
from skillhier import files

LIFTED = 0.03  # m that an object must rise to count as lifted: more than when it is pushed
NEAR = 0.06  # m from the pinch to an object's centre: within reach of the fingers, for objects of 5 cm
REACH = 0.05  # m from the pinch to an object's centre: at most where it is held by an edge
TAKEN = 0.5  # s in hand, together, from which on an object counts as taken
STILL = 0.03  # m of displacement below which a skill is labelled as holding still
APART = 0.02  # m that a skill must approach one object more than the others to be labelled as moving to it
OFTEN = 0.25  # share of the episodes, or of the time, from which on a behaviour is in the label
HOLD_STILL = "hold still"
OPEN, HELD = 0.1, 0.4  # shares of the gripper's stroke; it stands at 0.48 around an object of 5 cm


def mean_paths(rollouts: SkillRollouts) -> np.ndarray:
    """[L, T, 3] m: the pinch path of each lane, averaged over the episodes that are valid at row t."""
    return mean_along(rollouts.pinch, rollouts.valid, 1)


def measure(rollouts: SkillRollouts) -> dict:
    """The content of skills.json: `spread`, `noise` [m], and for each lane a row of means over its episodes."""
    rows = [_row(rollouts, lane) for lane in range(len(rollouts.skill))]
    paths = rollouts.pinch, rollouts.valid, rollouts.skill
    return {
        "episodes": int(rollouts.pinch.shape[1]),
        "starts": int(rollouts.pinch.shape[1] // REPEATS),
        "seconds_each": round(float(rollouts.interval) * (rollouts.pinch.shape[2] - 1), 3),
        "broken": int(rollouts.broken.sum()),
        "spread": spread(*paths),
        "noise": noise(*paths),
        "noise_across_starts": noise(*paths, across_starts=True),
        "skills": rows,
    }


def _row(rollouts: SkillRollouts, lane: int) -> dict:
    """The figures of one lane: m, s, and shares of the time in 0 .. 1."""
    valid, pinch, objects = rollouts.valid[lane], rollouts.pinch[lane], rollouts.objects[lane]
    episode, end = np.arange(len(valid)), np.maximum(valid.sum(-1) - 1, 0)  # the last valid row
    distance = np.linalg.norm(objects - pinch[:, :, None], axis=-1)  # [E, T, O]
    covered = distance[:, 0] - distance[episode, end]
    moved = np.linalg.norm(objects[episode, end] - objects[:, 0], axis=-1)
    rise = np.where(valid[..., None], objects[..., 2], -np.inf).max(1) - objects[:, 0, :, 2]
    acted = valid & (np.cumsum(valid, -1) < valid.sum(-1, keepdims=True))  # no action is taken in the last row
    steps = np.linalg.norm(np.diff(pinch, axis=1), axis=-1) * acted[:, :-1]
    action = rollouts.action[lane][acted]
    held = in_hand(distance, valid & rollouts.grasping[lane])
    named = lambda values: {name: round(float(value), 4) for name, value in zip(OBJECTS, values, strict=True)}  # noqa: E731
    row = {
        "skill": None if rollouts.skill[lane] == PRIOR else int(rollouts.skill[lane]),
        "grasping": float(rollouts.grasping[lane][valid].mean()),
        "takes": float(takes(held, float(rollouts.interval)).any(-1).mean()),
        "closed": float(rollouts.closed[lane][valid].mean()),
        "lift_red": float(rise[:, 0].mean()),
        "lifts": named((rise > LIFTED).mean(0)),
        "covered": named(covered.mean(0)),
        "closest": named(np.where(valid[..., None], distance, np.inf).min(1).mean(0)),
        "distance_end": named(distance[episode, end].mean(0)),
        "moved": named(moved.mean(0)),
        "displacement": [round(float(value), 4) for value in (pinch[episode, end] - pinch[:, 0]).mean(0)],
        "path_length": float(steps.sum(1).mean()),
        "action_mean": [round(float(value), 4) for value in action.mean(0)] if len(action) else [],
        "action_std": [round(float(value), 4) for value in action.std(0)] if len(action) else [],
        "shares": shares(rollouts.chosen[lane][valid], int(rollouts.skill.max()) + 1),
        "broken": int(rollouts.broken[lane]),
    }
    row = {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
    return {**row, "word": word(row)}


def word(row: dict) -> str:
    """A label for what a skill does, from the figures in its row."""
    lifted, gained = (max(row[name].items(), key=lambda item: item[1]) for name in ("lifts", "covered"))
    nearest = min(row["closest"].items(), key=lambda item: item[1])
    if lifted[1] >= OFTEN:
        doing = f"lift {lifted[0]}"
    elif row["grasping"] >= OFTEN and nearest[1] <= NEAR:
        doing = f"grasp {nearest[0]}"
    elif row["closest"][gained[0]] <= NEAR and gained[1] > STILL:
        doing = f"reach {gained[0]}"
    else:
        doing = motion(row["displacement"], STILL)
        others = [value for name, value in row["covered"].items() if name != gained[0]]
        if doing != HOLD_STILL and gained[1] > max(others) + APART:
            doing += f" to {gained[0]}"
    return f"{doing}, {gripper(row['closed'])}"


def in_hand(distance: np.ndarray, grasping: np.ndarray) -> np.ndarray:
    """Which objects are in hand: bool [E, T, O], from their distances [E, T, O] m and `grasping` [E, T]."""
    return (distance < REACH) & grasping[..., None]


def takes(held: np.ndarray, interval: float) -> np.ndarray:
    """Which episodes take what is in hand at the rows `held` [E, T, ...]: bool [E, ...]. interval: s a row."""
    return held.sum(1) >= TAKEN / interval


def motion(displacement: Sequence[float], still: float) -> str:
    """In words, where `displacement` [3] m leads; up to `still` m it leads nowhere."""
    x, y, z = displacement
    sideways = np.hypot(x, y)
    if np.hypot(sideways, z) <= still:
        return HOLD_STILL
    return ("rise" if z > 0 else "go down") if abs(z) >= sideways else f"move {_side(x, y)}"


def gripper(closed: float) -> str:
    """In words, a share of the gripper's stroke."""
    return "open" if closed < OPEN else "half open" if closed < HELD else "closed"


def _side(x: float, y: float) -> str:
    """The direction as seen from the robot's base: x away from it, y to its left."""
    return ("outwards" if x > 0 else "inwards") if abs(x) >= abs(y) else ("left" if y > 0 else "right")


def write(rollouts: SkillRollouts, folder: Path | str, about: dict | None = None) -> dict:
    """Writes skills.json (`about` and the measures) and skills.npz into a run folder; returns the former's content."""
    content = {**(about or {}), **measure(rollouts)}
    save(rollouts, folder)
    files.write_json(Path(folder) / "skills.json", content)
    return content


def table(content: dict) -> str:
    """The rows of skills.json as text for a terminal."""
    head = f"{'skill':<7}{'what it does':<26}{'grasping':>9}{'closed':>8}{'lift red':>10}" + "".join(
        f"{'to ' + name:>10}" for name in OBJECTS
    )
    lines = [head]
    for row in sorted(content["skills"], key=lambda row: row["skill"] is None):
        name = "prior" if row["skill"] is None else str(row["skill"])
        lines.append(
            f"{name:<7}{row['word']:<26}{row['grasping']:>8.0%} {row['closed']:>7.0%}{100 * row['lift_red']:>8.1f}cm"
            + "".join(f"{100 * row['covered'][name]:>8.1f}cm" for name in OBJECTS)
        )
    return "\n".join([*lines, "to red, green, blue: by how much the distance from the pinch to the object decreased"])
