"""How well a path was followed: figures of episodes, an episode a column."""

from collections.abc import Mapping

import numpy as np

STILL = 1e-3  # units a step below which a point has no heading


def measure(positions: np.ndarray, gaps: np.ndarray, finished: np.ndarray) -> dict[str, np.ndarray]:
    """Figures [B] of the episodes: error, jitter, steps, finished.

    positions [T, B, 2]; gaps [T, B] units from the path; finished [T, B] whether its end has been reached. What comes
    after the end does not count. error: mean gap, units. jitter: mean square of the change of heading between two steps
    that move, rad^2. steps: until the end, T for those that do not reach it.
    """
    live = ~np.concatenate([np.zeros_like(finished[:1]), finished[:-1]])
    count = live.sum(0)
    return {
        "error": (gaps * live).sum(0) / count,
        "jitter": np.array([_jitter(positions[: count[b], b]) for b in range(positions.shape[1])]),
        "steps": np.where(finished[-1], count - 1, len(finished)).astype(float),
        "finished": finished[-1].astype(float),
    }


def _jitter(path: np.ndarray) -> float:
    moved = np.diff(path, axis=0)
    moved = moved[np.linalg.norm(moved, axis=-1) > STILL]
    change = np.diff(np.arctan2(moved[:, 1], moved[:, 0]))
    change = (change + np.pi) % (2 * np.pi) - np.pi
    return float(np.mean(change**2)) if len(change) else 0.0


def best_alone(errors: Mapping[str, np.ndarray], alone: tuple[str, ...]) -> str:
    """Which of the look-aheads alone has the least mean error; errors [B] by name."""
    return min(alone, key=lambda name: errors[name].mean())
