"""Metrics in Weights & Biases or Trackio, beside those in the run folder, if a run is asked to.

One interface for both, since they share init, log and finish. Nothing leaves the machine by default: W&B writes into
RUN/wandb (`wandb sync` sends it), Trackio into its local database (`trackio sync` does). As TensorBoard's events, what
is tracked is rebuilt from the JSON lines when a run resumes, so that neither holds a step twice nor lacks one. A W&B
run online cannot be rebuilt; there, rows of steps that it has are not logged again.
"""

import contextlib
import importlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from skillhier import files
from skillhier.train import metrics, run_folder

LIBRARIES = ("wandb", "trackio")
RECORD = "tracker.json"  # in the run folder: the id of the run there
SENDS = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")  # in the environment they would have Trackio send
QUIET = {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_ERROR_REPORTING": "false"}


class Tracker(NamedTuple):
    """Where metrics go beside the run folder."""

    library: str  # one of LIBRARIES
    project: str = "skillhier"
    online: bool = False  # send while the run goes on; W&B only


def check(tracker: Tracker) -> None:
    """Raises ValueError, one line: a library that is not known or not installed, or that does not send by itself."""
    if tracker.library not in LIBRARIES:
        raise ValueError(f"tracker '{tracker.library}' is not known; choose {' or '.join(LIBRARIES)}")
    if tracker.online and tracker.library == "trackio":
        raise ValueError(
            f"trackio is kept on this machine while a run goes on; `trackio sync --project={tracker.project} "
            "--space-id=NAME` sends it, so leave --track_online out"
        )
    _library(tracker.library)


def writers(tracker: Tracker, path: Path, places: Sequence[Path]) -> list[metrics.Writer]:
    """A writer for each seed's folder in `places`, all into one run named after the run folder `path`.

    Metrics of several seeds are named seed_<n>/NAME. What is no number is left out. Raises ValueError as `check`.
    """
    check(tracker)
    library, settings = _library(tracker.library), run_folder.read_config(path)
    identity = _identity(path)
    run = {"wandb": _open_wandb, "trackio": _open_trackio}[tracker.library](
        library, tracker, path, identity, {"entry": settings["entry"], **settings["config"]}
    )
    logs = run if hasattr(run, "log") else library
    begin = getattr(run, "step", 0) if tracker.online else 0  # the first step that the library does not have

    def write(step: int, values: dict[str, float | None], prefix: str) -> None:
        numbers = {
            f"{prefix}{name}": value
            for name, value in values.items()
            if name != "step" and value is not None and math.isfinite(value)
        }
        if step >= begin and numbers:
            logs.log(numbers, step=step)

    prefixes = [f"{place.name}/" if len(places) > 1 else "" for place in places]
    past = [(row["step"], i, row) for i, place in enumerate(places) for row in metrics.rows(place / metrics.RECORD)]
    for step, i, row in sorted(past, key=lambda row: row[:2]):
        write(step, row, prefixes[i])
    finish = [logs.finish] + [lambda: None] * (len(places) - 1)
    return [
        metrics.Writer(lambda step, values, prefix=prefix: write(step, values, prefix), close)
        for prefix, close in zip(prefixes, finish, strict=True)
    ]


def _open_wandb(library: ModuleType, tracker: Tracker, path: Path, identity: str, config: dict) -> Any:
    if not tracker.online:  # every start writes the whole run into a folder of its own
        for former in (path / "wandb").glob(f"offline-run-*-{identity}"):
            shutil.rmtree(former)
    return library.init(
        project=tracker.project, name=path.resolve().name, id=identity, config=config, dir=str(path),
        mode="online" if tracker.online else "offline", resume="allow" if tracker.online else None,
    )  # fmt: skip


def _open_trackio(library: ModuleType, tracker: Tracker, path: Path, identity: str, config: dict) -> Any:
    name = f"{path.resolve().name}-{identity}"
    with contextlib.suppress(ValueError):  # no such project yet
        for run in [run for run in library.Api().runs(tracker.project) if run.name == name]:
            run.delete()
    with _unset(SENDS):
        return library.init(project=tracker.project, name=name, config=config, resume="never", embed=False)


def _library(name: str) -> ModuleType:
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(f"tracking with {name} needs the extra '{name}': pip install -e '.[{name}]'") from None


def _identity(path: Path) -> str:
    file = path / RECORD
    if not file.is_file():
        files.write_json(file, {"id": uuid.uuid4().hex[:8]})
    try:
        return json.loads(file.read_bytes())["id"]
    except (ValueError, KeyError, TypeError):
        raise run_folder.RunFolderError(
            f"{file} is damaged; put back a copy of it, or delete it to begin another run there"
        ) from None


@contextlib.contextmanager
def _unset(names: Sequence[str]) -> Iterator[None]:
    former = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(former)
