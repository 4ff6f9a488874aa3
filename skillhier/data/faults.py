"""Errors in data sets, each in one line."""

from pathlib import Path
from typing import Any, NamedTuple


class DataFault(ValueError):
    """A data set cannot be used. The message is one line, which entry points print before they stop."""


def expanded(path: str | Path) -> Path:
    """A path as it was given, with ~ for the home folder. Raises DataFault."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DataFault(f"{path}: found no home folder of that user, needs a path without ~; set data.path") from None


class DataLocation(NamedTuple):
    """A location in a data set: the file, the episode, the field."""

    file: Path
    episode: str = ""
    field: str = ""
    memory: Any = None  # a memory.Memory that counts what is read there

    def fault(self, actual: str, needed: str) -> DataFault:
        """The error at this location, to be raised."""
        where = ": ".join(str(part) for part in self[:3] if str(part))
        return DataFault(" ".join(f"{where}: found {actual}, needs {needed}".split()))

    def take(self, shape: tuple[int, ...], dtype: Any, transient: int = 0) -> None:
        """Counts an array that is about to be read there (memory.py). Raises MemoryFault."""
        if self.memory is not None:
            self.memory.take(shape, dtype, self, transient)

    def under(self, name: str) -> "DataLocation":
        """The location one level down: an episode of a file, a field of an episode."""
        if not self.episode:
            return self._replace(episode=name)
        return self._replace(field=f"{self.field}/{name}" if self.field else name)
