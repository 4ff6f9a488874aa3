"""The manifest of a checkpoint: what it holds and the SHA-256 of every file, written last and itself verified."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from skillhier.train import metrics, ring_files
from skillhier.train.ring_files import CheckpointError, Ring

FORMAT = 2  # raised when old checkpoints can no longer be read
MANIFEST = "manifest.json"


class Manifest(NamedTuple):
    step: int
    about: dict[str, str]  # what must be the same when the run is resumed
    left_out: list[str]  # names of subtrees that were not saved
    leaves: dict[str, dict[str, Any]]  # name -> shape and dtype of every leaf
    rings: dict[str, Ring]  # the replays in the state, by name


def steps(folder: Path) -> list[int]:
    """Updates of the complete checkpoints in a folder, in order."""
    manifests = Path(folder).glob(f"*/{MANIFEST}")
    return sorted(int(path.parent.name) for path in manifests if path.parent.name.isdigit())


def write(path: Path, manifest: Manifest) -> None:
    """Makes the checkpoint in folder `path` a complete one, whose files are those that are there now."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    content = manifest._asdict() | {
        "format": FORMAT,
        "rings": {name: ring._asdict() for name, ring in manifest.rings.items()},
        "files": {str(file.relative_to(path)): ring_files.digest(file) for file in files},
    }
    metrics.write_json(path / MANIFEST, content | {"digest": _digest(content)})
    ring_files.sync(path)


def read(path: Path) -> Manifest:
    """The manifest of the checkpoint in folder `path`. Raises CheckpointError."""
    return _parse(_content(path))


def verify(path: Path) -> Manifest:
    """The manifest of the checkpoint in folder `path`, after comparing every file in it with its SHA-256.

    Segments of rings lie elsewhere and are verified by ring_files. Raises CheckpointError.
    """
    content = _content(path)
    for name, sha256 in content["files"].items():
        ring_files.verify_file(path / name, sha256)
    return _parse(content)


def _content(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        data = file.read_bytes()
        content = json.loads(data)
        damaged, version = content.pop("digest") != _digest(content) or data[-1:] != b"\n", content["format"]
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        damaged, version = True, FORMAT
    # format 1 took its digest in another way, so the version comes first
    if version != FORMAT:
        raise CheckpointError(f"{file} has format {version}, this version of skillhier reads format {FORMAT}")
    if damaged:
        raise CheckpointError(f"{file} is damaged")
    return content


def _parse(content: dict[str, Any]) -> Manifest:
    rings = {name: Ring.from_json(ring) for name, ring in content["rings"].items()}
    return Manifest(**{field: content[field] for field in Manifest._fields} | {"rings": rings})


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
