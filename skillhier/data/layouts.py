"""Which layout a data set has, and its episodes one by one, whatever the layout."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from skillhier.data import arrays, episodes, flat, hdf5, lerobot, robomimic
from skillhier.data.faults import DataLocation, expanded
from skillhier.data.memory import Memory


class Layout(NamedTuple):
    """How episodes are stored: what reads one, and what says which entries it has. See episodes.py."""

    title: str
    read: Callable[[Any, DataLocation, episodes.Request], dict]
    contents: Callable[[Any, DataLocation], dict[str, episodes.Content]]


class Unread(NamedTuple):
    """An episode, open but unread."""

    layout: Layout
    group: Any
    at: DataLocation

    def read(self, request: episodes.Request) -> dict:
        """The episode in the row order of a Dataset. Raises DataFault."""
        with hdf5.reading(self.at):
            return self.layout.read(self.group, self.at, request)

    def contents(self) -> dict[str, episodes.Content]:
        """Entry -> how it is stored. Raises DataFault."""
        with hdf5.reading(self.at):
            return self.layout.contents(self.group, self.at)


def check(path: str | Path) -> None:
    """Refuses a path at which there is no data set, without opening its files. Raises DataFault."""
    if not lerobot.is_lerobot(path):
        hdf5.files(path)


def each(
    path: str | Path, subset: str | None = None, length: int | None = None, max_gib: float | None = None
) -> Iterator[Unread]:
    """The episodes of all files at `path`; each can be read until the next one is asked for. Raises DataFault.

    subset: of a robomimic file the mask whose demos are wanted, of a LeRobot data set the split.
    length: of the episodes of a flat file that does not say where they end.
    max_gib: GiB that all of them may take, see memory.py.
    """
    memory = Memory(path, max_gib)
    if lerobot.is_lerobot(path):
        layout = Layout("LeRobot", lerobot.read, lerobot.contents)
        yield from (Unread(layout, *one) for one in lerobot.groups(expanded(path), subset, memory))
        return
    for file_path in hdf5.files(path):
        location = DataLocation(file_path, memory=memory)
        if file_path.suffix == ".npz":
            with arrays.open_npz(file_path) as content:
                if not flat.is_flat(content):
                    raise location.fault(", ".join(content.contents) or "no arrays", "observations and actions")
                layout = Layout("flat arrays, as OGBench's (.npz)", flat.read, flat.contents)
                yield from (Unread(layout, *one) for one in flat.groups(content, location, subset, length))
            continue
        with hdf5.open_file(file_path) as file:
            with hdf5.reading(location):
                names = list(file)
            has_episodes = any(name.startswith("episode_") for name in names)
            if not has_episodes and {"observations", "actions"} <= set(names):
                layout = Layout("flat arrays, as D4RL's (HDF5)", flat.read, flat.contents)
                content = arrays.of_hdf5(file, location)
                yield from (Unread(layout, *one) for one in flat.groups(content, location, subset, length))
            elif not has_episodes and "data" in names:
                layout = Layout("robomimic (HDF5)", robomimic.read, robomimic.contents)
                yield from (Unread(layout, *one) for one in robomimic.groups(file, location, subset))
            else:
                title = "Minari folder" if file_path.name == hdf5.MAIN else "HDF5 with groups episode_<i>"
                layout = Layout(title, episodes.read, episodes.contents)
                yield from (Unread(layout, *one) for one in episodes.groups(file, location, subset))
