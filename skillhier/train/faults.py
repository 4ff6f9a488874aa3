"""Records of non-finite updates: the learner's state, the batch and the key of the update that ended a run.

A record is one .npz of plain arrays by name ('learner/params/low/kernel', 'batch/step/reward', 'key') with the run's
config.json as text in 'run'. No pickle: numpy.load opens it.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from skillhier import files
from skillhier.train import checkpoint, run_folder
from skillhier.train.loop import NonFiniteError
from skillhier.types import Key


class FaultRecord(NamedTuple):
    """The content of a record."""

    run: dict[str, Any]  # config.json of the run that wrote it, with 'update' (updates done) and 'seed'
    arrays: dict[str, np.ndarray]  # by name; keys as raw numbers

    def fill(self, top: str, template: Any) -> Any:
        """The tree saved under `top` ('learner', 'batch'), structured as `template`. Raises RunFolderError."""
        leaves = []
        for name, leaf in checkpoint.named(template).items():
            array = self.arrays.get(f"{top}/{name}")
            if array is None or array.shape != leaf.shape or array.dtype != leaf.dtype:
                what = "lacks it" if array is None else f"has {array.dtype} {list(array.shape)}"
                raise run_folder.RunFolderError(
                    f"the learner needs {top}/{name} as {leaf.dtype} {list(leaf.shape)}, the file {what}; "
                    "replay it with the version that wrote it"
                )
            leaves.append(jax.numpy.asarray(array))
        return jax.tree.unflatten(jax.tree.structure(template), leaves)

    def tree(self, top: str) -> dict[str, Any]:
        """The arrays below `top` as nested dictionaries."""
        return checkpoint.nested(
            {n.removeprefix(f"{top}/"): x for n, x in self.arrays.items() if n.startswith(f"{top}/")}
        )

    @property
    def key(self) -> Key:
        return jax.random.wrap_key_data(self.arrays["key"], impl=self.run["key"])


def write(path: Path, error: NonFiniteError) -> Path:
    """Writes the record of `error` into the run folder; returns the file."""
    trees = {"learner": error.learner, "batch": error.suspect.batch}
    arrays = {name: np.asarray(leaf) for name, leaf in checkpoint.named(trees).items()}
    arrays["key"] = np.asarray(jax.random.key_data(error.suspect.key))
    about = run_folder.read_config(path)
    about |= {
        "update": error.done,
        "seed": about["config"].get("seed", 0) + error.seed,
        "key": str(jax.random.key_impl(error.suspect.key)),
    }
    origin = path / run_folder.ORIGIN
    if origin.is_file():
        about["origin"] = run_folder.read_origin(path)
    arrays["run"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    file = path / f"fault-{error.done}.npz"
    with files.draft(file) as part, part.open("wb") as opened:
        np.savez_compressed(opened, **arrays)
    return file


def read(file: Path) -> FaultRecord:
    """The record in a file. Raises RunFolderError."""
    try:
        with np.load(file, allow_pickle=False) as opened:
            arrays = dict(opened)
        run = json.loads(arrays.pop("run").tobytes())
        arrays["key"], run["key"], run["config"].items()
    except OSError as error:
        raise run_folder.RunFolderError(
            f"{file} cannot be read: {error.strerror}; give a fault-*.npz of a run folder"
        ) from None
    except Exception:  # zipfile, zlib, numpy and json each raise errors of their own for a damaged file
        raise run_folder.RunFolderError(
            f"{file} is damaged, or not a fault record; give a fault-*.npz of a run folder"
        ) from None
    return FaultRecord(run, arrays)
