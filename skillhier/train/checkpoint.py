"""Checkpoints of a run: Orbax and segments of the replay behind a few functions, verified by a SHA-256 manifest.

    RUN/checkpoints/<update>/default/...     what Orbax writes
    RUN/checkpoints/<update>/beside/...      copies of files that belong to the state, as the run's metrics
    RUN/checkpoints/<update>/manifest.json   every file's digest, every leaf's name, shape and dtype, segments by ring
    RUN/checkpoints/rings/...                the rows of replays, shared by checkpoints: see ring_files.py

Orbax restores a flipped byte without an error, so every file is compared with the manifest before it is read. A
checkpoint is written to <update>.part, synced with all that is in it, and renamed; it is deleted the other way round.
Segments are written before the checkpoint that lists them, and deleted after the one that needs them no longer. So a
process may be killed and a machine lose its power at any moment, and what bears the number of an update is finished: if
something of it is missing it was lost, which readers say. Leaves are stored under their names
('learner/params/low/kernel'), so that one named subtree can be read without knowing the rest. Nothing is pickled.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding

from skillhier import files
from skillhier.distributed import hosts, sharding
from skillhier.train import manifest, ring_files
from skillhier.train.manifest import Manifest, steps, verify
from skillhier.train.ring_files import CheckpointError, Ring

ITEM = "default"  # Orbax's name for the one thing it saves
MARGIN = 2**17  # bytes that Orbax may write beside the leaves
BESIDE = "beside"  # the folder of the copies
REMEDY = "continue with the settings that the run began with, or choose another --workdir"


class Checkpoints:
    """Those of one run folder. One writer at a time; `read` is for everybody else."""

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 2,
        about: dict[str, str] | None = None,
        rings: tuple[str, ...] = (),
        beside: Mapping[str, Path] | None = None,
    ) -> None:
        """about: what must be the same when the run is resumed (digest of the config, of the data, ...)
        rings: names of the replays in the state ('source/replay'), of which a save writes the new rows only
        beside: files that grow with the run, by name; a save copies them, and `restore` puts the copies in their place
        """
        self.folder = Path(folder).absolute()
        self.keep = keep
        self.about = dict(about or {})
        self.rings = rings
        self.beside = dict(beside or {})
        self.stored: dict[str, Ring] = {}  # the rings as of the checkpoint that the next one continues
        if hosts.is_main_host():
            self.folder.mkdir(parents=True, exist_ok=True)
            files.sync(self.folder.parent)
            for unfinished in self.folder.glob(f"*{files.DRAFT}"):
                files.remove(unfinished)  # its process was killed while it saved
            self._delete_old()
            self._delete_unused()
        hosts.barrier("checkpoints")
        self.writer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())

    def latest(self) -> int | None:
        """The update of the last complete checkpoint."""
        return max(steps(self.folder), default=None)

    def save(self, step: int, state: Any, leave_out: tuple[str, ...] = ()) -> None:
        """Saves `state` as that of update `step`; leaves below the names in `leave_out` are rebuilt on restoring.

        The rows of a ring are those of the last `save` or `restore` of this object and the ones added since.
        """
        if step in steps(self.folder):
            return
        leaves = {name: leaf for name, leaf in named(state).items() if not _below(name, leave_out)}
        plain = {name: _plain(leaf) for name, leaf in leaves.items()}
        rings = {}
        for ring in self.rings:
            inner = {name.removeprefix(f"{ring}/"): leaf for name, leaf in plain.items() if _below(name, (ring,))}
            if inner:
                rings[ring] = ring_files.save(self.folder, step, inner, self.stored.get(ring))
        in_rings = _rows_of(rings)
        others = {name: leaf for name, leaf in plain.items() if leaf.size and not _below(name, in_rings)}
        described = {name: _described(leaf) for name, leaf in leaves.items()}
        self._write(step, others, Manifest(step, self.about, list(leave_out), described, rings))
        if hosts.is_main_host():
            self._delete_old()
            self._delete_unused()
        self.stored = rings
        hosts.barrier("saved")

    def _write(self, step: int, leaves: dict[str, Any], content: Manifest) -> None:
        if not hosts.is_main_host():
            hosts.barrier("begun")
            self._write_leaves(self.folder / f"{step}{files.DRAFT}", leaves)
            return
        with files.draft(self.folder / str(step)) as part:
            (part / BESIDE).mkdir(parents=True)
            files.require_room(part, MARGIN + sum(leaf.nbytes for leaf in leaves.values()))
            hosts.barrier("begun")
            self._write_leaves(part, leaves)
            for name, file in self.beside.items():
                shutil.copyfile(file, part / BESIDE / name)
            manifest.write(part, content)

    def _write_leaves(self, part: Path, leaves: dict[str, Any]) -> None:
        try:
            self.writer.save(part / ITEM, args=ocp.args.PyTreeSave(leaves))
        except ValueError as error:  # how Orbax passes on that there is no room, beside messages of its threads
            for full in (errno.ENOSPC, errno.EDQUOT):
                if os.strerror(full) in str(error):
                    raise OSError(full, os.strerror(full)) from error
            raise

    def restore(self, template: Any, step: int | None = None) -> Any:
        """The state saved at `step` (the last one if None), in the form of `template`, which is consumed.

        What was left out, and arrays without elements, come from the template. Raises CheckpointError.
        """
        step = self.latest() if step is None else step
        if step is None:
            raise CheckpointError(f"{self.folder} holds no complete checkpoint; start the run anew")
        path = self.folder / str(step)
        try:
            stored = verify(path)
            ring_files.verify(self.folder, stored.rings.values())
        except CheckpointError as error:
            raise CheckpointError(f"{error}; {self._advice(step)}") from None
        for name, value in self.about.items():
            if stored.about.get(name) != value:
                raise CheckpointError(f"{path} was written with another {name} than this run has; {REMEDY}")
        wanted = named(template)
        _compare(path, stored.leaves, wanted, tuple(stored.left_out))
        arrays = _fetch(path, stored.rings, {name: leaf for name, leaf in wanted.items() if name in stored.leaves})
        self.stored = stored.rings
        for name, file in self.beside.items():
            if (path / BESIDE / name).is_file():  # checkpoints of earlier versions have no copies
                with files.draft(file) as part:
                    shutil.copyfile(path / BESIDE / name, part)
        return jax.tree.unflatten(jax.tree.structure(template), [arrays.get(name, wanted[name]) for name in wanted])

    def _advice(self, bad: int) -> str:
        for step in sorted(steps(self.folder), reverse=True):
            if step != bad:
                try:
                    ring_files.verify(self.folder, verify(self.folder / str(step)).rings.values())
                except CheckpointError:
                    continue
                return f"the checkpoint of update {step} is whole: delete {self.folder / str(bad)} to go on from there"
        return f"no other checkpoint is whole: delete {self.folder} to start anew"

    def _delete_old(self) -> None:
        """Deletes all but the last `keep` checkpoints; a deletion that is cut short leaves none that looks finished."""
        for step in steps(self.folder)[: -self.keep]:
            files.remove((self.folder / str(step)).rename(self.folder / f"{step}{files.DRAFT}"))

    def _delete_unused(self) -> None:
        """Deletes the segments that no complete checkpoint needs; none at all if that cannot be told."""
        try:
            complete = [manifest.read(self.folder / str(step)) for step in steps(self.folder)]
        except CheckpointError:
            return  # `restore` says what is wrong with it
        ring_files.delete_unused(self.folder, [ring for one in complete for ring in one.rings.values()])

    def close(self) -> None:
        self.writer.close()


def was_left_out(path: Path, name: str) -> bool:
    """Whether the run in folder `path` has a checkpoint to resume from, and the last one was saved without `name`."""
    complete = steps(path / "checkpoints")
    if not complete:
        return False
    try:
        return name in manifest.read(path / "checkpoints" / str(complete[-1])).left_out
    except CheckpointError:
        return False  # `restore` says what is wrong with it


def read(folder: Path, subtree: str, step: int | None = None) -> Any:
    """The named subtree ('learner/params/low') of a checkpoint, as nested dicts of arrays, or one array.

    `folder`: a run folder, its checkpoints folder, or that of one seed in a run of several (RUN/seed_3), which gives
    that seed's part; `step`: the last one if None. Changes nothing. Segments of rings are verified if rows of one are
    read. Raises CheckpointError.
    """
    folder, seed = _checkpoints(Path(folder))
    step = max(steps(folder), default=None) if step is None else step
    if step is None:
        raise CheckpointError(f"{folder} holds no complete checkpoint")
    path = folder.absolute() / str(step)
    stored = verify(path)
    leaves = stored.leaves
    wanted = {name: leaf for name, leaf in leaves.items() if _below(name, (subtree,))}
    if not wanted:
        tops = sorted({"/".join(name.split("/")[:3]) for name in leaves})
        raise CheckpointError(f"{path} holds nothing named {subtree!r}; it holds {', '.join(tops)}")
    first, count = map(int, stored.about.get("seeds", "0 1").split())
    if count > 1 and (seed is None or not 0 <= seed - first < count):
        raise CheckpointError(
            f"{path} holds seeds {first} to {first + count - 1}; read one of them, {folder.parent / f'seed_{first}'}"
        )
    needed = [name for name in stored.rings if any(_below(leaf, _rows_of([name])) for leaf in wanted)]
    ring_files.verify(folder, [stored.rings[name] for name in needed])
    templates = {name: _template(leaf) for name, leaf in wanted.items()}
    arrays = {**templates, **_fetch(path, stored.rings, templates)}
    if count > 1:
        arrays = {name: leaf[seed - first] for name, leaf in arrays.items()}
    return nested({name[len(subtree) :].strip("/"): leaf for name, leaf in arrays.items()})


def _checkpoints(folder: Path) -> tuple[Path, int | None]:
    """The checkpoints of a run folder, of one seed's folder in a run of several, or the folder itself."""
    if (folder / "checkpoints").is_dir():
        return folder / "checkpoints", None
    word, _, number = folder.resolve().name.partition("_")
    if word == "seed" and number.isdigit() and (folder.parent / "checkpoints").is_dir():
        return folder.parent / "checkpoints", int(number)
    return folder, None


def _rows_of(rings: Iterable[str]) -> tuple[str, ...]:
    """The subtrees whose leaves are stored in segments."""
    return tuple(f"{ring}/rows" for ring in rings)


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
            if not isinstance(inner, dict):
                break
        if not isinstance(inner, dict) or last in inner:
            raise CheckpointError(f"{name}: an array and a group have one name; give a checkpoint of this project")
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


def _fetch(path: Path, rings: dict[str, Ring], wanted: dict[str, Any]) -> dict[str, Any]:
    """The stored arrays of those names, but for empty ones, laid out as `wanted`; keys become typed keys again."""
    wanted = {name: leaf for name, leaf in wanted.items() if leaf.size}
    plain = {name: _plain(leaf) for name, leaf in wanted.items()}
    ring_of = {name: ring for name in plain for ring in rings if _below(name, _rows_of([ring]))}
    stored = _from_orbax(path, {name: leaf for name, leaf in plain.items() if name not in ring_of})

    def array(name: str, leaf: Any) -> jax.Array:
        if name not in ring_of:
            values = np.asarray(stored[name], leaf.dtype)
        else:
            ring = ring_of[name]
            values = ring_files.load(path.parent, rings[ring], name.removeprefix(f"{ring}/"), leaf.shape, leaf.dtype)
            if isinstance(leaf, jax.Array):
                leaf.delete()  # so that the device never holds two rings
        values, template = _laid(values, leaf), wanted[name]
        return jax.random.wrap_key_data(values, impl=jax.random.key_impl(template)) if _is_key(template) else values

    return {name: array(name, leaf) for name, leaf in plain.items()}


def _from_orbax(path: Path, wanted: dict[str, Any]) -> dict[str, np.ndarray]:
    if not wanted:
        return {}
    abstract = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in wanted.items()}
    to_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in wanted}
    arguments = ocp.args.PyTreeRestore(item=abstract, restore_args=to_numpy, partial_restore=True)
    me = jax.process_index()  # each host reads for itself, and one may do so alone
    alone = ocp.options.MultiprocessingOptions(me, {me}, f"host{me}") if jax.process_count() > 1 else None
    handler = ocp.PyTreeCheckpointHandler(**({"multiprocessing_options": alone} if alone else {}))
    with ocp.Checkpointer(handler, **({"multiprocessing_options": alone} if alone else {})) as checkpointer:
        return checkpointer.restore(path / ITEM, args=arguments)


def _laid(values: np.ndarray, like: Any) -> jax.Array:
    where = getattr(like, "sharding", None)
    return sharding.put(values, where) if isinstance(where, NamedSharding) else jnp.asarray(values)


def _compare(path: Path, stored: dict[str, Any], wanted: dict[str, Any], left_out: tuple[str, ...]) -> None:
    """Raises CheckpointError unless the stored leaves are those of the wanted state."""
    for name, leaf in wanted.items():
        if _below(name, left_out):
            continue
        if name not in stored:
            raise CheckpointError(f"{path} lacks {name}; {REMEDY}")
        if stored[name] != _described(leaf):
            present, needed = (" ".join(map(str, leaf.values())) for leaf in (stored[name], _described(leaf)))
            raise CheckpointError(f"{path} holds {name} as {present}, this run needs {needed}; {REMEDY}")
    extra = sorted(set(stored) - set(wanted))
    if extra:
        raise CheckpointError(f"{path} holds {extra[0]}, which this run does not know; {REMEDY}")
