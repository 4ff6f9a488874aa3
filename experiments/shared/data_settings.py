"""Settings of a config's group `data` that say how demonstrations are read and what is learned of them; their use.

A config file that has them defines `LIMITS = {..., **data_settings.LIMITS}` and calls `add_settings(config.data)`.
"""

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from skillhier.data import dataset, units
from skillhier.data.dataset import Dataset
from skillhier.data.faults import DataFault

LIMITS = {
    "data.episode_length": (0, 10**6),
    "data.actions": list(units.HOW),
    "data.least_deviation": (1e-3, 1.0),
    "data.max_gib": (0.0, 1e6),
}


def add_settings(data: ConfigDict) -> None:
    """Adds them to the group `data`, which has a `path`."""
    data.subset = ""  # of the episodes: a mask of a robomimic file, a split of a LeRobot folder; empty: all
    data.drop_short = False  # leave out episodes that are shorter than a window; false: refuse the data
    data.episode_length = 0  # of all episodes of a flat file that does not say where they end; 0: it says so
    data.actions = "auto"  # as they are (none), normalised by their range or deviation; auto: as can be learned
    data.quaternions = ()  # entries that are quaternions, or ENTRY:COLUMN where one begins; their signs are kept
    data.least_deviation = dataset.FLOOR  # observations that vary less are not scaled up to deviation 1
    data.max_gib = 0.0  # GiB that reading may take; 0: what the machine has free


def load(data: ConfigDict, names: Mapping[str, Any], **settings: Any) -> Dataset:
    """The demonstrations at data.path. Actions are in the units of the world as skillhier has it: where a Minari
    folder gives the range that its world takes, that range is [-1, 1]. Raises DataFault.
    """
    try:
        loaded = dataset.load(
            data.path,
            names,
            bounds=None,
            subset=data.subset or None,
            drop_short=data.drop_short,
            episode_length=data.episode_length or None,
            max_gib=data.max_gib or None,
            **settings,
        )
        bounds = dataset.action_bounds(data.path)
    except DataFault as fault:
        raise DataFault(
            f"{fault}; python -m experiments.data --path={shlex.quote(data.path)} says what there is"
        ) from None
    return loaded if bounds is None else dataset.in_bounds(loaded, *bounds)


def describe_units(data: Dataset, measured: Mapping[str, Any] | None, least_deviation: float) -> list[str]:
    """Lines on what is learned otherwise than it is in the data, and on what hardly varies there."""
    rows, lines = units.acted(data), []
    scale = (measured or {}).get("action")
    if scale is not None:
        deviation = rows.std(0)
        lines.append(
            f"actions have deviations from {deviation.min():.3g} to {deviation.max():.3g} and values from "
            f"{rows.min():.3g} to {rows.max():.3g}; they are learned in units of their own, and acting undoes it "
            "(config.data.actions)"
        )
    for which, what in ((units.constant(rows), "constant"), (units.nearly_constant(rows), "nearly constant")):
        if which.any():
            columns = ", ".join(map(str, np.flatnonzero(which)))
            lines.append(f"of the actions {what} in all of the data: dimension {columns}")
    for name, entry in data.obs.items():
        if units.constant(entry).all():
            lines.append(f"{name} is constant in all of the data; leave it out of config.agent.low and mid")
        elif (deviation := entry.std(0).max()) < least_deviation:
            lines.append(
                f"{name} is nearly constant, its deviation {deviation:.2g} at most; if it matters, set "
                "config.data.least_deviation"
            )
    return lines
