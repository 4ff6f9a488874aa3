"""Guarded reading of HDF5: only numbers that stand in the file itself, with every refusal in one line.

A data set may come from anywhere, so nothing is followed out of its file (links, external or virtual
storage), nothing is unpickled (object arrays are refused unread) and no size is believed unchecked.
"""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from skillhier.data.faults import DataFault, Place

MAIN = "main_data.hdf5"  # Minari's name for the one file with all episodes
METADATA = "metadata.json"
PARTS = "part_*.h5"  # what a recording that was cut short leaves beside it
SUFFIXES = (".h5", ".hdf5")
LARGEST = 2**28  # values in one array: 1 GiB of float32
UNCHECKED = 2**20  # bytes that an array may claim whatever is stored of it
TIGHTEST = 1100  # bytes claimed by a stored one; gzip, the tightest filter, packs 1,032 at most
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
LONGEST = 1024  # characters of a text attribute; longer ones (whole models) are left out
KINDS = {"f": "float32", "b": "bool", "S": "fixed-length text"}
ROWS = "observations have one row more than actions, the rest as many"
FORMS = "an .h5 or .hdf5 file, a folder of them, or a Minari folder (data/main_data.hdf5)"


def files(path: str | Path) -> list[Path]:
    """The HDF5 files behind `path`: itself, those in a folder by name, or the one of a Minari folder."""
    path = Path(path).expanduser()
    place = Place(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise place.fault("nothing at this path", FORMS)
    for folder in (path / "data", path):
        if list(folder.glob(PARTS)):
            raise Place(folder).fault(
                "a recording that was cut short", "the same collect command once more to finish it"
            )
        if (folder / MAIN).is_file():
            return [folder / MAIN]
    found = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES and f.is_file() and not f.name.startswith("."))
    if not found:
        raise place.fault("a folder without .h5 or .hdf5 files", FORMS)
    return found


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading."""
    place = Place(path)
    try:
        if path.stat().st_size == 0:
            raise place.fault("an empty file (0 bytes)", "HDF5 with groups episode_<i>")
        file = h5py.File(path, "r", locking=False)  # a reader writes nothing, and data may lie on read-only disks
    except OSError as error:
        raise place.fault(f"a file that does not open ({_line(error)})", "a whole, readable HDF5 file") from None
    with file:
        yield file


@contextmanager
def reading(place: Place) -> Iterator[None]:
    """Turns what HDF5 says of damaged contents, in many words and many kinds of error, into the fault of `place`."""
    try:
        yield
    except DataFault:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise place.fault(f"unreadable data ({_line(error)})", "an undamaged file") from error


def episodes(file: h5py.File, place: Place, *, promised: bool = True) -> list[str]:
    """The names of a file's episode groups, in the order of their numbers.

    `promised`: hold a Minari file to the number of episodes that its metadata names.
    """
    with reading(place):
        names = [name for name in file if re.fullmatch(r"episode_\d{1,9}", name)]
    if not names:
        raise place.fault("no episodes", "groups episode_<i>")
    expected = _promised(place.file) if promised else None
    if expected is not None and expected != len(names):
        raise place.fault(f"{len(names)} episodes", f"{expected}, the total_episodes of {METADATA}")
    return sorted(names, key=lambda name: int(name.removeprefix("episode_")))


def group(parent: h5py.Group, name: str, place: Place) -> h5py.Group:
    """A group of `parent` that really stands in this file."""
    item = member(parent, name, place, "a group")
    if not isinstance(item, h5py.Group):
        raise place.fault("an array", "a group of named arrays")
    return item


def holds(parent: h5py.Group, name: str) -> bool:
    """Whether there is something of that name; `name in parent` would follow a link to look."""
    return "/" not in name and parent.get(name, getlink=True) is not None


def is_array(parent: h5py.Group, name: str, place: Place) -> bool:
    """Whether that member, which must be there, is an array."""
    return isinstance(member(parent, name, place, "a group"), h5py.Dataset)


def numbers(
    parent: h5py.Group,
    name: str,
    place: Place,
    *,
    kind: str = "f",
    rows: int | None = None,
    why: str = ROWS,
    needed: str = "",
    pictures: bool = False,
) -> np.ndarray:
    """An array of `parent`: float32 [rows, ...] (kind "f", from any float type) or bool (kind "b"), finite.

    Other kinds are numpy's letters, and come as they are. `rows`: how long it must be, said before anything is read,
    and `why`; `needed`: what is said to be needed where the kind is another; `pictures`: uint8 [rows, height, width,
    channels] will do as well, and stays what it is.
    """
    item = member(parent, name, place, "an array")
    if not isinstance(item, h5py.Dataset):
        raise place.fault("a group", "an array")
    with reading(place):
        # Before anything is asked of it: the shape of some virtual arrays is read from the files behind them.
        properties = item.id.get_create_plist()
        elsewhere = properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count() > 0
        filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if elsewhere:
        where = "the numbers themselves (nothing is followed out of a file)"
        raise place.fault("numbers kept outside this file", where)
    with reading(place):
        dtype, shape, chunks, stored = item.dtype, item.shape, item.chunks, item.id.get_storage_size()
    needed = needed or KINDS.get(kind[0], kind)
    if dtype.hasobject:
        raise place.fault("an object array", f"plain {KINDS.get(kind[0], kind)} numbers")
    drawn = pictures and dtype == np.uint8
    if drawn and (shape is None or len(shape) != 4 or 0 in shape[1:]):
        raise place.fault(f"dtype uint8, shape {shape}", f"{needed}, or pictures (rows, height, width, channels)")
    if dtype.kind not in kind and not drawn:
        raise place.fault(f"dtype {dtype}", needed)
    unknown = [code for code in filters if code not in FILTERS]
    if unknown:  # HDF5 would look for a library to load
        raise place.fault(f"filter {unknown[0]}", f"no filters but {', '.join(FILTERS.values())}")
    if not shape:
        raise place.fault(f"shape {shape}", "one row per step")
    if rows is not None and shape[0] != rows:
        raise place.fault(f"{shape[0]} rows", f"{rows} ({why})")
    for what, size in (("shape", shape), ("chunks", chunks or ())):
        if math.prod(size) > LARGEST:
            raise place.fault(f"{what} {size}", f"at most {LARGEST} values in one array")
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > max(UNCHECKED, TIGHTEST * stored):
        raise place.fault(
            f"shape {shape}, {claimed:,} bytes of which {stored:,} are stored", "numbers that were written"
        )
    with reading(place):
        values = item[()]
    if kind == "f" and not drawn:
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
            values = values.astype(np.float32, copy=False)
    if values.dtype.kind != "f":
        return values
    wrong = ~np.isfinite(values)
    if wrong.any():
        first = np.argwhere(wrong)[0]
        what = "NaN" if np.isnan(values[tuple(first)]) else "Inf"
        at = f"row {first[0]}" + "".join(f", column {i}" for i in first[1:])
        raise place.fault(f"{what} at {at} ({wrong.sum()} such values)", "finite numbers")
    return values


def attributes(item: h5py.Group) -> dict[str, float | str]:
    """The attributes of a group that are one number or one short text; all others are left out."""
    found = {}
    for name in item.attrs:
        kind = item.attrs.get_id(name)
        if kind.shape not in ((), (1,)) or (kind.dtype.kind == "O" and h5py.check_string_dtype(kind.dtype) is None):
            continue
        value = item.attrs[name]
        if isinstance(value, str):
            found |= {name: value} if len(value) <= LONGEST else {}
        elif np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf":
            found[name] = float(value)
    return found


def metadata(path: Path) -> dict:
    """The JSON of a metadata file, of sane size and depth."""
    place = Place(path)
    try:
        if path.stat().st_size > 2**24:
            raise place.fault("more than 16 MiB", "the metadata of one data set")
        found = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise place.fault(f"no valid JSON ({_line(error)})", "Minari's metadata") from None
    if not isinstance(found, dict):
        raise place.fault("no dictionary", "Minari's metadata")
    return found


def _promised(file: Path) -> int | None:
    """How many episodes a Minari folder says it holds; None for a plain file."""
    beside = file.parent / METADATA
    if file.name != MAIN or not beside.is_file():
        return None
    total = metadata(beside).get("total_episodes")
    return total if isinstance(total, int) else None


def member(parent: h5py.Group, name: str, place: Place, what: str) -> h5py.Group | h5py.Dataset | h5py.Datatype:
    """What `parent` holds under that name, in this file itself; `what` is needed."""
    with reading(place):
        if "/" in name:
            raise place.fault("a name with '/' in it", "names of levels joined by dots")
        link = parent.get(name, getlink=True)
        if link is None:
            raise place.fault("nothing", what)
        if not isinstance(link, h5py.HardLink):
            target = f"{getattr(link, 'filename', '')} {link.path}"
            raise place.fault(f"a link to {target}", "the data itself (links are not followed)")
        return parent[name]


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
