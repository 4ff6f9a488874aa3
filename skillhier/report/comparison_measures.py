"""The figures of a comparison: of each metric and each group a curve, a final value and a profile, with intervals."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from skillhier.report import comparison, statistics
from skillhier.report.comparison_runs import Run
from skillhier.train import run_folder

USUAL = (  # what is shown unasked, where any run has it
    r"eval(uation)?/(.+/)?success",
    r"eval(uation)?/(.+/)?staged",
    r"eval(uation)?/(.+/)?return",
    r"heldout/action_mse",
    r"heldout/elbo/bound",
    r"heldout/imitation/log_likelihood",
    r"heldout/transition_diagonal",
    r"elbo/bound",
    r"imitation/log_likelihood",
)
ASSESSED = ("eval/", "evaluation/", "heldout/")  # measured now and then; all else is the mean over an epoch
LATE = 0.9  # where the last tenth of a run begins
POINTS = 200  # of a curve at most
FINAL_DRAWS = 50_000  # of the bootstrap, as rliable's for aggregates
THRESHOLDS = 201  # of a profile


class Estimate(NamedTuple):
    """A figure of several runs with its 95 % interval; NaN where one run leaves none, or a run broke down."""

    value: np.ndarray  # [...]
    low: np.ndarray
    high: np.ndarray


class Group(NamedTuple):
    """One metric in one group."""

    runs: list[Run]
    steps: np.ndarray  # [S]
    singles: np.ndarray  # [R, S]
    curve: Estimate  # [S] interquartile mean
    finals: np.ndarray  # [R]
    final: Estimate  # [] interquartile mean
    profile: Estimate  # [P] share of runs above each threshold
    improvement: Estimate | None  # [] probability that a run lies above one of the first group; None for that group


class Measured(NamedTuple):
    """One metric in all groups that have it."""

    metric: str
    how: str  # what a final value is
    thresholds: np.ndarray  # [P]
    groups: dict[str, Group]
    notes: list[str]
    panel: str = ""  # of which runs it is, where there are several panels

    @property
    def title(self) -> str:
        return f"{self.metric}, {self.panel}" if self.panel else self.metric


class Comparison(NamedTuple):
    """All that a page shows."""

    by: list[str]  # the settings that make the groups
    groups: dict[str, list[Run]]
    measured: list[Measured]
    notes: list[str]  # what a reader must know besides
    seed: int  # of the bootstrap
    along: dict[str, dict[str, Any]]  # settings that go with the groups -> group -> value


def usual(runs: Sequence[Run]) -> list[str]:
    """The metrics to show unasked. Raises Unfit."""
    known = names(runs)
    found = [name for pattern in USUAL for name in sorted(known) if re.fullmatch(pattern, name)]
    found = found or [name for name in ("learner/loss",) if name in known]
    if not found:
        raise run_folder.RunFolderError(
            f"the runs log none of the usual metrics; choose --metric of {', '.join(sorted(known))}"
        )
    return found


def names(runs: Sequence[Run]) -> set[str]:
    """The metrics that any of the runs has."""
    return {name for run in runs for row in run.rows for name in row} - {"step"}


def series(run: Run, metric: str, upto: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a metric, to step `upto`; NaN where the log has null."""
    rows = [row for row in run.rows if metric in row and (upto is None or row["step"] <= upto)]
    values = [np.nan if row[metric] is None else row[metric] for row in rows]
    return np.array([row["step"] for row in rows], int), np.array(values, float)


def measure(
    groups: dict[str, list[Run]],
    metric: str,
    *,
    strata: Sequence[str] = (),
    upto: int | None = None,
    same_end: bool = True,
    seed: int = 0,
) -> Measured:
    """A metric in all groups. Raises Unfit.

    strata: settings that mark tasks; upto: the step at which all runs are cut
    same_end: final values must be of one step in all runs
    """
    have, notes = {}, []
    for label, runs in groups.items():
        told = [run for run in runs if len(series(run, metric, upto)[0])]
        if len(told) < len(runs):
            lack = ", ".join(str(run.path) for run in runs if run not in told)
            notes.append(f"{label}: no such figure in {lack}")
        if told:
            have[label] = told
    if not have:
        known = names([run for runs in groups.values() for run in runs])
        raise comparison.unknown("metric", metric, [name for name in known if not name.startswith("time/")])
    _same_tasks(have, strata)
    end, how = _end([run for told in have.values() for run in told], metric, upto, same_end)
    tasks = {label: comparison.stratified(told, strata) for label, told in have.items()}
    finals = {
        label: [np.array([_final(run, metric, end) for run in stratum]) for stratum in strata_of]
        for label, strata_of in tasks.items()
    }
    thresholds = _thresholds(np.concatenate([values for apart in finals.values() for values in apart]))
    first = next(iter(have))
    found = {}
    for label, apart in finals.items():
        order = [run for stratum in tasks[label] for run in stratum]
        values = np.concatenate(apart)
        broken = [str(run.path) for run, value in zip(order, values, strict=True) if not np.isfinite(value)]
        if broken:
            notes.append(f"{label}: not finite at the end, so without a value, for {', '.join(broken)}")
        steps, singles = _curves(order, metric, upto, label)
        cuts = np.cumsum([len(stratum) for stratum in apart])[:-1]
        found[label] = Group(
            order,
            steps,
            singles,
            _estimate(_middle, np.split(singles, cuts), seed=seed),
            values,
            _estimate(_middle, apart, seed=seed, draws=FINAL_DRAWS),
            _estimate(partial(_profile, thresholds), apart, seed=seed),
            None if label == first else _estimate(_improvement, apart, finals[first], seed=seed),
        )
    return Measured(metric, how, thresholds, found, notes)


def _estimate(statistic: Callable[..., np.ndarray], *samples: statistics.Strata, **settings: int) -> Estimate:
    return Estimate(statistic(*samples), *statistics.interval(statistic, *samples, **settings))


def _middle(strata: statistics.Strata) -> np.ndarray:
    return statistics.interquartile_mean(statistics.pooled(strata))


def _profile(thresholds: np.ndarray, strata: statistics.Strata) -> np.ndarray:
    return statistics.profile(statistics.pooled(strata), thresholds)


def _improvement(strata: statistics.Strata, rivals: statistics.Strata) -> np.ndarray:
    told = [statistics.probability_of_improvement(*pair) for pair in zip(strata, rivals, strict=True)]
    return np.mean(told, axis=0)


def _same_tasks(groups: dict[str, list[Run]], strata: Sequence[str]) -> None:
    told = {
        label: sorted({tuple(str(run.settings.get(name)) for name in strata) for run in runs})
        for label, runs in groups.items()
    }
    first = next(iter(told))
    for label, tasks in told.items():
        if tasks != told[first]:
            shown = [", ".join("/".join(task) for task in of) for of in (told[first], tasks)]
            raise run_folder.RunFolderError(
                f"{first} has runs of {shown[0]} and {label} of {shown[1]}; compare on the same {', '.join(strata)}"
            )


def _end(runs: Sequence[Run], metric: str, upto: int | None, same_end: bool) -> tuple[int | None, str]:
    """The step up to which final values look, and what a final value is."""
    assessed = metric.startswith(ASSESSED)
    what = "the last assessment" if assessed else "the mean over the last tenth of the updates"
    if not same_end:
        return upto, f"{what} of each run, however long it is"
    common = set.intersection(*(set(series(run, metric, upto)[0].tolist()) for run in runs))
    if not common:
        raise run_folder.RunFolderError(
            f"{metric} was measured at no step that all runs share; give runs with one assess_every"
        )
    end = max(common)
    return end, f"{what}, at update {end:,}" if assessed else f"{what}, up to {end:,}"


def _final(run: Run, metric: str, end: int | None) -> float:
    steps, values = series(run, metric, end)
    return float(values[-1] if metric.startswith(ASSESSED) else values[steps > LATE * steps[-1]].mean())


def _thresholds(values: np.ndarray) -> np.ndarray:
    values = values[np.isfinite(values)]
    if not len(values):
        return np.linspace(0.0, 1.0, THRESHOLDS)
    room = 0.05 * np.ptp(values) or 0.05 * abs(values[0]) or 1.0
    return np.linspace(values.min() - room, values.max() + room, THRESHOLDS)


def _curves(runs: Sequence[Run], metric: str, upto: int | None, label: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps [S] that all runs of a group share, and their values [R, S]; neighbours as means where too many."""
    told = [dict(zip(*(part.tolist() for part in series(run, metric, upto)), strict=True)) for run in runs]
    steps = sorted(set.intersection(*map(set, told)))
    if not steps:
        raise run_folder.RunFolderError(
            f"the runs of {label} share no step of {metric}; give runs with one epoch and assess_every"
        )
    values = np.array([[of[step] for step in steps] for of in told], float)
    bins = np.array_split(np.arange(len(steps)), min(len(steps), POINTS))
    return np.array([np.mean(np.array(steps)[bin]) for bin in bins]), np.stack(
        [values[:, bin].mean(axis=1) for bin in bins], axis=1
    )
