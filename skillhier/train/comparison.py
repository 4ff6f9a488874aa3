"""Runs that are to be compared: found, read, put into groups, and held to be comparable.

Two runs are compared when nothing differs between them but what was asked about, their seeds, and what does not
change what is learned. All else is refused (folder.Unfit) in one line that names two runs and the setting.
"""

import difflib
import glob
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from skillhier.train import checkpoint, folder, metrics

TOTAL = ("config.train.updates", "config.train.frames")  # the last line's step of a finished run
BUDGET = (  # of updates, of data, and of frames where the runs collect them
    *TOTAL,
    "config.train.batch",
    "config.train.length",
    "config.train.collect",
    "config.train.draws",
    "config.env.worlds",
    "config.replay.prefill",
    "config.data.held_out",
    "config.data.seed",
)
DATA = "config.data.path"  # part of the budget by its digest, or by this name where a run has kept no digest
SEED = "config.seed"
# what may differ unasked: it changes how a run is watched, saved or split over programs, not what it learns
BOOKKEEPING = (
    "config.seeds",
    "config.train.epoch",
    "config.train.assess_every",
    "config.train.save_every",
    "config.replay.saved",
    "config.replay.memory",
)


class Run(NamedTuple):
    """One seed of one run."""

    path: Path  # of the folder with its metrics.jsonl
    settings: dict[str, Any]  # the config's as 'config.train.batch', and 'entry'
    start: dict[str, Any]  # the circumstances of its last start
    data: str  # digest of what it learned from; empty where none is kept
    rows: list[dict[str, Any]]  # of metrics.jsonl

    @property
    def done(self) -> int:
        """The step of its last line."""
        return self.rows[-1]["step"] if self.rows else 0

    @property
    def total(self) -> int | None:
        """The step of its last line once it is finished; None where its config does not say."""
        return next((self.settings[name] for name in TOTAL if name in self.settings), None)

    @property
    def finished(self) -> bool:
        return bool(self.rows) and (self.total is None or self.done >= self.total)


class Place(NamedTuple):
    """Where one seed of one run is written down."""

    log: Path  # the folder of its metrics.jsonl
    home: Path  # the folder of its config.json
    seed: int | None  # where the folder's name says it; else the config does


def runs_in(path: Path) -> list[Place]:
    """The runs at a folder: its seeds, or itself, or what lies below it. What a run keeps inside is no run here."""
    seeds = [log.parent for log in path.glob("seed_*/metrics.jsonl") if log.parent.name[5:].isdigit()]
    if seeds:
        places = [(log, int(log.name[5:])) for log in seeds]
        places.sort(key=lambda place: place[1])
        return [Place(log, log if (log / "config.json").is_file() else path, seed) for log, seed in places]
    if any((path / name).is_file() for name in ("metrics.jsonl", "config.json")):
        return [Place(path, path, None)]
    return [place for below in sorted(filter(Path.is_dir, path.iterdir())) for place in runs_in(below)]


def find(patterns: Iterable[str]) -> list[Run]:
    """The runs at folders that match shell patterns, each once. Raises Unfit."""
    found: dict[Path, Run] = {}
    for pattern in patterns:
        matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        folders = [Path(match) for match in matches if Path(match).is_dir()]
        if not folders:
            raise folder.Unfit(f"no folder matches --runs={pattern}; give folders of runs, such as 'runs/sweep/*'")
        for path in folders:
            places = runs_in(path)
            if not places:
                raise folder.Unfit(f"{path} is no run and holds none: there is no metrics.jsonl; change --runs")
            found |= {place.log.resolve(): read(place) for place in places}
    return list(found.values())


def read(place: Place) -> Run:
    """A run as it is written down. Raises Unfit."""
    about = folder.described(place.home)
    settings = {f"config.{name}": _tupled(value) for name, value in about["config"].items()}
    if place.seed is not None:
        settings[SEED] = place.seed
    try:
        rows = metrics.rows(place.log / "metrics.jsonl")
        [row["step"] for row in rows]
    except (ValueError, KeyError, TypeError):
        raise folder.Unfit(f"{place.log / 'metrics.jsonl'} is no log of a run; leave it out of --runs") from None
    start = about["starts"][-1] if about["starts"] else {}
    data = _digest(place.log) or _digest(place.home)
    return Run(place.log, {"entry": about.get("entry", ""), **settings}, start, data, rows)


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _digest(home: Path) -> str:
    """The digest of the data, which every checkpoint holds."""
    for step in reversed(checkpoint.steps(home / "checkpoints")):
        try:
            return str(
                json.loads((home / "checkpoints" / str(step) / checkpoint.MANIFEST).read_text())["about"]["data"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ""


def unknown(what: str, given: str, known: Iterable[str]) -> folder.Unfit:
    """What is said of a name that none of the runs has."""
    known = sorted(known)
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    told = f"did you mean {near[0]}?" if near else f"they have {', '.join(known)}"
    return folder.Unfit(f"no run has the {what} {given}; {told}")


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


def hold_to_one_question(groups: dict[str, list[Run]], named: Sequence[str]) -> None:
    """Raises Unfit where anything differs that is not `named`; what only other groups have belongs to the group."""
    free = {*named, *BUDGET, *BOOKKEEPING, DATA, SEED}
    runs = [run for inside in groups.values() for run in inside]
    for name in sorted({name for run in runs for name in run.settings} - free):
        for inside in groups.values():
            told = [run.settings.get(name, "absent") for run in inside]
            _hold(inside, name, told, "two things vary under one curve", f"--group={name}")
        have = [run for run in runs if name in run.settings]
        told = [run.settings[name] for run in have]
        _hold(have, name, told, "more varies between the groups than was asked", f"--group={name}")
    for label, inside in groups.items():
        seen: dict[tuple, Run] = {}
        for run in inside:
            who = tuple(_shown(run.settings.get(name)) for name in (SEED, *named))
            if who in seen and SEED in run.settings:
                raise folder.Unfit(
                    f"{seen[who].path} and {run.path} are both seed {run.settings.get(SEED)} of {label}: a run counts "
                    "once; leave one of them out of --runs"
                )
            seen[who] = run


def _hold(runs: Sequence[Run], name: str, values: Sequence[Any], why: str, remedy: str) -> None:
    for run, value in zip(runs, values, strict=True):
        if value != values[0]:
            raise folder.Unfit(
                f"{why}: {name} is {_shown(values[0])} in {runs[0].path} and {_shown(value)} in {run.path}; "
                f"leave runs out of --runs, or give {remedy}"
            )


def stratified(runs: Sequence[Run], strata: Sequence[str]) -> list[list[Run]]:
    """Runs by task, which the named settings mark; one stratum where none are named."""
    found: dict[tuple, list[Run]] = {}
    for run in runs:
        found.setdefault(tuple(_shown(run.settings.get(name, "absent")) for name in strata), []).append(run)
    return [found[task] for task in sorted(found)]


def commit(run: Run) -> str:
    """A run's commit, short, with a + where the tree held changes."""
    name, _, changed = str(run.start.get("git_commit", "unknown")).partition("+")
    return name[:10] + ("+changes" if changed else "")


def machine(run: Run) -> str:
    """What a run ran on."""
    device, host = run.start.get("device", {}), run.start.get("machine", {})
    return f"{device.get('count', '?')} × {device.get('kind', '?')}, {host.get('cores', '?')} cores"


def differences(runs: Sequence[Run]) -> list[str]:
    """What differs between the runs and is no setting: code and machine."""
    found = []
    for what, values in {"commits": {commit(run) for run in runs}, "machines": {machine(run) for run in runs}}.items():
        if len(values) > 1:
            found.append(f"the runs are of several {what}: {'; '.join(sorted(values))}")
    if any(commit(run).endswith("+changes") for run in runs):
        found.append("some runs were made with changes that no commit holds (+changes)")
    return found
