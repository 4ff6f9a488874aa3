"""Guarded reading of HDF5: only numbers stored in the file itself; every error is one line.

A data set may come from an untrusted source, so no link, external or virtual storage is followed out of its file,
nothing is unpickled (object arrays are refused unread) and every size is checked before memory is allocated.
"""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from skillhier.data.faults import DataFault, DataLocation, expanded
from skillhier.data.memory import MOST_PER_BYTE

MAIN = "main_data.hdf5"  # Minari's name for the one file with all episodes
METADATA = "metadata.json"
PARTS = "part_*.h5"  # files of a recording that was interrupted
SUFFIXES = (".h5", ".hdf5", ".npz")
MAX_VALUES = 2**28  # values in one array: 1 GiB of float32
UNCHECKED_BYTES = 2**20  # up to this size an array is read whatever its stored size
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
MAX_TEXT = 1024  # characters of a text attribute; longer ones (e.g. model files) are skipped
KINDS = {"f": "float32", "b": "0 and 1", "S": "fixed-length text"}
NUMBERS, FLAGS = "fiub", "biuf"  # numpy's letters of the types that observations and rewards, and flags, may have
ROWS = "observations have one row more than actions, the rest as many"  # the usual reason for `rows`
FORMS = (
    "an .h5, .hdf5 or .npz file, a folder of them, a Minari folder (data/main_data.hdf5) or a LeRobot one "
    "(meta/info.json)"
)


def files(path: str | Path) -> list[Path]:
    """The files at `path`: the file itself, those of a folder by name, or the one of a Minari folder."""
    path = expanded(path)
    location = DataLocation(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise location.fault("nothing at this path", FORMS)
    for folder in (path / "data", path):
        if list(folder.glob(PARTS)):
            raise DataLocation(folder).fault(
                "a recording that was cut short", "the same collect command once more to finish it"
            )
        if (folder / MAIN).is_file():
            return [folder / MAIN]
    matches = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES and f.is_file() and not f.name.startswith("."))
    if not matches:
        raise location.fault("a folder without .h5, .hdf5 or .npz files", FORMS)
    return matches


@contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading."""
    location = DataLocation(path)
    try:
        if path.stat().st_size == 0:
            raise location.fault("an empty file (0 bytes)", "HDF5 with groups episode_<i>")
        file = h5py.File(path, "r", locking=False)  # a lock cannot be taken on a read-only disk, nor is it needed
    except OSError as error:
        raise location.fault(f"a file that does not open ({_line(error)})", "a whole, readable HDF5 file") from None
    with file:
        yield file


@contextmanager
def reading(location: DataLocation) -> Iterator[None]:
    """Turns the various errors that h5py raises on damaged contents into one DataFault at `location`."""
    try:
        yield
    except DataFault:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise location.fault(f"unreadable data ({_line(error)})", "an undamaged file") from error


def episodes(file: h5py.File, location: DataLocation, *, check_count: bool = True) -> list[str]:
    """The names of a file's episode groups, in the order of their numbers.

    check_count: whether a Minari file must have as many episodes as its metadata says.
    """
    with reading(location):
        names = [name for name in file if re.fullmatch(r"episode_\d{1,9}", name)]
    if not names:
        raise location.fault("no episodes", "groups episode_<i>")
    expected = _declared_episodes(location.file) if check_count else None
    if expected is not None and expected != len(names):
        raise location.fault(f"{len(names)} episodes", f"{expected}, the total_episodes of {METADATA}")
    return sorted(names, key=lambda name: int(name.removeprefix("episode_")))


def group(parent: h5py.Group, name: str, location: DataLocation) -> h5py.Group:
    """A group of `parent` stored in this file, not behind a link."""
    item = member(parent, name, location, "a group")
    if not isinstance(item, h5py.Group):
        raise location.fault("an array", "a group of named arrays")
    return item


def has_member(parent: h5py.Group, name: str) -> bool:
    """Whether `parent` has a member of that name; unlike `name in parent` this follows no link."""
    return "/" not in name and parent.get(name, getlink=True) is not None


def is_array(parent: h5py.Group, name: str, location: DataLocation) -> bool:
    """Whether that member, which must exist, is an array."""
    return isinstance(member(parent, name, location, "a group"), h5py.Dataset)


class Stored(NamedTuple):
    """What a file says of one of its arrays."""

    item: h5py.Dataset
    dtype: np.dtype
    shape: tuple[int, ...] | None
    filters: list[int]


def inspect(parent: h5py.Group, name: str, location: DataLocation) -> Stored:
    """An array of `parent`, unread; refused where its numbers are kept outside the file."""
    item = member(parent, name, location, "an array")
    if not isinstance(item, h5py.Dataset):
        raise location.fault("a group", "an array")
    with reading(location):
        # First of all: reading even the shape of a virtual array may open the files behind it.
        properties = item.id.get_create_plist()
        is_external = properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count() > 0
        filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if is_external:
        where = "the numbers themselves (nothing is followed out of a file)"
        raise location.fault("numbers kept outside this file", where)
    with reading(location):
        return Stored(item, item.dtype, item.shape, filters)


def read_array(
    parent: h5py.Group,
    name: str,
    location: DataLocation,
    *,
    kind: str = "f",
    rows: int | None = None,
    why: str = ROWS,
    needed: str = "",
    pictures: bool = False,
) -> np.ndarray:
    """An array of `parent`: finite float32 [rows, ...] where `kind` begins with "f", else as it is stored.

    Args:
      kind: numpy's letters of the allowed kinds.
      rows: the required length, checked before anything is read; `why` explains it in the error.
      needed: names the required kind in the error.
      pictures: whether uint8 [rows, height, width, channels] is allowed as well; it is not converted.
    """
    item, dtype, shape, filters = inspect(parent, name, location)
    with reading(location):
        chunks, stored = item.chunks, item.id.get_storage_size()
    is_picture = check_type(dtype, shape, location, kind, needed, pictures)
    unknown = [code for code in filters if code not in FILTERS]
    if unknown:  # HDF5 would search for a plugin library to load
        raise location.fault(f"filter {unknown[0]}", f"no filters but {', '.join(FILTERS.values())}")
    check_rows(shape, location, rows, why)
    check_size(shape, dtype, stored, location)
    if math.prod(chunks or ()) > MAX_VALUES:
        raise location.fault(f"chunks {chunks}", f"at most {MAX_VALUES} values in one array")
    location.take(shape, dtype, transient=math.prod(chunks or ()) * dtype.itemsize)
    with reading(location):
        values = item[()]
    return values if is_picture or kind[0] != "f" else to_float32(values, location)


def check_type(
    dtype: np.dtype,
    shape: tuple[int, ...] | None,
    location: DataLocation,
    kind: str,
    needed: str = "",
    pictures: bool = False,
) -> bool:
    """Refuses arrays of other kinds; whether this one is of pictures."""
    needed = needed or KINDS.get(kind[0], kind)
    if dtype.hasobject:
        raise location.fault("an object array", f"plain {needed} numbers")
    may_be_pictures = dtype == np.uint8 and "u" in kind and (shape is None or len(shape) > 2)
    is_picture = may_be_pictures and shape is not None and len(shape) == 4 and 0 not in shape[1:]
    if is_picture and not pictures:
        raise location.fault(f"pictures {shape[1:]}", "vectors; name other observation entries")
    if may_be_pictures and not is_picture:
        raise location.fault(f"dtype uint8, shape {shape}", f"{needed}, or pictures (rows, height, width, channels)")
    if dtype.kind not in kind:
        raise location.fault(f"dtype {dtype}", needed)
    return is_picture


def check_rows(shape: tuple[int, ...] | None, location: DataLocation, rows: int | None, why: str = ROWS) -> None:
    """Refuses arrays without rows, or with another number of them than `rows`, if it is known."""
    if not shape:
        raise location.fault(f"shape {shape}", "one row per step")
    if rows is not None and shape[0] != rows:
        raise location.fault(f"{shape[0]} rows", f"{rows} ({why})")


def check_size(shape: tuple[int, ...], dtype: np.dtype, stored: int, location: DataLocation) -> None:
    """Refuses arrays that are huge, or much larger than the `stored` bytes could be unpacked to."""
    if math.prod(shape) > MAX_VALUES:
        raise location.fault(f"shape {shape}", f"at most {MAX_VALUES} values in one array")
    nominal = math.prod(shape) * dtype.itemsize
    if nominal > max(UNCHECKED_BYTES, MOST_PER_BYTE * stored):
        raise location.fault(
            f"shape {shape}, {nominal:,} bytes of which {stored:,} are stored", "numbers that were written"
        )


def to_float32(values: np.ndarray, location: DataLocation) -> np.ndarray:
    """`values` as float32; refused where they are not finite."""
    with np.errstate(over="ignore"):  # overflow gives infinity, which is refused below
        values = values.astype(np.float32, copy=False)
    wrong = ~np.isfinite(values)
    if wrong.any():
        first = np.argwhere(wrong)[0]
        what = "NaN" if np.isnan(values[tuple(first)]) else "Inf"
        at = f"row {first[0]}" + "".join(f", column {i}" for i in first[1:])
        raise location.fault(f"{what} at {at} ({wrong.sum()} such values)", "finite numbers")
    return values


def read_flags(parent: h5py.Group, name: str, location: DataLocation, rows: int, why: str = ROWS) -> np.ndarray:
    """Flags [rows] as bool, of any type whose values are 0 and 1."""
    values = read_array(parent, name, location, kind=FLAGS, rows=rows, why=why)
    return to_flags(values, location)


def to_flags(values: np.ndarray, location: DataLocation) -> np.ndarray:
    """`values` [T] or [T, 1] as bool [T]; refused where they are not 0 and 1."""
    if values.size != len(values) or not np.isin(values, (0, 1)).all():
        high = f", values up to {values.max():g}" if values.size else ""
        raise location.fault(f"shape {values.shape}{high}", f"({len(values)},) of 0 and 1")
    return values.reshape(len(values)).astype(bool)


def read_attributes(item: h5py.Group) -> dict[str, float | str]:
    """The attributes of a group that are one number or one short text; others are skipped."""
    attributes = {}
    for name in item.attrs:
        kind = item.attrs.get_id(name)
        if kind.shape not in ((), (1,)) or (kind.dtype.kind == "O" and h5py.check_string_dtype(kind.dtype) is None):
            continue
        value = item.attrs[name]
        if isinstance(value, str):
            attributes |= {name: value} if len(value) <= MAX_TEXT else {}
        elif np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf":
            attributes[name] = float(value)
    return attributes


def read_metadata(path: Path, what: str = "Minari's metadata") -> dict:
    """The dictionary in a metadata file of at most 16 MiB."""
    location = DataLocation(path)
    try:
        if path.stat().st_size > 2**24:
            raise location.fault("more than 16 MiB", what)
        content = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise location.fault(f"no valid JSON ({_line(error)})", what) from None
    if not isinstance(content, dict):
        raise location.fault("no dictionary", what)
    return content


def _declared_episodes(file: Path) -> int | None:
    """The number of episodes in a Minari folder's metadata; None for a plain file."""
    metadata_file = file.parent / METADATA
    if file.name != MAIN or not metadata_file.is_file():
        return None
    total = read_metadata(metadata_file).get("total_episodes")
    return total if isinstance(total, int) else None


def member(
    parent: h5py.Group, name: str, location: DataLocation, what: str
) -> h5py.Group | h5py.Dataset | h5py.Datatype:
    """The member of `parent` of that name, stored in this file; `what` names the required kind in the error."""
    with reading(location):
        if "/" in name:
            raise location.fault("a name with '/' in it", "names of levels joined by dots")
        link = parent.get(name, getlink=True)
        if link is None:
            raise location.fault("nothing", what)
        if not isinstance(link, h5py.HardLink):
            target = f"{getattr(link, 'filename', '')} {link.path}"
            raise location.fault(f"a link to {target}", "the data itself (links are not followed)")
        return parent[name]


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
