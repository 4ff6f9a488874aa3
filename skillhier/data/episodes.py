"""One episode of an HDF5 file, checked: Minari's layout here, robomimic's in robomimic.py.

Both modules have `groups(file, place, subset)`, which finds the episodes, and `read(group, place, asked)`, which gives
one as a dictionary of obs, action, reward and info in the order of a Dataset.
"""

from collections.abc import Iterator
from typing import NamedTuple

import h5py
import numpy as np

from skillhier.data import hdf5
from skillhier.data.faults import DataFault, Place

FLAT = "observation"  # what an observation without entries is called
DEEPEST, MOST = 8, 4096  # levels of groups in a group, and arrays
CONTINUOUS = "float32 (whole numbers are choices, and only continuous actions are learned from)"
Size = int | tuple[int, ...]  # of one row: a width, or height, width and channels of a picture


class Asked(NamedTuple):
    """What is to be read of every episode."""

    widths: dict[str, Size | None]  # entry -> its size, filled in as it is found; ACTION beside them
    everything: bool  # all entries of the first episode, which are not known before
    optional: set[str]
    min_length: int
    bounds: tuple[float, float] | None
    pictures: bool  # entries may be pictures


ACTION = ""  # the key of the actions' width among those of the entries


def groups(file: h5py.File, place: Place, subset: str | None) -> Iterator[tuple[h5py.Group, Place]]:
    """The episodes of a file in Minari's layout, in the order of their numbers."""
    if subset is not None:
        raise place.fault(f"no masks to take subset '{subset}' from", "a robomimic file, or subset left out")
    for title in hdf5.episodes(file, place):
        yield hdf5.group(file, title, place.under(title)), place.under(title)


def read(group: h5py.Group, at: Place, asked: Asked) -> dict:
    """One checked episode."""
    actions = acted(group, at.under("actions"), asked)
    steps = len(actions)
    inside = at.under("observations")
    flat = hdf5.is_array(group, "observations", inside) and set(asked.widths) - {ACTION} <= {FLAT}
    if flat:
        asked.widths.setdefault(FLAT, None)
        obs = {FLAT: entry(group, "observations", inside, FLAT, asked, steps + 1)}
    else:
        obs = shown(hdf5.group(group, "observations", inside), inside, asked, steps + 1)
    rewards = paid(group, at.under("rewards"), steps)
    ends = {}
    for name in ("terminations", "truncations"):
        ends[name] = hdf5.numbers(group, name, at.under(name), kind="b", rows=steps)
        early = np.flatnonzero(ends[name].reshape(steps, -1)[:-1].any(axis=-1))
        if early.size:
            raise at.under(name).fault(f"an end at step {early[0]} of {steps}", "ends at the last step only")
    info = hdf5.attributes(group) | {"terminated": bool(ends["terminations"].reshape(steps, -1)[-1].any())}
    if info.get("total_steps", steps) != steps:
        raise at.under("attribute total_steps").fault(f"{info['total_steps']:g}", f"{steps}, the number of actions")
    return in_rows(obs, actions, rewards, info)


def acted(group: h5py.Group, place: Place, asked: Asked) -> np.ndarray:
    """The actions of an episode, [T, A] within the bounds; T is at least the length asked for."""
    actions = entry(group, "actions", place, ACTION, asked, needed=CONTINUOUS)
    long_enough(len(actions), place, asked)
    bounds = asked.bounds
    if bounds is not None and (np.abs(actions - np.mean(bounds)) > (bounds[1] - bounds[0]) / 2 + 1e-5).any():
        raise place.fault(f"values from {actions.min():.4g} to {actions.max():.4g}", f"{bounds[0]} to {bounds[1]}")
    return actions


def long_enough(steps: int, place: Place, asked: Asked) -> None:
    """Refuses an episode that is shorter than a window."""
    if steps < asked.min_length:
        reason = "one window; leave this episode out or set the window's length"
        raise place.fault(f"{steps} steps", f"at least {asked.min_length} ({reason})")


def shown(group: h5py.Group, place: Place, asked: Asked, rows: int, why: str = hdf5.ROWS) -> dict[str, np.ndarray]:
    """The entries asked for, name -> [rows, d] or pictures; of everything asked for, this episode says what it is."""
    if asked.everything and set(asked.widths) <= {ACTION}:
        asked.widths.update({name: None for name in arrays(group, place) if name not in asked.optional})
        if set(asked.widths) <= {ACTION}:
            raise place.fault("no arrays", "named observations")
    names = [name for name in asked.widths if name != ACTION and name not in asked.optional]
    names += [name for name in sorted(asked.optional) if _there(group, name, place)]
    found = {}
    for name in names:
        parent, leaf, inside = holder(group, name, place)
        found[name] = entry(parent, leaf, inside.under(leaf), name, asked, rows, why)
    return found


def arrays(parent: h5py.Group, place: Place, depth: int = 0) -> list[str]:
    """The names of all arrays in a group and the groups inside it, levels joined by dots."""
    found = []
    with hdf5.reading(place):
        names = list(parent)
    if depth == DEEPEST or len(names) > MOST:
        raise place.fault(f"groups in groups, {DEEPEST} deep" if depth == DEEPEST else f"{len(names)} names", "fewer")
    for name in names:
        item = hdf5.member(parent, name, place.under(name), "an array")
        if isinstance(item, h5py.Group):
            found += [f"{name}.{inner}" for inner in arrays(item, place.under(name), depth + 1)]
        else:
            found.append(name)
        if len(found) > MOST:
            raise place.fault(f"more than {MOST} arrays", "fewer")
    return found


def holder(parent: h5py.Group, name: str, place: Place) -> tuple[h5py.Group, str, Place]:
    """Where the array stands that `arrays` calls `name`: the group, its name there, the place of the group."""
    with hdf5.reading(place):
        if not hdf5.holds(parent, name):
            for dot in (i for i, letter in enumerate(name) if letter == "."):
                if hdf5.holds(parent, name[:dot]):
                    inside = place.under(name[:dot])
                    return holder(hdf5.group(parent, name[:dot], inside), name[dot + 1 :], inside)
    return parent, name, place


def entry(
    parent: h5py.Group,
    name: str,
    place: Place,
    key: str,
    asked: Asked,
    rows: int | None = None,
    why: str = hdf5.ROWS,
    needed: str = "",
) -> np.ndarray:
    """One array as [T, d], or pictures [T, H, W, C] where they may be, of the size that `key` has elsewhere."""
    pictures = asked.pictures and key != ACTION
    values = hdf5.numbers(parent, name, place, rows=rows, why=why, needed=needed, pictures=pictures)
    values = values[:, None] if values.ndim == 1 else values  # scalars may come without their axis
    size, known = values.shape[1:], asked.widths.get(key)
    wanted = ("width",) if known is None else tuple(np.atleast_1d(known).tolist())
    if (values.ndim != 2 and values.dtype != np.uint8) or (known is not None and size != wanted):
        raise place.fault(f"shape {values.shape}", f"({', '.join(map(str, (len(values), *wanted)))})")
    asked.widths[key] = size
    return values


def paid(group: h5py.Group, place: Place, steps: int) -> np.ndarray:
    """The rewards [T]."""
    rewards = hdf5.numbers(group, "rewards", place, rows=steps)
    if rewards.ndim != 1:
        raise place.fault(f"shape {rewards.shape}", f"({steps},)")
    return rewards


def in_rows(obs: dict[str, np.ndarray], actions: np.ndarray, rewards: np.ndarray, info: dict) -> dict:
    """T + 1 rows: a reward stands in the row it led to, and the last row has no action."""
    return {
        "obs": obs,
        "action": np.concatenate([actions, np.zeros_like(actions[:1])]),
        "reward": np.concatenate([np.zeros(1, np.float32), rewards]),
        "info": info,
    }


def _there(group: h5py.Group, name: str, place: Place) -> bool:
    try:
        parent, leaf, _ = holder(group, name, place)
    except DataFault:
        return False
    return hdf5.holds(parent, leaf)
