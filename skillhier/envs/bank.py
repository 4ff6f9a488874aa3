"""Rows that episodes open at where finding a start takes simulation: made once, kept on disk as plain arrays."""

import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np

Rows = dict[str, np.ndarray]  # part -> float32 [rows, ...]; all parts have the same number of rows


def cache() -> Path:
    """The user's folder of banks; made private to the user when first written to."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "skillhier" / "banks"


def file(name: str, *said, folder: Path) -> Path:
    """Where the bank `name` lies: what the file is called changes with all that is `said` of its rows."""
    digest = hashlib.sha256(repr((mujoco.__version__, *said)).encode()).hexdigest()
    return folder / f"{name}-{digest[:16]}.npz"


def load(path: Path, size: int, shapes: dict[str, tuple[int, ...]], make: Callable[[], Rows]) -> Rows:
    """The bank of `size` rows at `path`, or from `make()` and put there; parts have `shapes`, row axis left out."""
    if size < 1:
        raise ValueError(f"a bank of {size} starts is too small; set its size to 1 or more")
    rows = _read(path, {part: (size, *shape) for part, shape in shapes.items()})
    if rows is None:
        rows = make()
        try:
            _write(path, rows)
        except OSError as error:
            logging.warning("the bank of starts could not be kept in %s: %s", path, error)
    return rows


def _read(path: Path, shapes: dict[str, tuple[int, ...]]) -> Rows | None:
    """The bank at `path`, or None where there is none or it is not whole."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            rows = {part: stored[part] for part in shapes}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logging.warning("the bank of starts %s is damaged (%s) and is made anew", path, error)
        return None
    sound = all(rows[part].shape == shape for part, shape in shapes.items())
    if not sound or not all(x.dtype == np.float32 and np.isfinite(x).all() for x in rows.values()):
        size = next(iter(shapes.values()))[0]
        logging.warning("the bank of starts %s does not hold %d whole starts and is made anew", path, size)
        return None
    return rows


def _write(path: Path, rows: Rows) -> None:
    """Puts the bank at `path` in one move, so that a reader finds all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".draft")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, **rows)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
