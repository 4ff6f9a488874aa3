"""The manifest of a checkpoint: what it holds and the SHA-256 of every file, itself verified."""

from pathlib import Path
from typing import Any, NamedTuple

from skillhier import files
from skillhier.train import ring_files
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
    """Updates of the complete checkpoints in a folder, in order, also of those that were damaged since."""
    return sorted(int(path.name) for path in Path(folder).glob("*") if path.name.isdigit() and path.is_dir())


def write(path: Path, manifest: Manifest) -> None:
    """Writes the manifest of a checkpoint whose files are those that are in the folder `path` now."""
    present = sorted(file for file in path.rglob("*") if file.is_file())
    content = manifest._asdict() | {
        "format": FORMAT,
        "rings": {name: ring._asdict() for name, ring in manifest.rings.items()},
        "files": {str(file.relative_to(path)): files.digest(file) for file in present},
    }
    files.write_sealed(path / MANIFEST, content)


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
        content = files.unseal(file.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing") from None
    except ValueError:
        raise CheckpointError(f"{file} is damaged") from None
    if content["format"] != FORMAT:
        raise CheckpointError(f"{file} has format {content['format']}, this version of skillhier reads format {FORMAT}")
    return content


def _parse(content: dict[str, Any]) -> Manifest:
    rings = {name: Ring.from_json(ring) for name, ring in content["rings"].items()}
    return Manifest(**{field: content[field] for field in Manifest._fields} | {"rings": rings})
