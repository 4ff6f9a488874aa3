"""Checkpoints of a run: Orbax behind a few functions, held to their bytes by our own SHA-256 manifest.

    RUN/checkpoints/<update>/...             what Orbax writes
    RUN/checkpoints/<update>/manifest.json   every file's digest, every leaf's name, shape and dtype

Orbax restores a flipped byte without a word, so every file is compared with the manifest before anything is read.
The manifest is written last: a folder without one is half a checkpoint, which is ignored, and cleaned by the next
writer. Leaves are stored under their names ('learner/params/low/kernel'), so one named subtree can be read without
knowing the rest. Nothing is pickled.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding

from skillhier.distributed import hosts, sharding

FORMAT = 1  # raised when old checkpoints can no longer be read
MANIFEST = "manifest.json"
ITEM = "default"  # Orbax's name for the one thing it saves
REMEDY = "go on with what the run began with, or choose another --workdir"


class CheckpointError(ValueError):
    """A checkpoint that must not be used; one line that names the file and says what to do."""


class Checkpoints:
    """Those of one run folder. One writer at a time; `read` is for everybody else."""

    def __init__(self, folder: Path, *, keep: int = 2, about: dict[str, str] | None = None) -> None:
        """`about`: what must be the same when the run goes on (digest of the config, of the data, ...)."""
        self.folder = Path(folder).absolute()
        self.about = dict(about or {})
        if hosts.is_main_host():
            self.folder.mkdir(parents=True, exist_ok=True)
            for entry in self.folder.iterdir():
                if entry.is_dir() and not (entry / MANIFEST).is_file():
                    shutil.rmtree(entry)  # half written when its process was killed
        hosts.barrier("checkpoints")
        # Orbax would clean up too, in a thread of its own, which dies with a traceback where a run is refused at once
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=False, enable_async_checkpointing=False
        )
        self.manager = ocp.CheckpointManager(self.folder, options=options)

    def latest(self) -> int | None:
        """The update of the last complete checkpoint."""
        return max(steps(self.folder), default=None)

    def save(self, step: int, state: Any, leave_out: tuple[str, ...] = ()) -> None:
        """Saves `state` as that of update `step`; leaves below the names in `leave_out` are rebuilt on restoring."""
        if step in steps(self.folder):
            return
        leaves = {name: leaf for name, leaf in named(state).items() if not _below(name, leave_out)}
        kept = {name: _plain(leaf) for name, leaf in leaves.items() if leaf.size}
        self.manager.save(step, args=ocp.args.PyTreeSave(kept))
        self.manager.wait_until_finished()
        if hosts.is_main_host():
            _write_manifest(self.folder / str(step), step, leaves, leave_out, self.about)
        hosts.barrier("saved")

    def restore(self, template: Any, step: int | None = None) -> Any:
        """The state saved at `step` (the last one if None), in the form of `template`, which is consumed.

        What was left out, and arrays without elements, come from the template. Raises Broken.
        """
        step = self.latest() if step is None else step
        if step is None:
            raise CheckpointError(f"{self.folder} holds no complete checkpoint; start the run anew")
        path = self.folder / str(step)
        try:
            manifest = verify(path)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; {self._advice(step)}") from None
        for name, value in self.about.items():
            if manifest["about"].get(name) != value:
                raise CheckpointError(f"{path} was written with another {name} than this run has; {REMEDY}")
        wanted = named(template)
        _compare(path, manifest["leaves"], wanted, tuple(manifest["left_out"]))
        names = [name for name, leaf in wanted.items() if name in manifest["leaves"] and leaf.size]
        found = _fetch(path, {name: wanted[name] for name in names})
        leaves = [found.get(name, leaf) for name, leaf in wanted.items()]
        return jax.tree.unflatten(jax.tree.structure(template), leaves)

    def _advice(self, bad: int) -> str:
        for step in sorted(steps(self.folder), reverse=True):
            if step != bad:
                try:
                    verify(self.folder / str(step))
                except CheckpointError:
                    continue
                return f"the checkpoint of update {step} is whole: delete {self.folder / str(bad)} to go on from there"
        return f"no other checkpoint is whole: delete {self.folder} to start anew"

    def close(self) -> None:
        self.manager.close()


def steps(folder: Path) -> list[int]:
    """Updates of the complete checkpoints in a folder, in order."""
    found = Path(folder).glob(f"*/{MANIFEST}")
    return sorted(int(path.parent.name) for path in found if path.parent.name.isdigit())


def was_left_out(path: Path, name: str) -> bool:
    """Whether the run in folder `path` has a checkpoint to go on from, and the last one was saved without `name`."""
    there = steps(path / "checkpoints")
    if not there:
        return False
    try:
        return name in json.loads((path / "checkpoints" / str(there[-1]) / MANIFEST).read_text())["left_out"]
    except (OSError, ValueError, KeyError, TypeError):
        return False  # whoever restores it says what is wrong with it


def read(folder: Path, subtree: str, step: int | None = None) -> Any:
    """The named subtree ('learner/params/low') of a checkpoint, as nested dicts of arrays, or one array.

    `folder`: a run folder, its checkpoints folder, or that of one seed in a run of several (RUN/seed_3), which gives
    that seed's part; `step`: the last one if None. Changes nothing. Raises Broken.
    """
    folder, seed = _checkpoints(Path(folder))
    step = max(steps(folder), default=None) if step is None else step
    if step is None:
        raise CheckpointError(f"{folder} holds no complete checkpoint")
    path = folder.absolute() / str(step)
    manifest = verify(path)
    leaves = manifest["leaves"]
    wanted = {name: leaf for name, leaf in leaves.items() if _below(name, (subtree,))}
    if not wanted:
        tops = sorted({"/".join(name.split("/")[:3]) for name in leaves})
        raise CheckpointError(f"{path} holds nothing named {subtree!r}; it holds {', '.join(tops)}")
    first, count = map(int, manifest["about"].get("seeds", "0 1").split())
    if count > 1 and (seed is None or not 0 <= seed - first < count):
        raise CheckpointError(
            f"{path} holds seeds {first} to {first + count - 1}; read one of them, {folder.parent / f'seed_{first}'}"
        )
    templates = {name: _template(leaf) for name, leaf in wanted.items()}
    found = {**templates, **_fetch(path, {name: leaf for name, leaf in templates.items() if leaf.size})}
    if count > 1:
        found = {name: leaf[seed - first] for name, leaf in found.items()}
    return nested({name[len(subtree) :].strip("/"): leaf for name, leaf in found.items()})


def _checkpoints(folder: Path) -> tuple[Path, int | None]:
    """The checkpoints of a run folder, of one seed's folder in a run of several, or the folder itself."""
    if (folder / "checkpoints").is_dir():
        return folder / "checkpoints", None
    word, _, number = folder.resolve().name.partition("_")
    if word == "seed" and number.isdigit() and (folder.parent / "checkpoints").is_dir():
        return folder.parent / "checkpoints", int(number)
    return folder, None


def verify(path: Path) -> dict[str, Any]:
    """The manifest of the checkpoint at `path`, after comparing every file with it. Raises Broken."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        told, manifest["digest"] = manifest["digest"], ""
        if told != _digest(manifest) or manifest["format"] != FORMAT:
            raise KeyError
    except FileNotFoundError:
        raise CheckpointError(f"{path / MANIFEST} is missing") from None
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path / MANIFEST} is damaged, or of another version than {FORMAT}") from None
    for name, expected in manifest["files"].items():
        if not (path / name).is_file():
            raise CheckpointError(f"{path / name} is missing")
        if hashlib.sha256((path / name).read_bytes()).hexdigest() != expected:
            raise CheckpointError(f"{path / name} is damaged (its SHA-256 is not the one that was written down)")
    return manifest


def _write_manifest(
    path: Path, step: int, leaves: dict[str, Any], left_out: tuple[str, ...], about: dict[str, str]
) -> None:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    manifest = {
        "format": FORMAT,
        "step": step,
        "about": about,
        "left_out": list(left_out),
        "leaves": {name: _described(leaf) for name, leaf in leaves.items()},
        "files": {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "digest": "",
    }
    manifest["digest"] = _digest(manifest)
    draft = path / f"{MANIFEST}.part"
    with draft.open("w") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path / MANIFEST)


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps({**manifest, "digest": ""}, sort_keys=True).encode()).hexdigest()


def named(tree: Any) -> dict[str, Any]:
    """Leaves by the path of their names: fields, keys and places in a tuple."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def nested(leaves: dict[str, Any]) -> Any:
    """Nested dictionaries from leaves by their paths; one leaf of the empty path is itself the tree."""
    if list(leaves) == [""]:
        return leaves[""]
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *above, last = name.split("/")
        inner = tree
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = leaf
    return tree


def _below(name: str, tops: tuple[str, ...]) -> bool:
    return any(name == top or name.startswith(f"{top}/") for top in tops)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _described(leaf: Any) -> dict[str, Any]:
    if _is_key(leaf):
        return {"shape": list(leaf.shape), "dtype": "key", "kind": str(jax.random.key_impl(leaf))}
    return {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}


def _template(described: dict[str, Any]) -> Any:
    if described["dtype"] == "key":
        return jax.random.split(jax.random.key(0, impl=described["kind"]), tuple(described["shape"]))
    return np.zeros(described["shape"], jnp.dtype(described["dtype"]))


def _fetch(path: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """The stored arrays of those names, on the devices that hold what is wanted; keys become typed keys again."""
    plain = {name: _plain(leaf) for name, leaf in wanted.items()}
    abstract = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in plain.items()}
    to_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in plain}
    arguments = ocp.args.PyTreeRestore(item=abstract, restore_args=to_numpy, partial_restore=True)
    me = jax.process_index()  # each host reads for itself, and one may do so alone
    alone = ocp.options.MultiprocessingOptions(me, {me}, f"host{me}") if jax.process_count() > 1 else None
    handler = ocp.PyTreeCheckpointHandler(**({"multiprocessing_options": alone} if alone else {}))
    with ocp.Checkpointer(handler, **({"multiprocessing_options": alone} if alone else {})) as checkpointer:
        found = checkpointer.restore(path / ITEM, args=arguments)
    arrays = {name: _laid(np.asarray(found[name], plain[name].dtype), leaf) for name, leaf in plain.items()}
    return {
        name: jax.random.wrap_key_data(arrays[name], impl=jax.random.key_impl(leaf)) if _is_key(leaf) else arrays[name]
        for name, leaf in wanted.items()
    }


def _laid(values: np.ndarray, like: Any) -> jax.Array:
    where = getattr(like, "sharding", None)
    return sharding.put(values, where) if isinstance(where, NamedSharding) else jnp.asarray(values)


def _compare(path: Path, stored: dict[str, Any], wanted: dict[str, Any], left_out: tuple[str, ...]) -> None:
    """Refuses a checkpoint whose leaves are not those of the state that it is to fill."""
    for name, leaf in wanted.items():
        if _below(name, left_out):
            continue
        if name not in stored:
            raise CheckpointError(f"{path} lacks {name}; {REMEDY}")
        if stored[name] != _described(leaf):
            found, needed = (" ".join(map(str, said.values())) for said in (stored[name], _described(leaf)))
            raise CheckpointError(f"{path} holds {name} as {found}, this run needs {needed}; {REMEDY}")
    extra = sorted(set(stored) - set(wanted))
    if extra:
        raise CheckpointError(f"{path} holds {extra[0]}, which this run does not know; {REMEDY}")
