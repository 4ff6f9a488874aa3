"""One episode of a robomimic file, checked (https://robomimic.github.io, "Dataset Contents").

Layout: data/demo_<i>/{obs/<name> [T, d], actions [T, A], rewards [T], dones [T]}, attributes `num_samples` of a demo
and `total` of `data`, masks/<name> of demo names beside it. States and models are never opened.

What the last action led to stands in next_obs, where there is one. Without it that action and its reward are left out:
no observation is made up, and the episode counts as cut. `dones` may be set before the end, while the robot stays
where the task is done; the episode goes on, and has ended (not been cut) if the last one is set.
"""

import re
from collections.abc import Iterator

import h5py
import numpy as np

from skillhier.data import episodes, hdf5
from skillhier.data.episodes import Asked
from skillhier.data.faults import Place

ROWS = "a demo has as many observations, rewards and dones as actions"


def is_one(file: h5py.File, place: Place) -> bool:
    """Whether a file has this layout and not Minari's."""
    with hdf5.reading(place):
        names = list(file)
    return "data" in names and not any(name.startswith("episode_") for name in names)


def groups(file: h5py.File, place: Place, subset: str | None) -> Iterator[tuple[h5py.Group, Place]]:
    """The demos in the order of their numbers; with `subset` those that this mask names."""
    data = hdf5.group(file, "data", place.under("data"))
    with hdf5.reading(place.under("data")):
        names = [name for name in data if re.fullmatch(r"demo_\d{1,9}", name)]
    if not names:
        raise place.under("data").fault("no demos", "groups demo_<i>")
    names = sorted(names, key=lambda name: int(name.removeprefix("demo_")))
    counted = 0
    for name in names if subset is None else _masked(file, place, subset, names):
        at = place.under(name)
        group = hdf5.group(data, name, at)
        with hdf5.reading(at):
            counted += hdf5.attributes(group).get("num_samples", np.nan)
        yield group, at
    with hdf5.reading(place.under("data")):
        total = hdf5.attributes(data).get("total")
    if subset is None and total is not None and counted == counted and total != counted:
        raise place.under("data").fault(f"{counted:g} samples in all demos", f"{total}, its attribute total")


def read(group: h5py.Group, at: Place, asked: Asked) -> dict:
    """One checked demo."""
    actions = episodes.acted(group, at.under("actions"), asked)
    steps = len(actions)
    info = hdf5.attributes(group)
    if info.get("num_samples", steps) != steps:
        raise at.under("attribute num_samples").fault(f"{info['num_samples']}", f"{steps}, the number of actions")
    obs = episodes.shown(hdf5.group(group, "obs", at.under("obs")), at.under("obs"), asked, steps, ROWS)
    rewards = episodes.paid(group, at.under("rewards"), steps)
    dones = hdf5.numbers(group, "dones", at.under("dones"), kind="biuf", rows=steps, why=ROWS, needed="0 and 1")
    if dones.ndim != 1 or not np.isin(dones, (0, 1)).all():
        raise at.under("dones").fault(f"shape {dones.shape}, values up to {dones.max():g}", f"({steps},) of 0 and 1")
    with hdf5.reading(at):
        follows = hdf5.holds(group, "next_obs")
    if not follows:
        episodes.long_enough(steps - 1, at.under("actions"), asked)
        return episodes.in_rows(obs, actions[:-1], rewards[:-1], info | {"terminated": False})
    inside = at.under("next_obs")
    after = episodes.shown(hdf5.group(group, "next_obs", inside), inside, asked, steps, ROWS)
    obs = {name: np.concatenate([values, after[name][-1:]]) for name, values in obs.items() if name in after}
    return episodes.in_rows(obs, actions, rewards, info | {"terminated": bool(dones[-1])})


def _masked(file: h5py.File, place: Place, subset: str, names: list[str]) -> list[str]:
    at = place.under("mask")
    masks = hdf5.group(file, "mask", at)
    chosen = hdf5.numbers(masks, subset, at.under(subset), kind="S")
    wanted = [name.decode("ascii", "replace") for name in chosen.ravel().tolist()]
    absent = sorted(set(wanted) - set(names))
    if absent or not wanted:
        raise at.under(subset).fault(absent[0] if absent else "no names", "names of demos in this file")
    return sorted(set(wanted), key=lambda name: int(name.removeprefix("demo_")))
