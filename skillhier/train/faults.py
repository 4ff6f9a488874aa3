"""What a run leaves when bad numbers end it: the learner's state, the batch and the key of the update that failed.

One .npz of plain arrays, by their names ('learner/params/low/kernel', 'batch/step/reward', 'key'), and the run's
config.json as text in 'run'. No pickle: it can be opened with numpy.load as it is.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from skillhier.train import checkpoint, run_folder
from skillhier.train.loop import NonFiniteError
from skillhier.types import Key


class FaultRecord(NamedTuple):
    """What a file holds."""

    run: dict[str, Any]  # config.json of the run that wrote it, with 'update', the updates it had done, and 'seed'
    arrays: dict[str, np.ndarray]  # by name; keys as their raw numbers

    def fill(self, top: str, template: Any) -> Any:
        """The tree saved under `top` ('learner', 'batch'), in the form of `template`. Raises folder.Unfit."""
        leaves = []
        for name, leaf in checkpoint.named(template).items():
            found = self.arrays.get(f"{top}/{name}")
            if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
                what = "lacks it" if found is None else f"has {found.dtype} {list(found.shape)}"
                raise run_folder.RunFolderError(
                    f"the learner needs {top}/{name} as {leaf.dtype} {list(leaf.shape)}, the file {what}; "
                    "replay it with the version that wrote it"
                )
            leaves.append(jax.numpy.asarray(found))
        return jax.tree.unflatten(jax.tree.structure(template), leaves)

    def tree(self, top: str) -> dict[str, Any]:
        """What was saved under `top`, as nested dictionaries."""
        return checkpoint.nested(
            {n.removeprefix(f"{top}/"): x for n, x in self.arrays.items() if n.startswith(f"{top}/")}
        )

    @property
    def key(self) -> Key:
        return jax.random.wrap_key_data(self.arrays["key"], impl=self.run["key"])


def write(path: Path, stuck: NonFiniteError) -> Path:
    """Writes what led to `stuck` into the run folder; returns the file."""
    held = {"learner": stuck.learner, "batch": stuck.suspect.batch}
    arrays = {name: np.asarray(leaf) for name, leaf in checkpoint.named(held).items()}
    arrays["key"] = np.asarray(jax.random.key_data(stuck.suspect.key))
    about = run_folder.read_config(path)
    about |= {
        "update": stuck.done,
        "seed": about["config"].get("seed", 0) + stuck.seed,
        "key": str(jax.random.key_impl(stuck.suspect.key)),
    }
    origin = path / run_folder.ORIGIN
    if origin.is_file():
        about["origin"] = json.loads(origin.read_text())
    arrays["run"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    file = path / f"fault-{stuck.done}.npz"
    draft = path / f"{file.name}.part"
    with draft.open("wb") as opened:
        np.savez_compressed(opened, **arrays)
    draft.rename(file)
    return file


def read(file: Path) -> FaultRecord:
    """What a file holds. Raises folder.Unfit."""
    try:
        with np.load(file, allow_pickle=False) as opened:
            arrays = dict(opened)
        run = json.loads(arrays.pop("run").tobytes())
        arrays["key"], run["key"], run["config"].items()
    except OSError as error:
        raise run_folder.RunFolderError(
            f"{file} cannot be read: {error.strerror}; give a fault-*.npz of a run folder"
        ) from None
    except Exception:  # zipfile, zlib, numpy and json each have their own ways to refuse a damaged file
        raise run_folder.RunFolderError(
            f"{file} is damaged, or no record of a fault; give a fault-*.npz of a run folder"
        ) from None
    return FaultRecord(run, arrays)
