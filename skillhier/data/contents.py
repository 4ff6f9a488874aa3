"""What a data set holds, as far as it can be read: layout, entries, episodes, faults."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from skillhier.data import dataset, layouts, units
from skillhier.data.dataset import Dataset
from skillhier.data.episodes import ACTION, Content, Request
from skillhier.data.faults import DataFault
from skillhier.data.memory import MemoryFault


class Contents(NamedTuple):
    """A data set without its pictures."""

    layout: str
    about: dict  # what it says of itself
    stored: dict[str, Content]  # the entries of its first episode
    data: Dataset  # the episodes that can be read, with the vectors among the entries; actions as they are stored
    faults: tuple[str, ...]  # a line each; episodes with a fault are not in `data`

    @property
    def vectors(self) -> tuple[str, ...]:
        """The entries that agents could see: vectors that are not privileged, and vary."""
        hidden = set(self.about.get("privileged", ()))
        return tuple(
            name for name, rows in self.data.obs.items() if name not in hidden and not units.constant(rows).all()
        )


def examine(
    path: str | Path, subset: str | None = None, episode_length: int | None = None, max_gib: float | None = None
) -> Contents:
    """Reads a data set (the arguments are those of dataset.load) and keeps its faults. Raises DataFault if all fail."""
    request, stored, layout, loaded, faults = None, {}, "", [], []
    try:
        for unread in layouts.each(path, subset, episode_length, max_gib):
            try:
                if request is None:
                    stored, layout = unread.contents(), unread.layout.title
                    names = [name for name, one in stored.items() if one.is_vector and not one.extra]
                    request = Request({**dict.fromkeys(names), ACTION: None}, False, set(), 1, None, False)
                loaded.append(unread.read(request))
            except MemoryFault:
                raise
            except DataFault as fault:
                faults.append(str(fault))
    except MemoryFault:
        raise
    except DataFault as fault:  # of a whole file
        faults.append(str(fault))
    if not loaded:
        raise DataFault(faults[0] if faults else f"{path}: found no episodes, needs at least one")
    return Contents(layout, dataset.about(path), stored, dataset.joined(loaded), tuple(faults))


def returns(data: Dataset) -> np.ndarray:
    """The sum of rewards of each episode, [E]."""
    ends = data.start + data.length + 1
    return np.array([data.reward[a:b].sum() for a, b in zip(data.start, ends, strict=True)])
