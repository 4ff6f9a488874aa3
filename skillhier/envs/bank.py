"""Banks of episode starts that take simulation to compute: computed once and cached on disk as plain arrays."""

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


def cache() -> Path | None:
    """The user's folder of banks, created with access for the user only; None for a user without a home."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "skillhier" / "banks"
    except RuntimeError:
        return None


def file(name: str, *dependencies, folder: Path | None) -> Path | None:
    """The path of the bank `name`, with a hash of all `dependencies` of its rows in the file name."""
    if folder is None:
        return None
    digest = hashlib.sha256(repr((mujoco.__version__, *dependencies)).encode()).hexdigest()
    return folder / f"{name}-{digest[:16]}.npz"


def load(path: Path | None, size: int, shapes: dict[str, tuple[int, ...]], compute: Callable[[], Rows]) -> Rows:
    """The bank of `size` rows at `path`, or of `compute()`, then stored; `shapes` of parts without the row axis.

    path: None where there is no folder to store it in
    """
    if size < 1:
        raise ValueError(f"starts must be >= 1, got {size}; set env.starts")
    if path is None:
        return compute()
    rows = _read(path, {part: (size, *shape) for part, shape in shapes.items()})
    if rows is None:
        rows = compute()
        try:
            _write(path, rows)
        except OSError as error:
            logging.warning("the bank of starts could not be stored in %s: %s", path, error)
    return rows


def _read(path: Path, shapes: dict[str, tuple[int, ...]]) -> Rows | None:
    """The bank at `path`, or None if there is none or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            rows = {part: stored[part] for part in shapes}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logging.warning("the bank of starts %s is damaged (%s) and is recomputed", path, error)
        return None
    shapes_match = all(rows[part].shape == shape for part, shape in shapes.items())
    if not shapes_match or not all(x.dtype == np.float32 and np.isfinite(x).all() for x in rows.values()):
        size = next(iter(shapes.values()))[0]
        logging.warning("the bank of starts %s does not hold %d valid starts and is recomputed", path, size)
        return None
    return rows


def _write(path: Path, rows: Rows) -> None:
    """Stores the bank at `path` atomically, so that a reader gets all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".draft")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, **rows)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
