"""The numbers of a comparison: for each metric and group a curve, a final value and a profile, with intervals."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from skillhier.report import comparison, statistics
from skillhier.report.axis import UPDATES, Axis, metric_names
from skillhier.report.comparison_runs import LoggedRun
from skillhier.report.references import Reference
from skillhier.train import run_folder

EVALUATED = ("eval/", "evaluation/", "heldout/")  # measured at intervals; other metrics are means over an epoch
LATE = 0.9  # where the last tenth of a run begins
POINTS = 200  # of a curve at most
FINAL_DRAWS = 50_000  # bootstrap draws of final values, as rliable's for aggregates
THRESHOLDS = 201  # of a profile


class Estimate(NamedTuple):
    """A statistic of several runs with its 95 % interval; ends are NaN of one run, all is NaN if a run broke down."""

    value: np.ndarray  # [...]
    low: np.ndarray
    high: np.ndarray


class GroupStatistics(NamedTuple):
    """One metric in one group."""

    runs: list[LoggedRun]
    x: np.ndarray  # [S] on the comparison's axis
    run_curves: np.ndarray  # [R, S]
    curve: Estimate  # [S] interquartile mean
    run_finals: np.ndarray  # [R]
    final: Estimate  # [] interquartile mean
    profile: Estimate  # [P] share of runs above each threshold
    improvement: Estimate | None  # [] probability that a run lies above one of the first group; None for that group


class MetricStatistics(NamedTuple):
    """One metric in all groups that have it."""

    metric: str
    definition: str  # of a final value
    thresholds: np.ndarray  # [P]
    groups: dict[str, GroupStatistics]
    notes: list[str]
    panel: str = ""  # which runs it covers, where there are several panels
    references: tuple[Reference, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.metric}, {self.panel}" if self.panel else self.metric


class Comparison(NamedTuple):
    """Everything that a page shows."""

    by: list[str]  # the settings that make the groups
    groups: dict[str, list[LoggedRun]]
    metrics: list[MetricStatistics]
    notes: list[str]
    seed: int  # of the bootstrap
    along: dict[str, dict[str, Any]]  # settings that vary with the groups -> group -> value
    axis: Axis  # of all curves


def default_metrics(runs: Sequence[LoggedRun], patterns: Sequence[str]) -> list[str]:
    """The metrics that match `patterns`, in their order, else the loss. Raises RunFolderError where there are none."""
    known = names(runs)
    matches = [name for pattern in patterns for name in sorted(known) if re.fullmatch(pattern, name)]
    matches = matches or [name for name in ("learner/loss",) if name in known]
    if not matches:
        raise run_folder.RunFolderError(
            f"the runs log none of the default metrics; choose --metric of {', '.join(sorted(known))}"
        )
    return matches


def names(runs: Sequence[LoggedRun]) -> set[str]:
    """The metrics that any of the runs logs."""
    return set().union(*(metric_names(run.rows) for run in runs))


def series(run: LoggedRun, metric: str, upto: int | None = None, axis: Axis = UPDATES) -> tuple[np.ndarray, np.ndarray]:
    """x on `axis` and values of a metric, up to x = `upto`; NaN where the log has null."""
    rows = [row for row in run.rows if metric in row and (upto is None or row[axis.entry] <= upto)]
    values = [np.nan if row[metric] is None else row[metric] for row in rows]
    return np.array([row[axis.entry] for row in rows], int), np.array(values, float)


def measure(
    groups: dict[str, list[LoggedRun]],
    metric: str,
    *,
    axis: Axis = UPDATES,
    strata: Sequence[str] = (),
    upto: int | None = None,
    same_end: bool = True,
    seed: int = 0,
) -> MetricStatistics:
    """A metric in all groups. Raises RunFolderError.

    axis: what curves are over, and where runs are cut and final values are taken
    strata: settings that identify tasks; upto: the point of the axis at which all runs are cut
    same_end: final values must be from one point of the axis in all runs
    """
    known = names([run for runs in groups.values() for run in runs])
    if metric not in known:
        raise comparison.unknown_name("metric", metric, [name for name in known if not name.startswith("time/")])
    having, notes = {}, []
    for label, runs in groups.items():
        logging = [run for run in runs if len(series(run, metric, upto, axis)[0])]
        if len(logging) < len(runs):
            lacking = ", ".join(str(run.path) for run in runs if run not in logging)
            notes.append(f"{label}: not logged by {lacking}")
        if logging:
            having[label] = logging
    if not having:
        raise run_folder.RunFolderError(
            f"no run logged {metric} by {upto:,} {axis.label}, where the shortest run ends; leave it out of --runs"
        )
    _check_tasks(having, strata)
    end, definition = _end([run for runs in having.values() for run in runs], metric, axis, upto, same_end)
    tasks = {label: comparison.by_stratum(runs, strata) for label, runs in having.items()}
    finals = {
        label: [np.array([_final(run, metric, axis, end) for run in stratum]) for stratum in of_tasks]
        for label, of_tasks in tasks.items()
    }
    thresholds = _thresholds(np.concatenate([values for of_tasks in finals.values() for values in of_tasks]))
    first = next(iter(having))
    statistics_of = {}
    for label, of_tasks in finals.items():
        runs = [run for stratum in tasks[label] for run in stratum]
        values = np.concatenate(of_tasks)
        broken = [str(run.path) for run, value in zip(runs, values, strict=True) if not np.isfinite(value)]
        if broken:
            notes.append(f"{label}: no value, because the final values of {', '.join(broken)} are not finite")
        x, run_curves = _curves(runs, metric, axis, upto, label)
        cuts = np.cumsum([len(stratum) for stratum in of_tasks])[:-1]
        statistics_of[label] = GroupStatistics(
            runs,
            x,
            run_curves,
            _estimate(_middle, np.split(run_curves, cuts), seed=seed),
            values,
            _estimate(_middle, of_tasks, seed=seed, draws=FINAL_DRAWS),
            _estimate(partial(_profile, thresholds), of_tasks, seed=seed),
            None if label == first else _estimate(_improvement, of_tasks, finals[first], seed=seed),
        )
    return MetricStatistics(metric, definition, thresholds, statistics_of, notes)


def _estimate(statistic: Callable[..., np.ndarray], *samples: statistics.Strata, **settings: int) -> Estimate:
    return Estimate(statistic(*samples), *statistics.interval(statistic, *samples, **settings))


def _middle(strata: statistics.Strata) -> np.ndarray:
    return statistics.interquartile_mean(statistics.pooled(strata))


def _profile(thresholds: np.ndarray, strata: statistics.Strata) -> np.ndarray:
    return statistics.profile(statistics.pooled(strata), thresholds)


def _improvement(strata: statistics.Strata, rivals: statistics.Strata) -> np.ndarray:
    shares = [statistics.probability_of_improvement(*pair) for pair in zip(strata, rivals, strict=True)]
    return np.mean(shares, axis=0)


def _check_tasks(groups: dict[str, list[LoggedRun]], strata: Sequence[str]) -> None:
    tasks_of = {
        label: sorted({tuple(str(run.settings.get(name)) for name in strata) for run in runs})
        for label, runs in groups.items()
    }
    first = next(iter(tasks_of))
    for label, tasks in tasks_of.items():
        if tasks != tasks_of[first]:
            listed = [", ".join("/".join(task) for task in each) for each in (tasks_of[first], tasks)]
            raise run_folder.RunFolderError(
                f"{first} has runs of {listed[0]} and {label} of {listed[1]}; compare on the same {', '.join(strata)}"
            )


def _end(
    runs: Sequence[LoggedRun], metric: str, axis: Axis, upto: int | None, same_end: bool
) -> tuple[int | None, str]:
    """The point of the axis up to which final values look, and the definition of a final value."""
    evaluated = metric.startswith(EVALUATED)
    what = "the last evaluation" if evaluated else f"the mean over the last tenth of the {axis.label}"
    if not same_end:
        return upto, f"{what} of each run, however long it is"
    common = set.intersection(*(set(series(run, metric, upto, axis)[0].tolist()) for run in runs))
    if not common:
        raise _no_common_point("all runs", metric, axis)
    end = max(common)
    return end, f"{what}, at {end:,} {axis.label}" if evaluated else f"{what}, up to {end:,}"


def _no_common_point(which: str, metric: str, axis: Axis) -> run_folder.RunFolderError:
    remedy = "runs with one train.updates_per_epoch and train.eval_every"
    remedy += "" if axis == UPDATES else f", or --x={UPDATES.name}"
    return run_folder.RunFolderError(
        f"{which} share no number of {axis.label} where {metric} was logged; give {remedy}"
    )


def _final(run: LoggedRun, metric: str, axis: Axis, end: int | None) -> float:
    x, values = series(run, metric, end, axis)
    return float(values[-1] if metric.startswith(EVALUATED) else values[x > LATE * x[-1]].mean())


def _thresholds(values: np.ndarray) -> np.ndarray:
    values = values[np.isfinite(values)]
    if not len(values):
        return np.linspace(0.0, 1.0, THRESHOLDS)
    room = 0.05 * np.ptp(values) or 0.05 * abs(values[0]) or 1.0
    return np.linspace(values.min() - room, values.max() + room, THRESHOLDS)


def _curves(
    runs: Sequence[LoggedRun], metric: str, axis: Axis, upto: int | None, label: str
) -> tuple[np.ndarray, np.ndarray]:
    """The points [S] that all runs of a group share, and their values [R, S]; means of neighbours if too many.

    Of several rows at one point (updates without new environment steps) the last counts.
    """
    by_x = [dict(zip(*(part.tolist() for part in series(run, metric, upto, axis)), strict=True)) for run in runs]
    common = sorted(set.intersection(*map(set, by_x)))
    if not common:
        raise _no_common_point(f"the runs of {label}", metric, axis)
    values = np.array([[of_run[x] for x in common] for of_run in by_x], float)
    bins = np.array_split(np.arange(len(common)), min(len(common), POINTS))
    return np.array([np.mean(np.array(common)[bin]) for bin in bins]), np.stack(
        [values[:, bin].mean(axis=1) for bin in bins], axis=1
    )
