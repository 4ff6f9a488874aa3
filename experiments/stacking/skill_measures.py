"""Measures of skill rollouts: figures of each skill, distances between skills, and a label for each skill.

The label follows from the figures by the thresholds below; it is a reading aid, not a measurement.
"""

import json
from pathlib import Path

import numpy as np

from experiments.stacking.skill_rollouts import OBJECTS, PRIOR, REPEATS, SkillRollouts, save

LIFTED = 0.03  # m that an object must rise to count as lifted: more than when it is pushed
NEAR = 0.06  # m from the pinch to an object's centre: within reach of the fingers, for objects of 5 cm
STILL = 0.03  # m of displacement below which a skill is labelled as holding still
APART = 0.02  # m that a skill must approach one object more than the others to be labelled as moving to it
OFTEN = 0.25  # share of the episodes, or of the time, from which on a behaviour is in the label
OPEN, HELD = 0.1, 0.4  # shares of the gripper's stroke; it stands at 0.48 around an object of 5 cm


def mean_along(values: np.ndarray, valid: np.ndarray, axis: int) -> np.ndarray:
    """Mean over `axis` where valid (same leading axes, values may have one more); NaN where nothing is valid."""
    valid = valid if valid.ndim == values.ndim else valid[..., None]
    count = np.broadcast_to(valid, values.shape).sum(axis)
    total = np.where(valid, values, 0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def mean_paths(rollouts: SkillRollouts) -> np.ndarray:
    """[L, T, 3] m: the pinch path of each lane, averaged over the episodes that are valid at row t."""
    return mean_along(rollouts.pinch, rollouts.valid, 1)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """m: the distance between two paths [T, 3], averaged over the rows that both have."""
    distance = np.linalg.norm(one - other, axis=-1)
    return float(np.nanmean(distance)) if np.isfinite(distance).any() else float("nan")


def spread(rollouts: SkillRollouts) -> float | None:
    """m: the distance between the mean pinch paths of two skills, averaged over time and over all pairs of skills."""
    paths = mean_paths(rollouts)[rollouts.skill != PRIOR]
    pairs = [apart(one, other) for i, one in enumerate(paths) for other in paths[:i]]
    return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else None


def noise(rollouts: SkillRollouts, across_starts: bool = False) -> float | None:
    """m: the same distance within one skill across repeats, averaged over the skills.

    The mean paths of two halves of a skill's episodes are compared. The halves are the two passes over the same initial
    states, so they differ by chance alone. With `across_starts` they are the episodes from even and from odd initial
    states, so that the variation of initial states counts too.
    """
    episodes = rollouts.pinch.shape[1]
    number = np.arange(episodes)
    half = (number % (episodes // REPEATS)) % 2 if across_starts else number // (episodes // REPEATS)
    values = []
    for lane in np.flatnonzero(rollouts.skill != PRIOR):
        halves = [
            mean_along(rollouts.pinch[lane, half == side], rollouts.valid[lane, half == side], 0) for side in (0, 1)
        ]
        values.append(apart(*halves))
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def measure(rollouts: SkillRollouts) -> dict:
    """The content of skills.json: `spread`, `noise` [m], and for each lane a row of means over its episodes."""
    rows = [_row(rollouts, lane) for lane in range(len(rollouts.skill))]
    return {
        "episodes": int(rollouts.pinch.shape[1]),
        "starts": int(rollouts.pinch.shape[1] // REPEATS),
        "seconds_each": round(float(rollouts.interval) * (rollouts.pinch.shape[2] - 1), 3),
        "broken": int(rollouts.broken.sum()),
        "spread": spread(rollouts),
        "noise": noise(rollouts),
        "noise_across_starts": noise(rollouts, across_starts=True),
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
    named = lambda values: {name: round(float(value), 4) for name, value in zip(OBJECTS, values, strict=True)}  # noqa: E731
    row = {
        "skill": None if rollouts.skill[lane] == PRIOR else int(rollouts.skill[lane]),
        "grasping": float(rollouts.grasping[lane][valid].mean()),
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
        "shares": _shares(rollouts.chosen[lane][valid], int(rollouts.skill.max()) + 1),
        "broken": int(rollouts.broken[lane]),
    }
    row = {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
    return {**row, "word": word(row)}


def _shares(chosen: np.ndarray, skills: int) -> list[float]:
    """The share of time in which each skill was active; empty where the policy does not report it."""
    chosen = chosen[chosen != PRIOR]
    counts = np.bincount(chosen, minlength=skills) if len(chosen) else np.zeros(0)
    return [round(float(value), 4) for value in counts / max(counts.sum(), 1)]


def word(row: dict) -> str:
    """A label for what a skill does, from the figures in its row."""
    lifted, gained = (max(row[name].items(), key=lambda item: item[1]) for name in ("lifts", "covered"))
    x, y, z = row["displacement"]
    nearest = min(row["closest"].items(), key=lambda item: item[1])
    if lifted[1] >= OFTEN:
        doing = f"lift {lifted[0]}"
    elif row["grasping"] >= OFTEN and nearest[1] <= NEAR:
        doing = f"grasp {nearest[0]}"
    elif row["closest"][gained[0]] <= NEAR and gained[1] > STILL:
        doing = f"reach {gained[0]}"
    elif np.hypot(np.hypot(x, y), z) <= STILL:
        doing = "hold still"
    else:
        doing = ("rise" if z > 0 else "go down") if abs(z) >= np.hypot(x, y) else f"move {_side(x, y)}"
        others = [value for name, value in row["covered"].items() if name != gained[0]]
        if gained[1] > max(others) + APART:
            doing += f" to {gained[0]}"
    return f"{doing}, {'open' if row['closed'] < OPEN else 'half open' if row['closed'] < HELD else 'closed'}"


def _side(x: float, y: float) -> str:
    """The direction as seen from the robot's base: x away from it, y to its left."""
    return ("outwards" if x > 0 else "inwards") if abs(x) >= abs(y) else ("left" if y > 0 else "right")


def write(rollouts: SkillRollouts, folder: Path | str, about: dict | None = None) -> dict:
    """Writes skills.json (`about` and the measures) and skills.npz into a run folder; returns the former's content."""
    content = {**(about or {}), **measure(rollouts)}
    save(rollouts, folder)
    (Path(folder) / "skills.json").write_text(json.dumps(content, indent=1) + "\n")
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
