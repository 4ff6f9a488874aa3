"""One episode of a robomimic file, checked (https://robomimic.github.io, "Dataset Contents").

Layout: data/demo_<i>/{obs/<name> [T, d], actions [T, A], rewards [T], dones [T]}, attributes `num_samples` of a demo
and `total` of `data`, mask/<name> with names of demos. States and models are never opened. Imitation needs neither
rewards nor dones: where a demo has none, rewards are 0 and it counts as truncated.

The observation after the last action is in next_obs. Without next_obs that action and its reward are dropped, since no
observation may be invented, and the episode counts as truncated; a Dataset's notes say what reward that was. `dones`
may be set before the end, while the robot stays in a goal state; the episode continues, and is terminated (not
truncated) if the last one is set.
"""

import re
from collections.abc import Iterator

import h5py
import numpy as np

from skillhier.data import episodes, hdf5
from skillhier.data.episodes import Request
from skillhier.data.faults import DataLocation

ROWS = "a demo has as many observations, rewards and dones as actions"


def groups(file: h5py.File, location: DataLocation, subset: str | None) -> Iterator[tuple[h5py.Group, DataLocation]]:
    """The demos in the order of their numbers; with `subset` those in the mask of that name."""
    data = hdf5.group(file, "data", location.under("data"))
    with hdf5.reading(location.under("data")):
        names = [name for name in data if re.fullmatch(r"demo_\d{1,9}", name)]
    if not names:
        raise location.under("data").fault("no demos", "groups demo_<i>")
    names = sorted(names, key=lambda name: int(name.removeprefix("demo_")))
    samples = 0
    for name in names if subset is None else _masked_names(file, location, subset, names):
        at = location.under(name)
        group = hdf5.group(data, name, at)
        with hdf5.reading(at):
            samples += hdf5.read_attributes(group).get("num_samples", np.nan)
        yield group, at
    with hdf5.reading(location.under("data")):
        total = hdf5.read_attributes(data).get("total")
    if subset is None and total is not None and samples == samples and total != samples:
        raise location.under("data").fault(f"{samples:g} samples in all demos", f"{total}, its attribute total")


def read(group: h5py.Group, at: DataLocation, request: Request) -> dict:
    """One checked demo."""
    actions = episodes.read_actions(group, at.under("actions"), request)
    steps = len(actions)
    info = hdf5.read_attributes(group)
    if info.get("num_samples", steps) != steps:
        raise at.under("attribute num_samples").fault(f"{info['num_samples']}", f"{steps}, the number of actions")
    obs = episodes.read_observations(hdf5.group(group, "obs", at.under("obs")), at.under("obs"), request, steps, ROWS)
    with hdf5.reading(at):
        there = {name for name in ("rewards", "dones", "next_obs") if hdf5.has_member(group, name)}
    rewards, done = np.zeros(steps, np.float32), False
    if "rewards" in there:
        rewards = episodes.read_rewards(group, at.under("rewards"), steps)
    if "dones" in there:
        done = bool(hdf5.read_flags(group, "dones", at.under("dones"), steps, ROWS)[-1])
    if "next_obs" not in there:
        episodes.check_length(steps - 1, at.under("actions"), request)
    else:
        inside = at.under("next_obs")
        after = episodes.read_observations(hdf5.group(group, "next_obs", inside), inside, request, steps, ROWS)
        obs = {name: np.concatenate([values, after[name][-1:]]) for name, values in obs.items() if name in after}
    complete = "next_obs" in there
    return episodes.to_rows(obs, actions, rewards, info | {"terminated": done}, complete=complete)


def contents(group: h5py.Group, at: DataLocation) -> dict[str, episodes.Content]:
    """The observation entries of a demo, unread."""
    return episodes.all_contents(hdf5.group(group, "obs", at.under("obs")), at.under("obs"))


def _masked_names(file: h5py.File, location: DataLocation, subset: str, names: list[str]) -> list[str]:
    at = location.under("mask")
    masks = hdf5.group(file, "mask", at)
    mask = hdf5.read_array(masks, subset, at.under(subset), kind="S")
    chosen = [name.decode("ascii", "replace") for name in mask.ravel().tolist()]
    absent = sorted(set(chosen) - set(names))
    if absent or not chosen:
        raise at.under(subset).fault(absent[0] if absent else "no names", "names of demos in this file")
    return sorted(set(chosen), key=lambda name: int(name.removeprefix("demo_")))
