"""The run folder: who works in it, with which config, under which circumstances.

config.json     the config, and for each start of the run its command, versions, git commit, device, flags
metrics.jsonl   a line an epoch
tensorboard/    the same as events
checkpoints/    see checkpoint.py
origin.json    of skills put to work: how they were made
seed_<n>/       with several seeds: what the run of that seed alone would keep, but for its checkpoints
summary.json    what came out, in numbers; there while the run is done, gone while it goes on
report.html     the same to look at
"""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

from skillhier.train import metrics

PACKAGES = ("jax", "jaxlib", "flax", "optax", "distrax", "orbax-checkpoint", "mujoco", "mujoco-mjx", "numpy")
_LOCKS = {}  # open files by folder; a folder stays locked until its process ends, however it ends

ORIGIN = "origin.json"


class RunFolderError(ValueError):
    """A folder this run cannot work in; one line that says why and what to do."""


def open_run(
    path: Path, entry: str, settings: dict[str, Any], free: tuple[str, ...] = ()
) -> tuple[Path, dict[str, str]]:
    """Opens a run folder for this process: (its path, what a continued run must share with the one that began it).

    `settings` are the config's, by dotted names; those in `free` may change when a run goes on. Raises Unfit for a
    folder that was begun with other settings, or that another process works in.
    """
    path = Path(path)
    settings = json.loads(json.dumps(settings))
    file = path / "config.json"
    starts = []
    if file.is_file():
        former = read_config(path)
        for name in sorted({*settings, *former["config"]} - set(free)):
            then, now = former["config"].get(name, "absent"), settings.get(name, "absent")
            if then != now:
                raise RunFolderError(
                    f"{path} was begun with config.{name}={then}, now it is {now}; "
                    "go on with the former, or choose another --workdir"
                )
        starts = former["starts"]
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = _LOCKS.get(path.resolve()) or (path / ".lock").open("w")
    except OSError as error:
        raise RunFolderError(
            f"the run folder {path} cannot be written: {error.strerror}; choose another --workdir"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RunFolderError(f"another process works in {path}; wait for it, or choose another --workdir") from None
    _LOCKS[path.resolve()] = lock
    (path / "summary.json").unlink(missing_ok=True)
    metrics.write_json(file, {"entry": entry, "config": settings, "starts": [*starts, provenance()]})
    return path, fingerprint(settings, free)


def fingerprint(settings: dict[str, Any], free: tuple[str, ...] = ()) -> dict[str, str]:
    """What a continued run must share with the one that began it: a digest of all settings that are not free."""
    held = {name: value for name, value in settings.items() if name not in free}
    return {"config": hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()}


def seed_folders(path: Path, seed: int, seeds: int) -> list[Path]:
    """Where each seed of a run keeps its figures: the run folder, or with several seeds RUN/seed_<n> for each.

    Such a folder is that of a run of one seed, but that its checkpoint lies above it; it is made where there is none.
    """
    if seeds == 1:
        return [path]
    found = []
    for number in range(seed, seed + seeds):
        found.append(path / f"seed_{number}")
        found[-1].mkdir(exist_ok=True)
        about = read_config(path)
        about["config"] |= {"seed": number, "seeds": 1}
        metrics.write_json(found[-1] / "config.json", about)
    return found


def settings(path: Path) -> dict[str, Any]:
    """The config that the run in a folder was begun with, as nested dictionaries; lists become tuples. Raises Unfit."""
    return nested(read_config(Path(path))["config"])


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted names as nested dictionaries; lists become tuples."""
    found: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, last = name.split(".")
        inner = found
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = tuple(value) if isinstance(value, list) else value
    return found


def read_config(path: Path) -> dict[str, Any]:
    """What config.json of a run folder says: entry, config, starts. Raises Unfit."""
    try:
        found = json.loads((path / "config.json").read_text())
        found["config"].items(), found["starts"].copy()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise RunFolderError(
            f"{path / 'config.json'} is no config of a run; give the folder of a run, or a new one"
        ) from None
    return found


def provenance() -> dict[str, Any]:
    """What a run depends on besides its config."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    devices = jax.devices()
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "versions": versions,
        "git_commit": _git("rev-parse", "HEAD") + ("+changes" if _git("status", "--porcelain") else ""),
        "device": {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)},
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "flags": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(("XLA_", "JAX_"))},
    }


def _git(*command: str) -> str:
    try:
        told = subprocess.run(
            ["git", *command], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "" if command[0] == "status" else "unknown"
    return told.stdout.strip()
