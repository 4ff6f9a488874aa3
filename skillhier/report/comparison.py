"""Runs that are to be compared: put into groups, and held to be comparable.

Two runs are compared when nothing differs between them but what was asked about, their seeds, and what does not
change what is learned. All else is refused (folder.Unfit) in one line that names two runs and the setting.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from skillhier.report.comparison_runs import SEED, TOTAL, Run
from skillhier.train import run_folder

BUDGET = (  # of updates, of data, and of frames where the runs collect them
    *TOTAL,
    "config.train.batch_size",
    "config.train.sequence_length",
    "config.train.unroll_length",
    "config.train.updates_per_collect",
    "config.env.worlds",
    "config.replay.prefill",
    "config.data.held_out",
    "config.data.seed",
)
DATA = "config.data.path"  # part of the budget by its digest, or by this name where a run has kept no digest
# what may differ unasked: it changes how a run is watched, saved or split over programs, not what it learns
BOOKKEEPING = (
    "config.seeds",
    "config.train.updates_per_epoch",
    "config.train.eval_every",
    "config.train.save_every",
    "config.replay.in_checkpoint",
    "config.replay.max_gib",
)


def unknown(what: str, given: str, known: Iterable[str]) -> run_folder.RunFolderError:
    """What is said of a name that none of the runs has."""
    known = sorted(known)
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    told = f"did you mean {near[0]}?" if near else f"they have {', '.join(known)}"
    return run_folder.RunFolderError(f"no run has the {what} {given}; {told}")


def grouped(runs: Sequence[Run], names: Sequence[str]) -> dict[str, list[Run]]:
    """Runs by the values of the named settings, in the order of the values. Raises Unfit.

    Settings that are the same in all runs are left out of the groups' names.
    """
    known = {name for run in runs for name in run.settings}
    for name in names:
        if name not in known:
            raise unknown("setting", name, known)
    if not names:
        return {"all runs": list(runs)}
    shown = [name for name in names if len({_shown(run.settings.get(name)) for run in runs}) > 1] or names
    last = [name.rpartition(".")[2] for name in shown]
    short = {name: end if last.count(end) == 1 else name for name, end in zip(shown, last, strict=True)}
    found: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: [_order(run.settings.get(name)) for name in names]):
        label = " ".join(f"{short[name]}={_shown(run.settings.get(name, 'absent'))}" for name in shown)
        found.setdefault(label, []).append(run)
    return found


def panelled(groups: dict[str, list[Run]], names: Sequence[str]) -> dict[str, dict[str, list[Run]]]:
    """The groups by the values of the named settings, each with the runs that have them; one nameless panel of none."""
    if not names:
        return {"": groups}
    found: dict[str, dict[str, list[Run]]] = {}
    for panel, there in grouped([run for inside in groups.values() for run in inside], names).items():
        paths = {run.path for run in there}
        told = {label: [run for run in inside if run.path in paths] for label, inside in groups.items()}
        found[panel] = {label: inside for label, inside in told.items() if inside}
    return found


def _order(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float)
    return (0, value, "") if number else (1, 0.0, re.sub(r"\d+", lambda n: n[0].zfill(12), str(value)))


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def hold_to_one_budget(runs: Sequence[Run], strata: Sequence[str] = ()) -> None:
    """Raises Unfit where two runs learned from more, longer or from other data; from other data of the same task."""
    for name in BUDGET:
        _hold(runs, name, [run.settings.get(name, "absent") for run in runs], "budgets differ", "--different_budgets")
    unsaid = [run for run in runs if run.total is None]
    _hold(unsaid, "last step", [run.done for run in unsaid], "budgets differ", "--different_budgets")
    digests = all(run.data for run in runs)
    name = "data digest" if digests else DATA
    for stratum in stratified(runs, strata):
        told = [run.data[:12] if digests else run.settings.get(DATA, "absent") for run in stratum]
        _hold(stratum, name, told, "budgets differ", "--different_budgets")


def hold_to_one_question(groups: dict[str, list[Run]], named: Sequence[str], along: Sequence[str] = ()) -> None:
    """Raises Unfit where anything differs that is not `named`; what only other groups have belongs to the group.

    along: settings, or what whole families of them begin with, that may differ between the groups, never within one
    """
    free = {*named, *BUDGET, *BOOKKEEPING, DATA, SEED}
    runs = [run for inside in groups.values() for run in inside]
    names = {name for run in runs for name in run.settings} - free
    for given in along:
        if not any(_below(name, given) for run in runs for name in run.settings):
            raise unknown("setting", given, {name for run in runs for name in run.settings})
    # what all runs have comes first: it is why others have settings of their own
    for name in sorted(names, key=lambda name: (any(name not in run.settings for run in runs), name)):
        for inside in groups.values():
            told = [run.settings.get(name, "absent") for run in inside]
            _hold(inside, name, told, "two things vary under one curve", f"--group={name}")
        if any(_below(name, given) for given in along):
            continue
        have = [run for run in runs if name in run.settings]
        told = [run.settings[name] for run in have]
        remedy = f"--group={name}, or --along={name} where it goes with the groups"
        _hold(have, name, told, "more varies between the groups than was asked", remedy)
    for label, inside in groups.items():
        seen: dict[tuple, Run] = {}
        for run in inside:
            who = tuple(_shown(run.settings.get(name)) for name in (SEED, *named))
            if who in seen and SEED in run.settings:
                raise run_folder.RunFolderError(
                    f"{seen[who].path} and {run.path} are both seed {run.settings.get(SEED)} of {label}: a run counts "
                    "once; leave one of them out of --runs"
                )
            seen[who] = run


def going_along(groups: dict[str, list[Run]], along: Sequence[str], named: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What differs between the groups because it goes along with them: setting -> group -> value."""
    names = sorted({name for inside in groups.values() for run in inside for name in run.settings} - {*named})
    found = {}
    for name in names:
        told = {label: inside[0].settings[name] for label, inside in groups.items() if name in inside[0].settings}
        if len({_shown(value) for value in told.values()}) > 1 and any(_below(name, given) for given in along):
            found[name] = told
    return found


def _below(name: str, given: str) -> bool:
    return name == given or name.startswith(f"{given}.")


def _hold(runs: Sequence[Run], name: str, values: Sequence[Any], why: str, remedy: str) -> None:
    for run, value in zip(runs, values, strict=True):
        if value != values[0]:
            raise run_folder.RunFolderError(
                f"{why}: {name} is {_shown(values[0])} in {runs[0].path} and {_shown(value)} in {run.path}; "
                f"leave runs out of --runs, or give {remedy}"
            )


def stratified(runs: Sequence[Run], strata: Sequence[str]) -> list[list[Run]]:
    """Runs by task, which the named settings mark; one stratum where none are named."""
    found: dict[tuple, list[Run]] = {}
    for run in runs:
        found.setdefault(tuple(_shown(run.settings.get(name, "absent")) for name in strata), []).append(run)
    return [found[task] for task in sorted(found)]
