"""Runs as they are logged: searched below folders and read, with the code and the machine that each ran on."""

import glob
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from skillhier.train import checkpoint, manifest, metrics, run_folder

BUDGETS = ("config.train.updates", "config.train.frames")  # settings that give the last row's step of a finished run
SEED = "config.seed"


class LoggedRun(NamedTuple):
    """One seed of one run."""

    path: Path  # of the folder with its metrics.jsonl
    settings: dict[str, Any]  # the config's as 'config.train.batch_size', and 'entry'
    start: dict[str, Any]  # provenance of its last start
    data: str  # digest of the data set; empty where the run recorded none
    rows: list[dict[str, Any]]  # of metrics.jsonl

    @property
    def done(self) -> int:
        """Updates at the last row."""
        return self.rows[-1]["step"] if self.rows else 0

    @property
    def budget(self) -> int | None:
        """Updates of the finished run; None where its config does not say."""
        return next((self.settings[name] for name in BUDGETS if name in self.settings), None)

    @property
    def finished(self) -> bool:
        return bool(self.rows) and (self.budget is None or self.done >= self.budget)


class RunPaths(NamedTuple):
    """Where one seed of one run is logged."""

    log: Path  # the folder of its metrics.jsonl
    config: Path  # the folder of its config.json
    seed: int | None  # from the folder's name; None where only the config gives it


def runs_in(path: Path) -> list[RunPaths]:
    """The runs at a folder: its seeds, else itself, else those in subfolders. Subfolders of a run are no runs."""
    seeds = [log.parent for log in path.glob("seed_*/metrics.jsonl") if log.parent.name[5:].isdigit()]
    if seeds:
        numbered = sorted(((log, int(log.name[5:])) for log in seeds), key=lambda pair: pair[1])
        return [RunPaths(log, log if (log / "config.json").is_file() else path, seed) for log, seed in numbered]
    if any((path / name).is_file() for name in ("metrics.jsonl", "config.json")):
        return [RunPaths(path, path, None)]
    return [run for folder in sorted(filter(Path.is_dir, path.iterdir())) for run in runs_in(folder)]


def find(patterns: Iterable[str]) -> list[LoggedRun]:
    """The runs in folders that match shell patterns, each once. Raises RunFolderError."""
    runs: dict[Path, LoggedRun] = {}
    for pattern in patterns:
        matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        folders = [Path(match) for match in matches if Path(match).is_dir()]
        if not folders:
            above = next(path for path in (Path(pattern), *Path(pattern).parents) if path.is_dir())
            if not os.access(above, os.R_OK | os.X_OK):
                raise run_folder.RunFolderError(f"--runs={pattern}: no permission to read {above}; get it")
            raise run_folder.RunFolderError(
                f"no folder matches --runs={pattern}; give folders of runs, such as 'runs/sweep/*'"
            )
        for path in folders:
            paths = runs_in(path)
            if not paths:
                raise run_folder.RunFolderError(
                    f"{path} is no run and contains none: there is no metrics.jsonl; change --runs"
                )
            runs |= {run.log.resolve(): read(run) for run in paths}
    return list(runs.values())


def read(paths: RunPaths) -> LoggedRun:
    """A run from its folder. Raises RunFolderError."""
    about = run_folder.read_config(paths.config)
    settings = {
        f"config.{name}": tuple(value) if isinstance(value, list) else value for name, value in about["config"].items()
    }
    if paths.seed is not None:
        settings[SEED] = paths.seed
    try:
        rows = metrics.rows(paths.log / metrics.RECORD)
    except metrics.RecordError as error:
        raise run_folder.RunFolderError(f"{error}; or leave it out of --runs") from None
    for row in rows:
        if metrics.ENV_STEPS in row:  # runs of earlier versions count no frames
            row.setdefault(metrics.FRAMES, row[metrics.ENV_STEPS] * settings.get("config.env.repeat", 1))
    start = about["starts"][-1] if about["starts"] else {}
    data = _digest(paths.log) or _digest(paths.config) or _digest(paths.log.parent)  # seeds share a checkpoint
    return LoggedRun(paths.log, {"entry": about.get("entry", ""), **settings}, start, data, rows)


def _digest(folder: Path) -> str:
    """The digest of the data set, which every checkpoint of a run on demonstrations records."""
    for step in reversed(checkpoint.steps(folder / "checkpoints")):
        try:
            return str(
                json.loads((folder / "checkpoints" / str(step) / manifest.MANIFEST).read_text())["about"]["data"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ""


def commit(run: LoggedRun) -> str:
    """A run's commit, abbreviated, with +changes where the working tree had uncommitted changes."""
    name, _, changed = str(run.start.get("git_commit", "unknown")).partition("+")
    return name[:10] + ("+changes" if changed else "")


def machine(run: LoggedRun) -> str:
    """The devices and cores that a run ran on."""
    device, host = run.start.get("device", {}), run.start.get("machine", {})
    return f"{device.get('count', '?')} × {device.get('kind', '?')}, {host.get('cores', '?')} cores"


def differences(runs: Sequence[LoggedRun]) -> list[str]:
    """Notes on what differs between the runs beside their settings: commits, packages, machines."""
    values = {"commits": {commit(run) for run in runs}, "machines": {machine(run) for run in runs}}
    for package in sorted({package for run in runs for package in run.start.get("versions", {})}):
        values[f"versions of {package}"] = {str(run.start.get("versions", {}).get(package, "?")) for run in runs}
    notes = [
        f"the runs are of several {what}: {'; '.join(sorted(several))}"
        for what, several in values.items()
        if len(several) > 1
    ]
    if any(commit(run).endswith("+changes") for run in runs):
        notes.append("some runs were started from a working tree with uncommitted changes (+changes)")
    return notes
