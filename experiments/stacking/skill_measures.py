"""What fixed-skill rollouts come to: figures for each skill, how far the skills lie apart, and a word for each.

The word is decided from the figures alone, by the thresholds below; it is a reading aid, no measurement.
"""

import json
from pathlib import Path

import numpy as np

from experiments.stacking.skill_rollouts import OBJECTS, PRIOR, REPEATS, Study, save

LIFTED = 0.03  # m an object must rise before it counts as lifted: more than the wobble of a push
NEAR = 0.06  # m from the pinch to an object's centre: about to be held, for objects of 5 cm
STILL = 0.03  # m of displacement below which a skill is said to hold still
APART = 0.02  # m that more must be covered to one object than to the others, for a skill to be heading there
OFTEN = 0.25  # share of the episodes, or of the time, from which on a behaviour gives a skill its name
OPEN, HELD = 0.1, 0.4  # shares of the gripper's stroke; it stands at 0.48 around an object of 5 cm


def mean_along(values: np.ndarray, valid: np.ndarray, axis: int) -> np.ndarray:
    """Mean over `axis` where valid (same leading axes, values may have one more); NaN where nothing is."""
    valid = valid if valid.ndim == values.ndim else valid[..., None]
    count = np.broadcast_to(valid, values.shape).sum(axis)
    total = np.where(valid, values, 0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def mean_paths(study: Study) -> np.ndarray:
    """[L, T, 3] m: the pinch path of each lane, averaged over the episodes that still run at row t."""
    return mean_along(study.pinch, study.valid, 1)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """m: the distance between two paths [T, 3], averaged over the rows that both have."""
    distance = np.linalg.norm(one - other, axis=-1)
    return float(np.nanmean(distance)) if np.isfinite(distance).any() else float("nan")


def spread(study: Study) -> float | None:
    """m: the distance between the mean pinch paths of two skills, averaged over time and over all pairs of skills."""
    paths = mean_paths(study)[study.skill != PRIOR]
    pairs = [apart(one, other) for i, one in enumerate(paths) for other in paths[:i]]
    return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else None


def noise(study: Study, across_starts: bool = False) -> float | None:
    """m: the same distance within one skill across repeats, averaged over the skills.

    A skill's episodes are split in two halves and the mean paths of the halves are compared. The halves are
    the two passes over the same starts, as two skills are compared over the same starts: what remains is
    chance. With `across_starts` the halves are the even and the odd starts instead, so that the scatter of
    the starts themselves is counted too.
    """
    episodes = study.pinch.shape[1]
    number = np.arange(episodes)
    half = (number % (episodes // REPEATS)) % 2 if across_starts else number // (episodes // REPEATS)
    values = []
    for lane in np.flatnonzero(study.skill != PRIOR):
        halves = [mean_along(study.pinch[lane, half == side], study.valid[lane, half == side], 0) for side in (0, 1)]
        values.append(apart(*halves))
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def measure(study: Study) -> dict:
    """What skills.json holds: `spread`, `noise` [m], and a row for each lane, of means over its episodes."""
    rows = [_row(study, lane) for lane in range(len(study.skill))]
    return {
        "episodes": int(study.pinch.shape[1]),
        "starts": int(study.pinch.shape[1] // REPEATS),
        "seconds_each": round(float(study.interval) * (study.pinch.shape[2] - 1), 3),
        "broken": int(study.broken.sum()),
        "spread": spread(study),
        "noise": noise(study),
        "noise_across_starts": noise(study, across_starts=True),
        "skills": rows,
    }


def _row(study: Study, lane: int) -> dict:
    """The figures of one lane: m, s, and shares of the time in 0 .. 1."""
    valid, pinch, objects = study.valid[lane], study.pinch[lane], study.objects[lane]
    episode, end = np.arange(len(valid)), np.maximum(valid.sum(-1) - 1, 0)  # the last row that means something
    distance = np.linalg.norm(objects - pinch[:, :, None], axis=-1)  # [E, T, O]
    covered = distance[:, 0] - distance[episode, end]
    moved = np.linalg.norm(objects[episode, end] - objects[:, 0], axis=-1)
    rise = np.where(valid[..., None], objects[..., 2], -np.inf).max(1) - objects[:, 0, :, 2]
    acted = valid & (np.cumsum(valid, -1) < valid.sum(-1, keepdims=True))  # no action is taken in the last row
    steps = np.linalg.norm(np.diff(pinch, axis=1), axis=-1) * acted[:, :-1]
    action = study.action[lane][acted]
    named = lambda values: {name: round(float(value), 4) for name, value in zip(OBJECTS, values, strict=True)}  # noqa: E731
    row = {
        "skill": None if study.skill[lane] == PRIOR else int(study.skill[lane]),
        "grasping": float(study.grasping[lane][valid].mean()),
        "closed": float(study.closed[lane][valid].mean()),
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
        "shares": _shares(study.chosen[lane][valid], int(study.skill.max()) + 1),
        "broken": int(study.broken[lane]),
    }
    row = {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
    return {**row, "word": word(row)}


def _shares(chosen: np.ndarray, skills: int) -> list[float]:
    """How much of the time each skill was in charge; empty where the policy does not say."""
    chosen = chosen[chosen != PRIOR]
    counts = np.bincount(chosen, minlength=skills) if len(chosen) else np.zeros(0)
    return [round(float(value), 4) for value in counts / max(counts.sum(), 1)]


def word(row: dict) -> str:
    """A few words for what a skill does, from the figures in its row."""
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
    """Which way that is, seen from the robot's base: x away from it, y to its left."""
    return ("outwards" if x > 0 else "inwards") if abs(x) >= abs(y) else ("left" if y > 0 else "right")


def write(study: Study, folder: Path | str, about: dict | None = None) -> dict:
    """What skills.json holds, after writing it (with `about` in front) and skills.npz into a run folder."""
    found = {**(about or {}), **measure(study)}
    save(study, folder)
    (Path(folder) / "skills.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def table(found: dict) -> str:
    """The rows of skills.json as text for a terminal."""
    head = f"{'skill':<7}{'what it does':<26}{'grasping':>9}{'closed':>8}{'lift red':>10}" + "".join(
        f"{'to ' + name:>10}" for name in OBJECTS
    )
    lines = [head]
    for row in sorted(found["skills"], key=lambda row: row["skill"] is None):
        name = "prior" if row["skill"] is None else str(row["skill"])
        lines.append(
            f"{name:<7}{row['word']:<26}{row['grasping']:>8.0%} {row['closed']:>7.0%}{100 * row['lift_red']:>8.1f}cm"
            + "".join(f"{100 * row['covered'][name]:>8.1f}cm" for name in OBJECTS)
        )
    return "\n".join([*lines, "to red, green, blue: how much of the distance from the pinch to the object was covered"])
