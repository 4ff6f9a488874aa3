"""Grouping of runs for a comparison, and the checks that they are comparable.

Runs are comparable when they differ only in the settings that a comparison is about, in their seeds and in settings
that do not change what is learned. Any other difference raises RunFolderError: one line that names two runs and the
setting.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from skillhier.report.comparison_runs import BUDGETS, SEED, LoggedRun
from skillhier.train import run_folder

BUDGET = (  # settings of how much a run learns from: updates, data, and environment steps where it collects them
    *BUDGETS,
    "config.train.batch_size",
    "config.train.sequence_length",
    "config.train.unroll_length",
    "config.train.updates_per_collect",
    "config.env.worlds",
    "config.replay.prefill",
    "config.data.held_out",
    "config.data.seed",
)
DATA = "config.data.path"  # part of the budget by the data's digest, or by this path where a run recorded no digest
# settings that may always differ: they change how a run is logged, saved or split over programs, not what it learns
BOOKKEEPING = (
    "config.seeds",
    "config.train.updates_per_epoch",
    "config.train.eval_every",
    "config.train.save_every",
    "config.replay.in_checkpoint",
    "config.replay.max_gib",
)


def unknown_name(what: str, name: str, known: Iterable[str]) -> run_folder.RunFolderError:
    """The error for a name that none of the runs has."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"they have {', '.join(known)}"
    return run_folder.RunFolderError(f"no run has the {what} {name}; {hint}")


def group_runs(runs: Sequence[LoggedRun], names: Sequence[str]) -> dict[str, list[LoggedRun]]:
    """Runs by the values of the named settings, in the order of the values. Raises RunFolderError.

    Settings that have one value in all runs are left out of the labels, and so are names that all lists have in common.
    """
    known = {name for run in runs for name in run.settings}
    for name in names:
        if name not in known:
            raise unknown_name("setting", name, known)
    if not names:
        return {"all runs": list(runs)}
    varying = [name for name in names if len({_text(run.settings.get(name)) for run in runs}) > 1] or names
    last = [name.rpartition(".")[2] for name in varying]
    short = {name: end if last.count(end) == 1 else name for name, end in zip(varying, last, strict=True)}
    runs = sorted(runs, key=lambda run: [_order(run.settings.get(name)) for name in names])
    texts = {name: _short_texts([run.settings.get(name, "absent") for run in runs]) for name in varying}
    groups: dict[str, list[LoggedRun]] = {}
    for i, run in enumerate(runs):
        groups.setdefault(" ".join(f"{short[name]}={texts[name][i]}" for name in varying), []).append(run)
    return groups


def split_panels(groups: dict[str, list[LoggedRun]], names: Sequence[str]) -> dict[str, dict[str, list[LoggedRun]]]:
    """Panels by the values of the named settings, each with the groups of its runs; without names one panel."""
    if not names:
        return {"": groups}
    panels: dict[str, dict[str, list[LoggedRun]]] = {}
    for panel, members in group_runs([run for runs in groups.values() for run in runs], names).items():
        paths = {run.path for run in members}
        subsets = {label: [run for run in runs if run.path in paths] for label, runs in groups.items()}
        panels[panel] = {label: runs for label, runs in subsets.items() if runs}
    return panels


def _order(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float)
    return (0, value, "") if number else (1, 0.0, re.sub(r"\d+", lambda n: n[0].zfill(12), str(value)))


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _short_texts(values: Sequence[Any]) -> list[str]:
    """What stands for each value in a label: of lists of names, those that not all of them have."""
    whole = [_text(value) for value in values]
    lists = {value for value in values if _is_names(value)}
    shared = set.intersection(*map(set, lists)) if len(lists) > 1 else set()
    if not shared:
        return whole
    rest = {value: ",".join(["...", *(name for name in value if name not in shared)]) for value in lists}
    short = [rest[value] if _is_names(value) else text for value, text in zip(values, whole, strict=True)]
    return short if len(set(short)) == len(set(whole)) else whole


def _is_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def check_budgets(runs: Sequence[LoggedRun], strata: Sequence[str] = ()) -> None:
    """Raises RunFolderError where budgets differ, or within a stratum the data."""
    for name in BUDGET:
        _check_equal(
            runs, name, [run.settings.get(name, "absent") for run in runs], "budgets differ", "--different_budgets"
        )
    open_ended = [run for run in runs if run.budget is None]
    _check_equal(open_ended, "last step", [run.done for run in open_ended], "budgets differ", "--different_budgets")
    digests = all(run.data for run in runs)
    name = "data digest" if digests else DATA
    for stratum in by_stratum(runs, strata):
        values = [run.data[:12] if digests else run.settings.get(DATA, "absent") for run in stratum]
        _check_equal(stratum, name, values, "budgets differ", "--different_budgets")


def check_settings(groups: dict[str, list[LoggedRun]], named: Sequence[str], along: Sequence[str] = ()) -> None:
    """Raises RunFolderError where a setting differs that is not `named`, or where a run is there twice.

    A setting that only some groups have belongs to those groups.
    along: settings, or prefixes of settings, that may differ between groups but not within one
    """
    free = {*named, *BUDGET, *BOOKKEEPING, DATA, SEED}
    runs = [run for members in groups.values() for run in members]
    names = {name for run in runs for name in run.settings} - free
    for prefix in along:
        if not any(_matches(name, prefix) for run in runs for name in run.settings):
            raise unknown_name("setting", prefix, {name for run in runs for name in run.settings})
    # settings that all runs have come first: their values are why other settings are absent in some runs
    for name in sorted(names, key=lambda name: (any(name not in run.settings for run in runs), name)):
        for members in groups.values():
            values = [run.settings.get(name, "absent") for run in members]
            _check_equal(members, name, values, "two things vary under one curve", f"--group={name}")
        if any(_matches(name, prefix) for prefix in along):
            continue
        having = [run for run in runs if name in run.settings]
        values = [run.settings[name] for run in having]
        remedy = f"--group={name}, or --along={name} where it varies with the groups"
        _check_equal(having, name, values, "the groups differ in a setting that --group does not name", remedy)
    for label, members in groups.items():
        known: dict[tuple, LoggedRun] = {}
        for run in members:
            identity = tuple(_text(run.settings.get(name)) for name in (SEED, *named))
            if identity in known and SEED in run.settings:
                raise run_folder.RunFolderError(
                    f"{known[identity].path} and {run.path} are both seed {run.settings.get(SEED)} of {label}: a run "
                    "counts once; leave one of them out of --runs"
                )
            known[identity] = run


def varying_along(
    groups: dict[str, list[LoggedRun]], along: Sequence[str], named: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Settings below `along` that differ between the groups: setting -> group -> value."""
    names = sorted({name for runs in groups.values() for run in runs for name in run.settings} - {*named})
    varying = {}
    for name in names:
        values = {label: runs[0].settings[name] for label, runs in groups.items() if name in runs[0].settings}
        if len({_text(value) for value in values.values()}) > 1 and any(_matches(name, prefix) for prefix in along):
            varying[name] = values
    return varying


def _matches(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _check_equal(runs: Sequence[LoggedRun], name: str, values: Sequence[Any], why: str, remedy: str) -> None:
    for run, value in zip(runs, values, strict=True):
        if value != values[0]:
            raise run_folder.RunFolderError(
                f"{why}: {name} is {_text(values[0])} in {runs[0].path} and {_text(value)} in {run.path}; "
                f"leave runs out of --runs, or give {remedy}"
            )


def by_stratum(runs: Sequence[LoggedRun], strata: Sequence[str]) -> list[list[LoggedRun]]:
    """Runs by task, which the named settings identify; one stratum without names."""
    tasks: dict[tuple, list[LoggedRun]] = {}
    for run in runs:
        tasks.setdefault(tuple(_text(run.settings.get(name, "absent")) for name in strata), []).append(run)
    return [tasks[task] for task in sorted(tasks)]
