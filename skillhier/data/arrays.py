"""Named arrays of all rows of a data set, as flat files hold them: HDF5, or NumPy's .npz. Guarded as in hdf5.py."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from skillhier.data import episodes, hdf5
from skillhier.data.episodes import Content
from skillhier.data.faults import DataLocation

ROWS = "all arrays of a flat file have one row per step"


class Arrays(NamedTuple):
    """The arrays of a file: by name what is stored, and a function that reads one."""

    contents: dict[str, Content]  # names of nested groups are joined by dots
    rows: dict[str, int]
    read: Callable[..., np.ndarray]  # (name, location, *, kind, rows, pictures), as hdf5.read_array
    kept: dict[str, np.ndarray]  # what has been read, for the next episode

    def get(self, name: str, location: DataLocation, **settings) -> np.ndarray:
        """The array `name`, read once."""
        if name not in self.kept:
            self.kept[name] = self.read(name, location, **settings)
        return self.kept[name]


def of_hdf5(file: h5py.File, location: DataLocation) -> Arrays:
    """The arrays of an open HDF5 file."""
    contents, rows = {}, {}
    for name in episodes.array_names(file, location):
        parent, leaf, inside = episodes.find_parent(file, name, location)
        _, dtype, shape, _ = hdf5.inspect(parent, leaf, inside.under(leaf))
        if shape:
            contents[name], rows[name] = episodes.content(parent, leaf, inside.under(leaf)), shape[0]

    def read(name: str, at: DataLocation, **settings) -> np.ndarray:
        parent, leaf, _ = episodes.find_parent(file, name, location)
        return hdf5.read_array(parent, leaf, at, why=ROWS, **settings)

    return Arrays(contents, rows, read, {})


@contextmanager
def open_npz(path: Path) -> Iterator[Arrays]:
    """The arrays of an .npz file; nothing in it is unpickled."""
    location = DataLocation(path)
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise location.fault(f"a file that does not open ({error})", "a whole .npz file") from None
    with archive:
        headers = {}
        with hdf5.reading(location):
            for member in archive.infolist():
                if member.filename.endswith(".npy") and "/" not in member.filename:
                    with archive.open(member) as stream:
                        headers[member.filename.removesuffix(".npy")] = (member, *_header(stream))

        def read(
            name: str,
            at: DataLocation,
            kind: str = "f",
            rows: int | None = None,
            pictures: bool = False,
            needed: str = "",
        ) -> np.ndarray:
            member, shape, dtype = headers[name]
            is_picture = hdf5.check_type(dtype, shape, at, kind, needed, pictures)
            hdf5.check_rows(shape, at, rows, ROWS)
            hdf5.check_size(shape, dtype, member.compress_size, at)
            at.take(shape, dtype)
            with hdf5.reading(at), archive.open(member) as stream:
                values = np.lib.format.read_array(stream, allow_pickle=False)
            return values if is_picture or kind[0] != "f" else hdf5.to_float32(values, at)

        numbers = {name: (shape, dtype) for name, (_, shape, dtype) in headers.items() if shape}
        contents = {
            name: Content("text" if dtype.kind in "OSU" else str(dtype), shape[1:])
            for name, (shape, dtype) in numbers.items()
        }
        yield Arrays(contents, {name: shape[0] for name, (shape, _) in numbers.items()}, read, {})


def _header(stream) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, dtype) of an array in NumPy's format."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"version {version} of NumPy's format")
    shape, _, dtype = read[version](stream)
    return shape, dtype
