"""Interquartile means, profiles, improvement and their intervals: by hand, by rliable's own figures, by brute force."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import scipy.stats

from skillhier.report import comparison_page, statistics

# Runs by task, and what rliable 1.2.0 says of them (arch 7.2.0, pandas 2.3.3, numpy 2.4.6; np.random.seed(0)). It is
# no dependency: with its own it adds ten packages, of which one must be held at an old version for it to import.
SCORES = np.array(
    [[0.002, 5.597, 9.452], [-1.781, 4.091, 8.017], [0.12, 7.68, 9.016], [-1.241, 5.98, 10.714], [0.211, 3.139, 9.941]]
)
RIVALS = np.array([[1.891, 2.812, 8.085], [-3.302, 2.921, 5.317], [0.03, 2.965, 9.543], [0.814, 5.126, 3.966]])
IQM = (4.87233333, 4.09466667, 5.69803611)  # 200,000 draws
IQM_OF_FIRST_TASK = (-0.373, -1.601, 0.18066667)
THRESHOLDS = np.array([-1.0, 0.0, 4.0, 5.0, 8.0, 10.0])
PROFILE = (
    [0.86666667, 0.86666667, 0.6, 0.53333333, 0.33333333, 0.06666667],
    [0.73333333, 0.73333333, 0.46666667, 0.4, 0.33333333, 0.0],
    [1.0, 1.0, 0.66666667, 0.66666667, 0.33333333, 0.2],
)
IMPROVEMENT = (0.68333333, 0.48333333, 0.86666667)


def middle(strata):
    return statistics.interquartile_mean(statistics.pooled(strata))


def improvement(strata, rivals):
    return np.mean([statistics.probability_of_improvement(*pair) for pair in zip(strata, rivals, strict=True)], axis=0)


def profile(strata):
    return statistics.profile(statistics.pooled(strata), THRESHOLDS)


@pytest.mark.parametrize(
    "scores, expected",
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], 4.5),  # 3 4 5 6
        ([8, 1, 7, 2, 6, 3, 5, 4], 4.5),  # in any order
        ([7], 7.0),
        ([1, 4], 2.5),
        ([0, 0, 9], 3.0),  # a quarter of three runs is none
        ([0, 1, 3, 100], 2.0),  # 1 3
        ([-50, 1, 2, 6, 100], 3.0),  # 1 2 6: a quarter of five is one
        ([0, 1, 2, 3, 4, 5, 600], 3.0),  # one at each end of seven
        ([2, 2, 2, 2, 9], 2.0),  # ties are runs like any other
    ],
)
def test_interquartile_mean_by_hand(scores, expected):
    assert statistics.interquartile_mean(np.array(scores)) == expected


@pytest.mark.parametrize("count", range(1, 30))
def test_interquartile_mean_is_scipys_trimmed_mean(count):
    scores = np.random.default_rng(count).normal(size=(count, 3))
    expected = scipy.stats.trim_mean(scores, 0.25, axis=0)
    np.testing.assert_allclose(statistics.interquartile_mean(scores), expected, rtol=1e-12)


def test_a_run_that_broke_down_is_not_trimmed_away():
    scores = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, np.nan], [4.0, 4.0], [5.0, np.inf]])
    np.testing.assert_array_equal(statistics.interquartile_mean(scores[:4]), [2.5, np.nan])
    assert np.isnan(statistics.interquartile_mean(scores[[0, 1, 3, 4], 1]))
    assert np.isnan(statistics.profile(scores[:, 1], np.zeros(2))).all()
    assert np.isnan(statistics.probability_of_improvement(scores[:, 1], scores[:2, 1]))
    assert np.isnan(statistics.probability_of_improvement(scores[:2, 1], scores[:, 1]))
    assert np.isnan(statistics.interval(middle, [scores[:, 1]], seed=0)).all()


def test_no_run_has_no_mean():
    with pytest.raises(ValueError, match="at least one"):
        statistics.interquartile_mean(np.zeros((0, 2)))


def test_profile_by_hand():
    shares = statistics.profile(np.array([1.0, 2.0, 2.0, 4.0]), np.array([0.0, 1.0, 2.0, 3.9, 4.0]))
    np.testing.assert_array_equal(shares, [1.0, 0.75, 0.25, 0.25, 0.0])  # above, not at


def test_probability_of_improvement_by_hand():
    assert statistics.probability_of_improvement(np.array([1.0, 3.0]), np.array([0.0, 2.0, 3.0])) == (1 + 2.5) / 6
    assert statistics.probability_of_improvement(np.ones(3), np.ones(2)) == 0.5
    x, y = np.random.default_rng(0).integers(0, 5, (2, 9)).astype(float)
    expected = scipy.stats.mannwhitneyu(x, y).statistic / 81
    assert statistics.probability_of_improvement(x, y) == pytest.approx(expected)
    assert statistics.probability_of_improvement(y, x) == pytest.approx(1 - expected)


@pytest.mark.parametrize(
    "statistic, samples, expected, tolerance",
    [
        (middle, [list(SCORES.T)], IQM, 0.02),
        (middle, [[SCORES[:, 0]]], IQM_OF_FIRST_TASK, 1e-8),  # few values are possible, so the ends are exact
        (profile, [list(SCORES.T)], PROFILE, 1e-8),
        (improvement, [list(SCORES.T), list(RIVALS.T)], IMPROVEMENT, 0.018),  # one step of 1/60
    ],
)
def test_the_figures_of_rliable(statistic, samples, expected, tolerance):
    value, (low, high) = statistic(*samples), statistics.interval(statistic, *samples, seed=1, draws=50_000)
    np.testing.assert_allclose(value, expected[0], atol=1e-8)
    np.testing.assert_allclose(low, expected[1], atol=tolerance)
    np.testing.assert_allclose(high, expected[2], atol=tolerance)


def test_the_interval_is_that_of_all_resamples():
    """Every way in which four runs can be drawn from two strata, listed: 3^3 times 2^2."""
    strata = [np.array([0.0, 1.0, 5.0]), np.array([2.0, 7.0])]
    listed = [
        scipy.stats.trim_mean([*(strata[0][i] for i in first), *(strata[1][i] for i in second)], 0.25)
        for first in product(range(3), repeat=3)
        for second in product(range(2), repeat=2)
    ]
    expected = np.quantile(np.sort(listed), [0.1, 0.9], method="inverted_cdf")
    found = statistics.interval(middle, strata, seed=0, draws=100_000, level=0.8)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert len(listed) == 108 and expected[0] < expected[1]


def test_runs_are_drawn_within_their_stratum():
    """Two tasks with scores far apart: each draw holds both, or the mean would wander between them."""
    tasks = [np.array([0.0, 0.1, 0.0, 0.1]), np.array([10.0, 10.1, 10.0, 10.1])]
    low, high = statistics.interval(middle, tasks, seed=0)
    assert 4.99 < low < high < 5.11
    low, high = statistics.interval(middle, [np.concatenate(tasks)], seed=0)
    assert low < 1 and high > 9


def test_a_curve_is_its_points():
    """What is drawn are whole runs, so a curve of the same values has the same interval everywhere."""
    scores = np.random.default_rng(0).normal(size=(6, 1))
    low, high = statistics.interval(middle, [np.repeat(scores, 3, axis=1)], seed=0)
    alone = statistics.interval(middle, [scores[:, 0]], seed=0)
    np.testing.assert_array_equal(low, [alone[0]] * 3)
    np.testing.assert_array_equal(high, [alone[1]] * 3)


def test_the_seed_says_it_all(monkeypatch):
    scores = [np.random.default_rng(0).normal(size=9)]
    told = statistics.interval(middle, scores, seed=3)
    assert told == statistics.interval(middle, scores, seed=3)
    assert told != statistics.interval(middle, scores, seed=4)
    monkeypatch.setattr(statistics, "MAX_NUMBERS", 100)  # in many parts: other draws of the same kind
    np.testing.assert_allclose(statistics.interval(middle, scores, seed=3), told, atol=0.1)


def test_one_run_has_no_interval_and_equal_runs_one_of_no_width():
    assert np.isnan(statistics.interval(middle, [np.array([3.0])], seed=0)).all()
    assert np.isnan(statistics.interval(middle, [np.array([3.0, 4.0]), np.array([3.0])], seed=0)).all()
    assert statistics.interval(middle, [np.full(5, 3.0)], seed=0) == (3.0, 3.0)


def test_more_runs_say_it_more_surely():
    """The width falls as one over the root of the number of runs: to a quarter of it with sixteen times as many."""
    dice = np.random.default_rng(0)

    def width(count):
        found = [statistics.interval(middle, [dice.normal(size=count)], seed=i) for i in range(30)]
        return np.mean([high - low for low, high in found])

    assert width(16) / width(256) == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("count", comparison_page.COVERAGE)
def test_how_often_an_interval_of_few_runs_holds_the_truth(count):
    """What the page says of it."""
    dice = np.random.default_rng(count)
    held = [
        low <= 0 <= high
        for low, high in (statistics.interval(middle, [dice.normal(size=count)], seed=i, draws=300) for i in range(600))
    ]
    assert np.mean(held) == pytest.approx(comparison_page.COVERAGE[count], abs=0.05)


def test_a_statistic_may_have_settings():
    """Profiles of several points at once have the shape of their thresholds."""
    low, high = statistics.interval(
        partial(lambda at, strata: statistics.profile(strata[0], at), THRESHOLDS), [SCORES[:, 0]], seed=0
    )
    assert low.shape == high.shape == THRESHOLDS.shape and (low <= high).all()
