"""Runs as they are written down: found below folders, read, and what they say of their code and machine."""

import glob
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from skillhier.train import checkpoint, metrics, run_folder

TOTAL = ("config.train.updates", "config.train.frames")  # the last line's step of a finished run
SEED = "config.seed"


class Run(NamedTuple):
    """One seed of one run."""

    path: Path  # of the folder with its metrics.jsonl
    settings: dict[str, Any]  # the config's as 'config.train.batch_size', and 'entry'
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
            raise run_folder.RunFolderError(
                f"no folder matches --runs={pattern}; give folders of runs, such as 'runs/sweep/*'"
            )
        for path in folders:
            places = runs_in(path)
            if not places:
                raise run_folder.RunFolderError(
                    f"{path} is no run and holds none: there is no metrics.jsonl; change --runs"
                )
            found |= {place.log.resolve(): read(place) for place in places}
    return list(found.values())


def read(place: Place) -> Run:
    """A run as it is written down. Raises Unfit."""
    about = run_folder.read_config(place.home)
    settings = {
        f"config.{name}": tuple(value) if isinstance(value, list) else value for name, value in about["config"].items()
    }
    if place.seed is not None:
        settings[SEED] = place.seed
    try:
        rows = metrics.rows(place.log / "metrics.jsonl")
        [row["step"] for row in rows]
    except (ValueError, KeyError, TypeError):
        raise run_folder.RunFolderError(
            f"{place.log / 'metrics.jsonl'} is no log of a run; leave it out of --runs"
        ) from None
    start = about["starts"][-1] if about["starts"] else {}
    data = _digest(place.log) or _digest(place.home) or _digest(place.log.parent)  # seeds share a checkpoint
    return Run(place.log, {"entry": about.get("entry", ""), **settings}, start, data, rows)


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


def commit(run: Run) -> str:
    """A run's commit, short, with a + where the tree held changes."""
    name, _, changed = str(run.start.get("git_commit", "unknown")).partition("+")
    return name[:10] + ("+changes" if changed else "")


def machine(run: Run) -> str:
    """What a run ran on."""
    device, host = run.start.get("device", {}), run.start.get("machine", {})
    return f"{device.get('count', '?')} × {device.get('kind', '?')}, {host.get('cores', '?')} cores"


def differences(runs: Sequence[Run]) -> list[str]:
    """What differs between the runs and is no setting: code, packages, machine."""
    told = {"commits": {commit(run) for run in runs}, "machines": {machine(run) for run in runs}}
    for package in sorted({package for run in runs for package in run.start.get("versions", {})}):
        told[f"versions of {package}"] = {str(run.start.get("versions", {}).get(package, "?")) for run in runs}
    found = [
        f"the runs are of several {what}: {'; '.join(sorted(values))}"
        for what, values in told.items()
        if len(values) > 1
    ]
    if any(commit(run).endswith("+changes") for run in runs):
        found.append("some runs were made with changes that no commit holds (+changes)")
    return found
