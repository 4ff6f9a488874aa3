"""Writing a Minari folder: parts with whole episodes are appended atomically and joined at the end.

    DIR/data/part_000050.h5    episodes 50, 51, ... of a recording under way
    DIR/data/main_data.hdf5    all episodes, once the recording is finished
    DIR/data/metadata.json     Minari's metadata

`minari.load_dataset` reads it with MINARI_DATASETS_PATH set to the folder above DIR; writing does not need Minari. A
process killed at any moment loses at most the part that it was writing.
"""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from skillhier import files
from skillhier.data import hdf5
from skillhier.data.faults import DataLocation
from skillhier.types import Spec

LAYOUT = "v110"  # HDF5 file format version: compact, with checksums of its metadata
MARGIN = 2**20  # bytes that joining episodes may take beyond those of their parts
VERSION = "0.5.0"  # the oldest Minari with this layout


class Episode(NamedTuple):
    """One whole episode on the host: T actions, T + 1 observations."""

    obs: dict[str, np.ndarray]  # entry -> float32 [T + 1, d] (pictures uint8), single frames
    action: np.ndarray  # float32 [T, A]
    reward: np.ndarray  # float32 [T]: what action t led to
    terminated: bool  # by the task; else truncated by the time limit
    infos: dict[str, np.ndarray] = {}  # [T, ...] each, from the policy's extras
    attributes: dict[str, float | int | str] = {}  # success, seed, ...


class Recorder:
    """Appends episodes to a Minari folder: `with Recorder(folder, spec) as recorder: recorder.append(episodes)`.

    Continues the recording in a folder, finished or not. Leaving the block, also by an exception, finishes the
    recording: parts are joined and the metadata is written.
    """

    def __init__(self, folder: str | Path, spec: Spec, about: dict | None = None):
        """`spec`: of the Env that the episodes are from. `about`: further metadata (description, algorithm_name, ...).

        Raises DataFault if the folder holds episodes with other observations or actions.
        """
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self._metadata = {**_metadata(self.folder, spec), **(about or {})}
        self.data.mkdir(parents=True, exist_ok=True)
        for draft in self.data.glob(f"*{files.DRAFT}"):
            draft.unlink()
        if (self.data / hdf5.METADATA).is_file():
            self._check_spaces(hdf5.read_metadata(self.data / hdf5.METADATA))
        self.attributes: list[dict[str, float | str]] = []  # of every episode in the folder, in order
        if (self.data / hdf5.MAIN).is_file():
            self._read(self.data / hdf5.MAIN)
        for part in self._parts():
            if int(part.stem.removeprefix("part_")) < len(self.attributes):
                part.unlink()  # already joined: the process was killed before it could delete the part
            else:
                self._read(part)
        self._write_metadata()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def append(self, episodes: Iterable[Episode]) -> None:
        """Writes the episodes as one part; they are on disk when this returns."""
        episodes = list(episodes)
        if not episodes:
            return
        part = self.data / f"part_{len(self.attributes):06d}.h5"
        written = []
        # in memory first: HDF5 takes the process with it where it finds no room on the disk
        with h5py.File(part, "w", libver=LAYOUT, driver="core", backing_store=False) as file:
            for index, episode in enumerate(episodes, start=len(self.attributes)):
                written.append(_write(file.create_group(f"episode_{index}"), index, episode))
            file.flush()
            files.write_bytes(part, file.id.get_file_image())
        self.attributes += written

    def finish(self) -> None:
        """Joins all parts to the one file that Minari reads."""
        parts = self._parts()
        if parts:
            main = self.data / hdf5.MAIN
            with files.draft(main) as draft:
                if main.is_file():
                    shutil.copyfile(main, draft)
                files.reserve(self.data, MARGIN + sum(path.stat().st_size for path in parts))
                with h5py.File(draft, "a", libver=LAYOUT) as file:
                    for path in parts:
                        with hdf5.open_file(path) as part:
                            for name in hdf5.episodes(part, DataLocation(path)):
                                part.copy(name, file)
        self._write_metadata()
        for path in parts:
            path.unlink()

    def _parts(self) -> list[Path]:
        return sorted(self.data.glob(hdf5.PARTS))

    def _read(self, path: Path) -> None:
        with hdf5.open_file(path) as file:
            location = DataLocation(path)
            names = hdf5.episodes(file, location, check_count=False)
            expected = [f"episode_{i}" for i in range(len(self.attributes), len(self.attributes) + len(names))]
            if names != expected:
                raise location.fault(f"{names[0]} to {names[-1]}", f"{expected[0]} to {expected[-1]}")
            for name in names:
                with hdf5.reading(location.under(name)):
                    self.attributes.append(hdf5.read_attributes(hdf5.group(file, name, location.under(name))))

    def _check_spaces(self, former: dict) -> None:
        location = DataLocation(self.data / hdf5.METADATA)
        for space in ("observation_space", "action_space"):
            then, now = json.loads(former.get(space, "{}")), json.loads(self._metadata[space])
            if then != now:
                raise location.under(space).fault(_describe_space(then), f"{_describe_space(now)}, or another folder")

    def _write_metadata(self) -> None:
        steps = int(sum(attributes["total_steps"] for attributes in self.attributes))
        size = sum(path.stat().st_size for path in self.data.iterdir()) / 1e6
        counts = {"total_episodes": len(self.attributes), "total_steps": steps, "dataset_size": round(size, 1)}
        files.write_json(self.data / hdf5.METADATA, {**self._metadata, **counts})


def _write(group: h5py.Group, index: int, episode: Episode) -> dict[str, float | str]:
    steps = len(episode.action)
    end = np.arange(steps) == steps - 1
    numbers = lambda values: np.asarray(values, _storage_dtype(values.dtype))  # noqa: E731
    fields = {f"observations/{name}": numbers(values) for name, values in episode.obs.items()}
    fields |= {"actions": np.asarray(episode.action, np.float32), "rewards": np.asarray(episode.reward, np.float32)}
    fields |= {"terminations": end & episode.terminated, "truncations": end & (not episode.terminated)}
    fields |= {f"infos/{name}": np.asarray(values) for name, values in episode.infos.items()}
    for name, values in fields.items():
        # one chunk each, with a checksum, so that corrupted bytes are detected on reading
        group.create_dataset(name, data=values, chunks=values.shape, fletcher32=True)
    group.require_group("infos")  # Minari requires the group, even if empty
    attributes = {"id": index, "total_steps": steps, **episode.attributes}
    group.attrs.update(attributes)
    return attributes


def _metadata(folder: Path, spec: Spec) -> dict:
    """Minari's metadata: spaces as JSON in its notation, and a dataset id with a version."""
    entries = {}
    for entry, shape in sorted(spec.obs.items()):
        low, high = (0, 255) if _storage_dtype(shape.dtype) == "uint8" else (-np.inf, np.inf)
        entries[entry] = _box(shape.shape[1:], low, high, _storage_dtype(shape.dtype))
    name = re.sub(r"[^-\w]", "_", folder.resolve().name) or "data"
    return {
        "dataset_id": name if re.search(r"-v\d+$", name) else f"{name}-v0",
        "minari_version": VERSION,
        "data_format": "hdf5",
        "observation_space": json.dumps({"type": "Dict", "subspaces": entries}),
        "action_space": json.dumps(_box(spec.action.shape, spec.action.low, spec.action.high)),
        "control_timestep": spec.interval,
        "privileged": list(spec.privileged),
    }


def _storage_dtype(dtype: np.dtype) -> str:
    """The type on disk: uint8 for pictures, else float32."""
    return "uint8" if dtype == np.uint8 else "float32"


def _box(shape: tuple[int, ...], low: float, high: float, dtype: str = "float32") -> dict:
    low, high = (np.full(shape, bound, dtype).tolist() for bound in (low, high))
    return {"type": "Box", "dtype": dtype, "shape": list(shape), "low": low, "high": high}


def _describe_space(space: dict) -> str:
    if space.get("type") == "Dict":
        return ", ".join(f"{name} {part['shape']}" for name, part in space["subspaces"].items())
    return f"shape {space.get('shape')} within {np.unique(space.get('low'))} to {np.unique(space.get('high'))}"
