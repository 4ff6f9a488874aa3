"""Episodes of a LeRobot data set, versions 2.0, 2.1 and 3.0 (https://github.com/huggingface/lerobot).

meta/info.json      fps, splits, and features: entry -> dtype, shape
data/*/*.parquet    a row for every frame: action, episode_index, and the entries that are no video; in version 2 a
                    file for every episode
videos/             mp4, in version 2 one for every episode and camera; in version 3 episodes one after the other, and
                    meta/episodes/*/*.parquet says from which second on

A frame is an observation and the action that was taken; no observation follows on an episode's last action, which is
dropped as in robomimic.py. Paths in info.json are not used: no file says which others are opened. Parquet needs
pyarrow, an extra of this package.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skillhier.data import episodes, hdf5
from skillhier.data.episodes import ACTION, Content, Request
from skillhier.data.faults import DataFault, DataLocation, expanded
from skillhier.data.memory import MOST_PER_BYTE, Memory

INFO = Path("meta") / "info.json"
BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
PICTURES = ("image", "video")
PIXELS = 2**28  # of one episode's frames of one camera, at most


class Frames(NamedTuple):
    """One episode: a run of rows of a parquet file."""

    root: Path
    info: dict[str, Any]
    columns: "Columns"
    index: int  # of the episode
    start: int
    stop: int


class Columns:
    """The columns of a parquet file, each read once."""

    def __init__(self, path: Path, memory: Memory | None = None) -> None:
        self.location = DataLocation(path, memory=memory)
        with hdf5.reading(self.location):
            self._file = _parquet().ParquetFile(path)
            texts = [one.path for one in map(self._file.schema.column, range(len(self._file.schema.names)))
                     if one.physical_type == "BYTE_ARRAY"]  # fmt: skip
            self._file = _parquet().ParquetFile(
                path, metadata=self._file.metadata, read_dictionary=texts
            )  # many times the same: once in memory
            self.names = self._file.schema_arrow.names
            self.rows = self._file.metadata.num_rows
        self._kept: dict[str, Any] = {}

    def arrow(self, name: str, at: DataLocation):
        """A column as pyarrow has it."""
        if name not in self.names:
            raise at.fault("no such column", f"one of {episodes.listed(self.names)}")
        if name not in self._kept:
            with hdf5.reading(at):
                self._check_size(name, at)
                self._kept[name] = self._file.read([name]).column(0).combine_chunks()
        return self._kept[name]

    def _check_size(self, name: str, at: DataLocation) -> None:
        """Refuses a column of many more values than the file could hold: runs of one value take no space in it."""
        about = self._file.metadata
        chunks = [about.row_group(g).column(c) for g in range(about.num_row_groups) for c in range(about.num_columns)]
        chunks = [one for one in chunks if f"{one.path_in_schema}.".startswith(f"{name}.")]
        values = sum(one.num_values for one in chunks)
        limit = max(hdf5.UNCHECKED_BYTES, MOST_PER_BYTE * self.location.file.stat().st_size)
        if values > hdf5.MAX_VALUES or 8 * values > limit:
            raise at.fault(f"{values:,} values", "numbers that were written")
        at.take((values,), np.dtype(np.float64), transient=sum(one.total_uncompressed_size for one in chunks))

    def numbers(self, name: str, at: DataLocation) -> np.ndarray:
        """A column of numbers, or of lists of one length, [rows, ...]; not converted."""
        array, shape = self.arrow(name, at), [self.rows]
        with hdf5.reading(at):
            while hasattr(array.type, "storage_type"):
                array = array.storage
            while hasattr(array.type, "value_type"):
                if array.null_count:
                    raise at.fault(f"{array.null_count} rows without values", "numbers in every row")
                inner = array.flatten()
                size = len(inner) // max(1, len(array))
                uneven = hasattr(array, "offsets") and (np.diff(np.asarray(array.offsets)) != size).any()
                if uneven or size * len(array) != len(inner):
                    raise at.fault("lists of several lengths", "one length")
                array, shape = inner, [*shape, size]
            if array.null_count:
                raise at.fault(f"{array.null_count} rows without values", "numbers in every row")
            values = array.to_numpy(zero_copy_only=False)
            if values.dtype.kind not in hdf5.NUMBERS:
                raise at.fault(f"dtype {array.type}", "numbers")
            return values.reshape(shape)


def is_lerobot(path: str | Path) -> bool:
    """Whether a path is the folder of a LeRobot data set."""
    return (expanded(path) / INFO).is_file()


def about(path: str | Path) -> dict[str, Any]:
    """What the data set says of itself, in Minari's words."""
    info = _info(expanded(path))
    fps = info.get("fps")
    interval = {"control_timestep": 1 / fps} if isinstance(fps, int | float) and fps > 0 else {}
    return {**interval, "robot": str(info.get("robot_type")), "version": str(info.get("codebase_version"))}


def groups(root: Path, subset: str | None, memory: Memory | None = None) -> Iterator[tuple[Frames, DataLocation]]:
    """The episodes in the order of their numbers; with `subset` those of the split of that name."""
    info = _info(root)
    chosen = _split(root, info, subset)
    seen = set()
    files = sorted(root.glob("data/*/*.parquet"))
    if not files:
        raise DataLocation(root / "data").fault("no parquet files", "data/chunk-000/*.parquet")
    for path in files:
        columns = Columns(path, memory)
        column = columns.numbers("episode_index", columns.location.under("episode_index")).reshape(-1)
        cuts = [0, *(np.flatnonzero(np.diff(column)) + 1).tolist(), len(column)]
        for start, stop in zip(cuts, cuts[1:], strict=False):
            if stop == start:
                continue
            index = int(column[start])
            at = columns.location.under(f"episode {index}")
            if index in seen:
                raise at.fault("the same number twice", "the frames of an episode one after the other")
            seen.add(index)
            if index in chosen:
                yield Frames(root, info, columns, index, start, stop), at
    total = info.get("total_episodes")
    if isinstance(total, int) and total != len(seen):
        raise DataLocation(root / "data").fault(f"{len(seen)} episodes", f"{total}, the total_episodes of info.json")


def read(frames: Frames, at: DataLocation, request: Request) -> dict:
    """One checked episode."""
    steps = frames.stop - frames.start
    known = contents(frames, at)
    if request.everything and set(request.widths) <= {ACTION}:
        request.widths.update(dict.fromkeys(name for name, one in known.items() if one.is_vector and not one.extra))
        if set(request.widths) <= {ACTION}:
            raise at.fault("no features of numbers", "observations, or the names of pictures")
    names = [name for name in request.widths if name != ACTION and name not in request.optional]
    names += [name for name in sorted(request.optional) if name in known]

    def numbers(name: str) -> np.ndarray:
        return frames.columns.numbers(name, at.under(name))[frames.start : frames.stop]

    actions = numbers("action")
    if actions.dtype.kind != "f":
        raise at.under("action").fault(f"dtype {actions.dtype}", episodes.CONTINUOUS)
    actions = episodes.check_entry(hdf5.to_float32(actions, at.under("action")), at.under("action"), ACTION, request)
    obs = {}
    for name in names:
        inside = at.under(name)
        if name not in known:
            raise inside.fault("nothing", f"one of {episodes.listed(known)}")
        kind = frames.info["features"][name].get("dtype")
        if kind not in PICTURES:
            values = hdf5.to_float32(numbers(name), inside)
        elif not request.pictures:
            raise inside.fault(f"pictures {known[name].shape}", "vectors; name other observation entries")
        else:
            values = (_images if kind == "image" else _video)(frames, name, inside)
        obs[name] = episodes.check_entry(values, inside, name, request)
    rewards, info = np.zeros(steps, np.float32), {"terminated": False}
    if REWARD in frames.columns.names:
        rewards = hdf5.to_float32(numbers(REWARD).reshape(steps), at.under(REWARD))
    if SUCCESS in frames.columns.names:
        info["success"] = float(hdf5.to_flags(numbers(SUCCESS), at.under(SUCCESS)).any())
    episodes.check_length(steps - 1, at.under("action"), request)
    episodes.check_bounds(actions, at.under("action"), request)
    return episodes.to_rows(obs, actions, rewards, info, complete=False)


def contents(frames: Frames, at: DataLocation) -> dict[str, Content]:
    """The entries, unread: all features but the action and what came of it."""
    entries = {}
    for name, feature in frames.info["features"].items():
        if name == "action" or name in (REWARD, DONE, SUCCESS):
            continue
        kind, shape = str(feature.get("dtype")), feature.get("shape") or [1]
        if kind in PICTURES:
            channels_first = len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3)
            entries[name] = Content("uint8", tuple(shape[1:] + shape[:1] if channels_first else shape))
        elif name in frames.columns.names:
            entries[name] = Content("text" if kind == "string" else kind, tuple(shape), name in BOOKKEEPING)
    return entries


def _info(root: Path) -> dict[str, Any]:
    """The content of meta/info.json, as far as it is used here."""
    at = DataLocation(root / INFO)
    info = hdf5.read_metadata(root / INFO, "LeRobot's metadata")
    version = str(info.get("codebase_version"))
    if not re.match(r"v[23]\.", version):
        raise at.fault(f"version {version}", "v2.0, v2.1 or v3.0; LeRobot's own scripts convert older data")
    features = info.get("features")
    if not isinstance(features, dict) or not all(isinstance(one, dict) for one in features.values()):
        raise at.fault("no features", "features, entry -> dtype, shape")
    for name, feature in features.items():
        shape = feature.get("shape") or [1]
        if not isinstance(shape, list) or not all(isinstance(one, int) and 0 < one < 2**20 for one in shape):
            raise at.under(name).fault(f"shape {str(shape)[:40]}", "whole numbers")
        if feature.get("dtype") not in (*PICTURES, "string"):
            with hdf5.reading(at.under(name)):
                np.dtype(str(feature.get("dtype")))
    return info


def _split(root: Path, info: dict, subset: str | None) -> range:
    """The numbers of the episodes in a split, such as "train": "0:50"; all without one."""
    if subset is None:
        return range(2**31)
    splits = info.get("splits") if isinstance(info.get("splits"), dict) else {}
    if subset not in splits or not re.fullmatch(r"\d{1,9}:\d{1,9}", str(splits[subset])):
        raise DataLocation(root / INFO).fault(
            f"no split '{subset}'", f"data.subset left out, or one of {', '.join(splits) or 'none'}"
        )
    first, last = map(int, splits[subset].split(":"))
    return range(first, last)


def _images(frames: Frames, name: str, at: DataLocation) -> np.ndarray:
    """The frames of a camera that are stored as images, uint8 [T, height, width, 3]."""
    from PIL import Image

    rows = frames.columns.arrow(name, at).slice(frames.start, frames.stop - frames.start)
    pictures = []
    for row in (one.as_py() for one in rows):
        data = row.get("bytes") if isinstance(row, dict) else row
        if not isinstance(data, bytes):
            raise at.fault("an image that is kept outside the parquet file", "images in the file itself")
        with hdf5.reading(at):
            image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
            if image.width * image.height * len(rows) > PIXELS:
                raise at.fault(f"{len(rows)} images of {image.width} x {image.height}", f"{PIXELS} pixels at most")
            if not pictures:
                at.take((len(rows), image.height, image.width, 3), np.dtype(np.uint8))
            pictures.append(np.asarray(image.convert("RGB")))
    if len({picture.shape for picture in pictures}) > 1:
        raise at.fault("images of several sizes", "one size")
    return np.stack(pictures)


def _video(frames: Frames, name: str, at: DataLocation) -> np.ndarray:
    """The frames of a camera that are stored as a video, uint8 [T, height, width, 3]."""
    import imageio_ffmpeg

    count, fps = frames.stop - frames.start, float(frames.info.get("fps") or 0)
    path, begin = _video_file(frames, name, at)
    seek = ["-ss", f"{begin - 0.5 / fps:.6f}"] if begin > 0 and fps > 0 else []
    with hdf5.reading(at):
        reader = imageio_ffmpeg.read_frames(
            str(path),
            pix_fmt="rgb24",
            input_params=seek,
            output_params=["-fps_mode", "passthrough", "-frames:v", str(count)],
        )
        try:
            width, height = next(reader)["size"]
            if width * height * count > PIXELS:
                raise at.fault(f"{count} frames of {width} x {height}", f"{PIXELS} pixels at most")
            at.take((count, height, width, 3), np.dtype(np.uint8))
            pictures = [np.frombuffer(one, np.uint8).reshape(height, width, 3) for one in reader]
        finally:
            reader.close()
    if len(pictures) != count:
        raise at.fault(f"{len(pictures)} frames in {path.name}", f"{count}, one for each row")
    return np.stack(pictures)


def _video_file(frames: Frames, name: str, at: DataLocation) -> tuple[Path, float]:
    """(the mp4 with an episode's frames, s from which on they are in it)."""
    if "/" in name or name.startswith("."):
        raise at.fault("a name with '/' in it", "the name of a camera")
    place = frames.root / "videos"
    if str(frames.info["codebase_version"]).startswith("v2"):
        matches = sorted(place.glob(f"chunk-*/{_literal(name)}/episode_{frames.index:06d}.mp4"))
        begin = 0.0
    else:
        row = _episode_row(frames, at)
        with hdf5.reading(at):
            chunk, file = (int(row[f"videos/{name}/{what}_index"]) for what in ("chunk", "file"))
            begin = float(row[f"videos/{name}/from_timestamp"])
        matches = [place / name / f"chunk-{chunk:03d}" / f"file-{file:03d}.mp4"]
    if not matches or not matches[0].is_file():
        raise at.fault("no video of this episode", "an mp4 in videos/")
    return matches[0], begin


def _episode_row(frames: Frames, at: DataLocation) -> dict[str, Any]:
    """What meta/episodes says of an episode (version 3)."""
    for path in sorted(frames.root.glob("meta/episodes/*/*.parquet")):
        with hdf5.reading(DataLocation(path)):
            file = _parquet().ParquetFile(path)
            names = [n for n in file.schema_arrow.names if n == "episode_index" or n.startswith("videos/")]
            table = file.read(names)
            numbers = table.column("episode_index").to_pylist()
        if frames.index in numbers:
            return table.slice(numbers.index(frames.index), 1).to_pylist()[0]
    raise at.fault("nothing about this episode in meta/episodes", "its row")


def _literal(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)


def _parquet():
    """pyarrow's reader. Raises DataFault."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise DataFault(
            "LeRobot data are in parquet files, and pyarrow, which reads them, is not installed; "
            "pip install 'skillhier[lerobot]'"
        ) from None
    return pyarrow.parquet
