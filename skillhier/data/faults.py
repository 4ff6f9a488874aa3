"""Errors in data sets, each in one line."""

from pathlib import Path
from typing import NamedTuple


class DataFault(ValueError):
    """A data set cannot be used. The message is one line, which entry points print before they stop."""


class DataLocation(NamedTuple):
    """A location in a data set: the file, the episode, the field."""

    file: Path
    episode: str = ""
    field: str = ""

    def fault(self, actual: str, needed: str) -> DataFault:
        """The error at this location, to be raised."""
        where = ": ".join(str(part) for part in self if str(part))
        return DataFault(" ".join(f"{where}: found {actual}, needs {needed}".split()))

    def under(self, name: str) -> "DataLocation":
        """The location one level down: an episode of a file, a field of an episode."""
        if not self.episode:
            return self._replace(episode=name)
        return self._replace(field=f"{self.field}/{name}" if self.field else name)
