"""Distances between paths of skills held fixed, and the figures of each skill in a world of any kind.

Paths are rows of D numbers. `spread` and `noise` say whether skills do different things: how far apart the mean paths
of two skills are, and of two halves of one skill's episodes, which start in the same states and differ by chance.
"""

from typing import Any

import numpy as np

from experiments.fixed_skills.rollouts import REPEATS, FixedSkills
from experiments.shared.lanes import PRIOR, lane_name

NUMBERS, POINTS = 4, 100  # curves: of so many numbers at most, at so many rows


def mean_along(values: np.ndarray, valid: np.ndarray, axis: int) -> np.ndarray:
    """Mean over `axis` where valid (same leading axes, values may have one more); NaN where nothing is valid."""
    valid = valid if valid.ndim == values.ndim else valid[..., None]
    count = np.broadcast_to(valid, values.shape).sum(axis)
    total = np.where(valid, values, 0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The distance between two paths [T, D], averaged over the rows that both have."""
    distance = np.linalg.norm(one - other, axis=-1)
    return float(np.nanmean(distance)) if np.isfinite(distance).any() else float("nan")


def spread(paths: np.ndarray, valid: np.ndarray, skill: np.ndarray) -> float | None:
    """The distance between the mean paths of two skills, averaged over time and over all pairs of skills.

    paths: [L, E, T, D], valid [L, E, T], of skills [L]
    """
    means = mean_along(paths, valid, 1)[skill != PRIOR]
    pairs = [apart(one, other) for i, one in enumerate(means) for other in means[:i]]
    return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else None


def noise(paths: np.ndarray, valid: np.ndarray, skill: np.ndarray, across_starts: bool = False) -> float | None:
    """The same distance within one skill across repeats, averaged over the skills.

    The mean paths of two halves of a skill's episodes are compared. The halves are the two passes over the same initial
    states, so they differ by chance alone. With `across_starts` they are the episodes from even and from odd initial
    states, so that the variation of initial states counts too.
    """
    episodes = paths.shape[1]
    number = np.arange(episodes)
    half = (number % (episodes // REPEATS)) % 2 if across_starts else number // (episodes // REPEATS)
    values = []
    for lane in np.flatnonzero(skill != PRIOR):
        halves = [mean_along(paths[lane, half == side], valid[lane, half == side], 0) for side in (0, 1)]
        values.append(apart(*halves))
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def shares(chosen: np.ndarray, skills: int) -> list[float]:
    """The share of time in which each skill was active; empty where the policy does not report it."""
    chosen = chosen[chosen != PRIOR]
    counts = np.bincount(chosen, minlength=skills) if len(chosen) else np.zeros(0)
    return [round(float(value), 4) for value in counts / max(counts.sum(), 1)]


def measure(held: FixedSkills) -> dict[str, Any]:
    """The figures, for JSON; distances in the units of each entry.

    entries  of each: spread, noise, and their ratio; null where there are no two skills, or no chance
    skills   of each lane: mean and standard deviation of its returns, and of each entry `covered`, the length of its
             path over an episode, and `moved`, the distance between its start and its end, in the mean
    """
    entries = {name: _distances(paths, held) for name, paths in held.seen.items()}
    return {
        "episodes": int(held.reward.shape[1]),
        "starts": int(held.reward.shape[1] // REPEATS),
        "seconds_each": round(held.interval * (held.reward.shape[2] - 1), 3),
        "entries": entries,
        "skills": [_lane(held, lane) for lane in range(len(held.skill))],
        "curves": _curves(held),
    }


def _distances(paths: np.ndarray, held: FixedSkills) -> dict[str, float | None]:
    between, within = (of(paths, held.valid, held.skill) for of in (spread, noise))
    ratio = between / within if between is not None and within else None
    return {"spread": between, "noise": within, "ratio": ratio}


def _lane(held: FixedSkills, lane: int) -> dict[str, Any]:
    valid, episode = held.valid[lane], np.arange(held.valid.shape[1])
    end = np.maximum(valid.sum(-1) - 1, 0)  # the last valid row
    acted = valid & (np.cumsum(valid, -1) < valid.sum(-1, keepdims=True))  # no action is taken in the last row
    action = held.action[lane][acted]
    returns = np.where(valid, held.reward[lane], 0.0).sum(-1)
    seen = {name: paths[lane] for name, paths in held.seen.items()}
    steps = {name: np.linalg.norm(np.diff(paths, axis=1), axis=-1) * acted[:, :-1] for name, paths in seen.items()}
    return {
        "skill": None if held.skill[lane] == PRIOR else int(held.skill[lane]),
        "return": float(returns.mean()),
        "return_stddev": float(returns.std()),
        "covered": {name: float(values.sum(1).mean()) for name, values in steps.items()},
        "moved": {
            name: float(np.linalg.norm(paths[episode, end] - paths[:, 0], axis=-1).mean())
            for name, paths in seen.items()
        },
        "action_mean": action.mean(0).tolist() if len(action) else [],
        "action_stddev": action.std(0).tolist() if len(action) else [],
        "shares": shares(held.chosen[lane][valid], int(held.skill.max()) + 1),
        "broken": int(held.broken[lane]),
    }


def _curves(held: FixedSkills) -> dict[str, Any]:
    """Means over an episode, of each lane: {"seconds": [P], "means": title -> [L][P]}."""
    at = np.unique(np.linspace(0, held.reward.shape[2] - 1, POINTS).round().astype(int))
    earned = np.cumsum(np.where(held.valid, held.reward, 0.0), -1)  # an episode that is over keeps what it has
    means = {"return so far": earned.mean(1)[:, at]}
    for name, i in telling(held, NUMBERS):
        means[f"{name} [{i}]"] = mean_along(held.seen[name][..., i : i + 1], held.valid, 1)[:, at, 0]
    shown = {title: [[_short(y) for y in lane] for lane in lanes] for title, lanes in means.items()}
    return {"seconds": [_short(i * held.interval) for i in at], "means": shown}


def _short(value: float) -> float | None:
    """Five digits, for JSON; null where there is no number."""
    return float(f"{value:.5g}") if np.isfinite(value) else None


def telling(held: FixedSkills, count: int) -> list[tuple[str, int]]:
    """The `count` numbers, as (entry, place in it), by which skills differ most: by spread over noise."""
    candidates = []
    for name, paths in held.seen.items():
        for i in range(paths.shape[-1]):
            between, within = (of(paths[..., i : i + 1], held.valid, held.skill) for of in (spread, noise))
            if between:
                candidates.append((between / max(within or 0.0, 1e-3 * between), name, i))
    return [(name, i) for _, name, i in sorted(candidates, key=lambda each: -each[0])[:count]]


def ranked(content: dict[str, Any], most: int) -> list[str]:
    """The entries by which skills are told apart best, the best first; `most` of them."""
    entries = content["entries"]
    return sorted(entries, key=lambda name: -(entries[name]["ratio"] or 0.0))[:most]


def table(content: dict[str, Any]) -> str:
    """The skills as text for a terminal."""
    names = ranked(content, 4)
    lines = [f"{'skill':<8}{'return':>10}" + "".join(f"{name[:18]:>20}" for name in names)]
    for row in sorted(content["skills"], key=lambda row: row["skill"] is None):
        lines.append(
            f"{lane_name(row['skill']):<8}{row['return']:>10.4g}"
            + "".join(f"{row['covered'][entry]:>20.4g}" for entry in names)
        )
    lines.append("of each entry how far it went in an episode, those first by which skills are told apart best:")
    for name in names:
        figures = content["entries"][name]
        if figures["ratio"] is not None:
            lines.append(
                f"{name}: paths of two skills are {figures['spread']:.4g} apart, of one {figures['noise']:.4g} "
                f"({figures['ratio']:.1f} times)"
            )
    return "\n".join(lines)
