"""The run folder: its lock, its config, and the provenance of every start of the run.

config.json     the config; for each start of the run its command, versions, git commit, device, flags
metrics.jsonl   a line an epoch
tensorboard/    the same as events
tracker.json    with --track: the id of the run in that library; wandb/ what it keeps there
checkpoints/    see checkpoint.py
origin.json     of agents that start from pretrained skills: the settings of those skills
seed_<n>/       with several seeds: the folder of a run of that seed alone, without checkpoints
report.html     the page of the run
summary.json    results of the finished run, written last: with it a run is done; removed while the run goes on
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from skillhier import files

PACKAGES = ("jax", "jaxlib", "flax", "optax", "distrax", "orbax-checkpoint", "mujoco", "mujoco-mjx", "numpy")
_LOCKS = {}  # open lock files by folder; a folder stays locked until its process ends

ORIGIN = "origin.json"


class RunFolderError(ValueError):
    """A folder that this process cannot use; the message is one line with the reason and the remedy."""


def open_run(
    path: Path, entry: str, settings: dict[str, Any], free: tuple[str, ...] = ()
) -> tuple[Path, dict[str, str]]:
    """Locks and opens a run folder: (its path, the fingerprint that checkpoints of the run must share).

    `settings` are the config's, by dotted names; those in `free` may change when a run resumes. Raises RunFolderError
    for a folder that was begun with other settings, or that another process uses.
    """
    path = Path(path)
    settings = json.loads(json.dumps(settings))
    file = path / "config.json"
    starts = check(path, settings, free) if file.is_file() else []
    try:
        path.mkdir(parents=True, exist_ok=True)
        files.sync(path.parent)
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
    files.write_sealed(file, {"entry": entry, "config": settings, "starts": [*starts, provenance()]})
    return path, fingerprint(settings, free)


def check(path: Path, settings: dict[str, Any], free: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The former starts of the run in a folder. Raises RunFolderError where it was begun with other settings."""
    former = read_config(path)
    _check_settings(path, former["config"], json.loads(json.dumps(settings)), free)
    return former["starts"]


def take_back(path: Path) -> None:
    """Removes what `open_run` has written to a folder that held no run, unless there are results in it by now."""
    begun = ("config.json", ORIGIN, ".lock")
    if any(file.name not in begun and file.stat().st_size for file in path.rglob("*") if file.is_file()):
        return
    for name in begun:
        (path / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.rmdir()


def _check_settings(path: Path, former: dict[str, Any], settings: dict[str, Any], free: Sequence[str]) -> None:
    """Raises RunFolderError where a run's settings differ from those that its folder was begun with.

    Shared names are compared first: a value, such as the agent's name, may be why other names are absent.
    """
    shared = former.keys() & settings.keys()
    for name in sorted({*former, *settings} - set(free), key=lambda name: (name not in shared, name)):
        then, now = former.get(name, "absent"), settings.get(name, "absent")
        if then != now:
            what = (
                "former value" if name in shared else "settings and the version that began it (names may have changed)"
            )
            raise RunFolderError(
                f"{path} was begun with config.{name}={then}, now it is {now}; continue with the {what}, "
                "or choose another --workdir"
            )


def fingerprint(settings: dict[str, Any], free: tuple[str, ...] = ()) -> dict[str, str]:
    """What all starts of a run must have in common: a digest of the settings that are not free."""
    fixed = {name: value for name, value in settings.items() if name not in free}
    return {"config": hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()}


def seed_folders(path: Path, seed: int, seeds: int) -> list[Path]:
    """Where each seed of a run logs: the run folder, or with several seeds RUN/seed_<n> for each, created if missing.

    Such a folder is that of a run of one seed, except that its checkpoints are in the run folder.
    """
    if seeds == 1:
        return [path]
    folders = []
    for number in range(seed, seed + seeds):
        folders.append(path / f"seed_{number}")
        folders[-1].mkdir(exist_ok=True)
        about = read_config(path)
        about["config"] |= {"seed": number, "seeds": 1}
        files.write_sealed(folders[-1] / "config.json", about)
    return folders


def settings(path: Path) -> dict[str, Any]:
    """The config of the run in a folder, as nested dictionaries; lists become tuples. Raises RunFolderError."""
    try:
        return nested(read_config(Path(path))["config"])
    except (AttributeError, TypeError):
        file = Path(path) / "config.json"
        raise RunFolderError(f"{file} has a setting of the name of a group; give the folder of a run") from None


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted names as nested dictionaries; lists become tuples."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, last = name.split(".")
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = tuple(value) if isinstance(value, list) else value
    return tree


def read_config(path: Path) -> dict[str, Any]:
    """The content of a run folder's config.json: entry, config, starts. Raises RunFolderError."""
    file = path / "config.json"
    try:
        data = file.read_bytes()
        content = json.loads(data)
        content["config"].items(), content["starts"].copy()
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise RunFolderError(f"{file} is no config of a run; give the folder of a run, or a new one") from None
    if set(content) == {"entry", "config", "starts"}:  # of earlier versions
        return content
    try:
        return files.unseal(data)
    except ValueError:
        raise RunFolderError(f"{file} is damaged; put back a copy of it, or choose another --workdir") from None


def read_origin(path: Path) -> dict[str, Any]:
    """The settings that the agent of the run in a folder shares with its skills; lists become tuples.

    Raises RunFolderError.
    """
    try:
        content = files.unseal((path / ORIGIN).read_bytes())
    except (OSError, ValueError):
        raise RunFolderError(f"{path / ORIGIN} is missing or damaged; the command of its run writes it anew") from None
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def read_summary(path: Path) -> dict[str, Any]:
    """The content of the summary.json of a run that is done. Raises RunFolderError."""
    try:
        return dict(json.loads((path / "summary.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        raise RunFolderError(
            f"{path / 'summary.json'} is missing or damaged; the command of its run writes it anew"
        ) from None


def provenance() -> dict[str, Any]:
    """What a run depends on besides its config: command, versions, commit, devices, machine, XLA flags."""
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
        done = subprocess.run(
            ["git", *command], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "" if command[0] == "status" else "unknown"
    return done.stdout.strip()
