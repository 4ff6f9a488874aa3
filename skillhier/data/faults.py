"""Whatever may be wrong with a data set, said in one line."""

from pathlib import Path
from typing import NamedTuple


class DataFault(ValueError):
    """A data set that cannot be used. Its message is one line: entry points print it and stop."""


class Place(NamedTuple):
    """Where in a data set something stands: the file, the episode, the field."""

    file: Path
    episode: str = ""
    field: str = ""

    def fault(self, found: str, needed: str) -> DataFault:
        """The fault of this place, ready to raise."""
        place = ": ".join(str(part) for part in self if str(part))
        return DataFault(" ".join(f"{place}: found {found}, needs {needed}".split()))

    def under(self, name: str) -> "Place":
        """The place one level further down: an episode of a file, a field of an episode."""
        if not self.episode:
            return self._replace(episode=name)
        return self._replace(field=f"{self.field}/{name}" if self.field else name)
