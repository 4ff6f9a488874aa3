"""Statistics of few runs with bootstrap intervals, as defined by rliable (Agarwal et al., NeurIPS 2021).

Scores are arrays [R, ...], runs first. A statistic reduces that axis and keeps the others, so one call serves a whole
curve or all draws of the bootstrap. Runs of several tasks come as strata, one array a task. A score that is not finite
makes every statistic of it NaN, so that a run that broke down is not trimmed away.
"""

from collections.abc import Callable, Sequence

import numpy as np

Strata = Sequence[np.ndarray]  # [R of the stratum, ...] each

LEVEL = 0.95  # of the intervals
DRAWS = 2000  # rliable's for profiles; its 50,000 for aggregates move the ends by some percent of the width
MAX_NUMBERS = 4_000_000  # drawn at once


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """The mean over runs without the lowest and the highest quarter of them: [R, ...] -> [...].

    A quarter is rounded down to whole runs, as in scipy.stats.trim_mean: of 7 runs one goes at each end, of 3 none.
    """
    scores = np.asarray(scores, float)
    count = len(scores)
    if not count:
        raise ValueError("an interquartile mean needs at least one run, got none")
    cut = count // 4
    middle = np.sort(scores, axis=0)[cut : count - cut].mean(axis=0)
    return np.where(np.isfinite(scores).all(axis=0), middle, np.nan)


def profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The score distribution: the share of runs above each threshold, [R, ...] and [P] -> [..., P]."""
    scores = np.asarray(scores, float)[..., None]
    above = (scores > thresholds).mean(axis=0)
    return np.where(np.isfinite(scores).all(axis=0), above, np.nan)


def probability_of_improvement(scores: np.ndarray, rivals: np.ndarray) -> np.ndarray:
    """How often a run lies above a rival's, ties counted half: [R, ...] and [Q, ...] -> [...]."""
    scores, rivals = np.asarray(scores, float)[:, None], np.asarray(rivals, float)[None]
    above = ((scores > rivals) + 0.5 * (scores == rivals)).mean(axis=(0, 1))
    return np.where(np.isfinite(scores).all(axis=(0, 1)) & np.isfinite(rivals).all(axis=(0, 1)), above, np.nan)


def pooled(strata: Strata) -> np.ndarray:
    """The runs of all strata as one array."""
    return np.concatenate([np.asarray(scores, float) for scores in strata])


def interval(
    statistic: Callable[..., np.ndarray], *samples: Strata, seed: int, draws: int = DRAWS, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the percentile interval of `statistic(*samples)` under the stratified bootstrap: [...] each.

    Every draw resamples the runs of each stratum of each sample with replacement. `statistic` takes one list of strata
    for each sample. NaN where a stratum has one run, which does not show how runs differ.
    """
    rng = np.random.default_rng(seed)
    samples = [[np.asarray(scores, float) for scores in strata] for strata in samples]
    size = sum(scores.size for strata in samples for scores in strata)
    results, left = [], draws
    while left:
        now = min(left, max(1, MAX_NUMBERS // max(size, 1)))
        left -= now
        drawn = [
            [scores[rng.integers(len(scores), size=(len(scores), now))] for scores in strata]  # [R, draws, ...]
            for strata in samples
        ]
        results.append(statistic(*drawn))
    values = np.concatenate(results)  # [draws, ...]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    if any(len(scores) < 2 for strata in samples for scores in strata):
        return np.full_like(low, np.nan), np.full_like(high, np.nan)
    return low, high


def mean_with_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high) of values [N]: the ends of its bootstrap interval; NaN where there is one value or none."""
    if not len(values):
        return (float("nan"),) * 3
    low, high = interval(lambda strata: pooled(strata).mean(0), [values], seed=seed)
    return float(np.mean(values, dtype=float)), float(low), float(high)
