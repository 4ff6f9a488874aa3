"""One episode of a data set, checked: Minari's layout here; robomimic.py, flat.py and lerobot.py have the others.

Each of these modules has `groups(file, location, subset)`, which lists the episodes, `read(group, location, request)`,
which reads one as a dictionary of obs, action, reward and info in the row order of a Dataset, and
`contents(group, location)`, which says what entries it has.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import h5py
import numpy as np

from skillhier.data import hdf5
from skillhier.data.faults import DataFault, DataLocation

FLAT = "observation"  # the entry of an observation that is one array
MAX_DEPTH, MAX_ARRAYS = 8, 4096  # levels of nested groups; arrays of one episode
CONTINUOUS = "float32 (integer actions are discrete, and only continuous ones are supported)"
Size = int | tuple[int, ...]  # of one row: a width, or (height, width, channels) of a picture


class Request(NamedTuple):
    """What to read of every episode."""

    widths: dict[str, Size | None]  # entry -> its size, filled in by the first episode; also ACTION
    everything: bool  # read all entries of the first episode
    optional: set[str]
    min_length: int
    bounds: tuple[float, float] | None
    pictures: bool  # entries may be pictures


class ShortEpisode(DataFault):
    """An episode that has fewer actions than a window."""


class Content(NamedTuple):
    """One entry as it is stored."""

    dtype: str
    shape: tuple[int, ...]  # of one row
    extra: bool = False  # it is read only where it is named

    @property
    def is_vector(self) -> bool:
        """Whether its rows are numbers, or one number."""
        return self.dtype != "text" and len(self.shape) <= 1 and np.dtype(self.dtype).kind in hdf5.NUMBERS


ACTION = ""  # the key of the actions in `Request.widths`


def groups(file: h5py.File, location: DataLocation, subset: str | None) -> Iterator[tuple[h5py.Group, DataLocation]]:
    """The episodes of a file in Minari's layout, in the order of their numbers."""
    if subset is not None:
        raise location.fault(f"no masks to take subset '{subset}' from", "a robomimic file, or subset left out")
    for title in hdf5.episodes(file, location):
        yield hdf5.group(file, title, location.under(title)), location.under(title)


def read(group: h5py.Group, at: DataLocation, request: Request) -> dict:
    """One checked episode."""
    actions = read_actions(group, at.under("actions"), request)
    steps = len(actions)
    inside = at.under("observations")
    flat = hdf5.is_array(group, "observations", inside) and set(request.widths) - {ACTION} <= {FLAT}
    if flat:
        request.widths.setdefault(FLAT, None)
        obs = {FLAT: read_entry(group, "observations", inside, FLAT, request, steps + 1)}
    else:
        obs = read_observations(hdf5.group(group, "observations", inside), inside, request, steps + 1)
    rewards = read_rewards(group, at.under("rewards"), steps)
    ends = {}
    for name in ("terminations", "truncations"):
        ends[name] = hdf5.read_flags(group, name, at.under(name), steps)
        early = np.flatnonzero(ends[name][:-1])
        if early.size:
            raise at.under(name).fault(f"an end at step {early[0]} of {steps}", "ends at the last step only")
    info = hdf5.read_attributes(group) | {"terminated": bool(ends["terminations"][-1:].any())}
    if info.get("total_steps", steps) != steps:
        raise at.under("attribute total_steps").fault(f"{info['total_steps']:g}", f"{steps}, the number of actions")
    return to_rows(obs, actions, rewards, info)


def contents(group: h5py.Group, at: DataLocation) -> dict[str, Content]:
    """The observation entries of an episode, unread."""
    inside = at.under("observations")
    if hdf5.is_array(group, "observations", inside):
        return {FLAT: content(group, "observations", inside)}
    return all_contents(hdf5.group(group, "observations", inside), inside)


def read_actions(group: h5py.Group, location: DataLocation, request: Request) -> np.ndarray:
    """The actions of an episode, [T, A] within the bounds; T is at least request.min_length."""
    actions = read_entry(group, "actions", location, ACTION, request, needed=CONTINUOUS)
    check_length(len(actions), location, request)
    check_bounds(actions, location, request)
    return actions


def check_bounds(actions: np.ndarray, location: DataLocation, request: Request) -> None:
    """Refuses actions beyond request.bounds."""
    bounds = request.bounds
    if bounds is not None and (np.abs(actions - np.mean(bounds)) > (bounds[1] - bounds[0]) / 2 + 1e-5).any():
        raise location.fault(f"values from {actions.min():.4g} to {actions.max():.4g}", f"{bounds[0]} to {bounds[1]}")


def check_length(steps: int, location: DataLocation, request: Request) -> None:
    """Refuses an episode that is shorter than a window."""
    if steps < request.min_length:
        reason = "one window; leave short episodes out: data.drop_short=true, or set train.sequence_length"
        raise _short(location.fault(f"{steps} steps", f"at least {request.min_length} ({reason})"))


def _short(fault: DataFault) -> ShortEpisode:
    return ShortEpisode(*fault.args)


def read_observations(
    group: h5py.Group, location: DataLocation, request: Request, rows: int, why: str = hdf5.ROWS
) -> dict[str, np.ndarray]:
    """The requested entries, name -> [rows, d] or pictures. Where all are requested, this episode says which exist."""
    if request.everything and set(request.widths) <= {ACTION}:
        names = [name for name, one in all_contents(group, location).items() if one.dtype != "text"]
        request.widths.update({name: None for name in names if name not in request.optional})
        if set(request.widths) <= {ACTION}:
            raise location.fault("no arrays", "named observations")
    names = [name for name in request.widths if name != ACTION and name not in request.optional]
    names += [name for name in sorted(request.optional) if exists(group, name, location)]
    obs = {}
    for name in names:
        parent, leaf, inside = find_parent(group, name, location)
        if not hdf5.has_member(parent, leaf) and "/" not in leaf:
            raise inside.under(leaf).fault("nothing", f"one of {listed(array_names(group, location))}")
        obs[name] = read_entry(parent, leaf, inside.under(leaf), name, request, rows, why)
    return obs


def listed(names: Iterable[str], most: int = 12) -> str:
    """The names, or the first of them."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def array_names(parent: h5py.Group, location: DataLocation, depth: int = 0) -> list[str]:
    """The names of all arrays in a group and its subgroups, levels joined by dots."""
    result = []
    with hdf5.reading(location):
        names = list(parent)
    if depth == MAX_DEPTH or len(names) > MAX_ARRAYS:
        raise location.fault(
            f"groups nested {MAX_DEPTH} deep" if depth == MAX_DEPTH else f"{len(names)} names", "fewer"
        )
    for name in names:
        item = hdf5.member(parent, name, location.under(name), "an array")
        if isinstance(item, h5py.Group):
            result += [f"{name}.{inner}" for inner in array_names(item, location.under(name), depth + 1)]
        else:
            result.append(name)
        if len(result) > MAX_ARRAYS:
            raise location.fault(f"more than {MAX_ARRAYS} arrays", "fewer")
    return result


def all_contents(group: h5py.Group, location: DataLocation) -> dict[str, Content]:
    """All arrays in a group and its subgroups, unread, by their names as in `array_names`."""
    entries = {}
    for name in array_names(group, location):
        parent, leaf, inside = find_parent(group, name, location)
        entries[name] = content(parent, leaf, inside.under(leaf))
    return entries


def content(parent: h5py.Group, name: str, location: DataLocation) -> Content:
    """One array, unread."""
    _, dtype, shape, _ = hdf5.inspect(parent, name, location)
    return Content("text" if dtype.kind in "OSU" else str(dtype), (shape or ())[1:])


def find_parent(parent: h5py.Group, name: str, location: DataLocation) -> tuple[h5py.Group, str, DataLocation]:
    """The group that holds the array `name` (as in `array_names`), the array's name there, the group's location."""
    with hdf5.reading(location):
        if not hdf5.has_member(parent, name):
            for dot in (i for i, letter in enumerate(name) if letter == "."):
                if hdf5.has_member(parent, name[:dot]):
                    inside = location.under(name[:dot])
                    return find_parent(hdf5.group(parent, name[:dot], inside), name[dot + 1 :], inside)
    return parent, name, location


def read_entry(
    parent: h5py.Group,
    name: str,
    location: DataLocation,
    key: str,
    request: Request,
    rows: int | None = None,
    why: str = hdf5.ROWS,
    needed: str = "",
) -> np.ndarray:
    """One array as [T, d], or pictures [T, H, W, C] where allowed, of the size that entry `key` has in all episodes."""
    pictures = request.pictures and key != ACTION
    kind = "f" if key == ACTION else hdf5.NUMBERS
    values = hdf5.read_array(parent, name, location, kind=kind, rows=rows, why=why, needed=needed, pictures=pictures)
    return check_entry(values, location, key, request)


def check_entry(values: np.ndarray, location: DataLocation, key: str, request: Request) -> np.ndarray:
    """`values` as [T, d], or pictures, of the size that entry `key` has in all episodes."""
    values = values[:, None] if values.ndim == 1 else values  # scalars may be stored without their axis
    size, known = values.shape[1:], request.widths.get(key)
    wanted = ("width",) if known is None else tuple(np.atleast_1d(known).tolist())
    if (values.ndim != 2 and values.dtype != np.uint8) or (known is not None and size != wanted):
        raise location.fault(f"shape {values.shape}", f"({', '.join(map(str, (len(values), *wanted)))})")
    request.widths[key] = size
    return values


def read_rewards(group: h5py.Group, location: DataLocation, steps: int) -> np.ndarray:
    """The rewards [T]."""
    rewards = hdf5.read_array(group, "rewards", location, kind=hdf5.NUMBERS, rows=steps)
    return check_rewards(rewards, location, steps)


def check_rewards(rewards: np.ndarray, location: DataLocation, steps: int) -> np.ndarray:
    """The rewards, refused unless they are [T]."""
    if rewards.ndim != 1:
        raise location.fault(f"shape {rewards.shape}", f"({steps},)")
    return rewards


def to_rows(
    obs: dict[str, np.ndarray], actions: np.ndarray, rewards: np.ndarray, info: dict, *, complete: bool = True
) -> dict:
    """An episode as T + 1 rows: reward t is in row t + 1, which its action led to; the last row has no action.

    obs [T + 1, ...] each with actions and rewards [T]. Not complete: obs [T], no observation follows on the last
    action. It is dropped then, the episode counts as truncated, and `lost` is the reward that no row is left for.
    """
    lost = 0.0
    if not complete:
        lost, info = float(rewards[-1:].sum()), info | {"terminated": False}
        actions, rewards = actions[:-1], rewards[:-1]
    return {
        "obs": obs,
        "action": np.concatenate([actions, np.zeros_like(actions[:1])]),
        "reward": np.concatenate([np.zeros(1, np.float32), rewards]),
        "info": info,
        "lost": lost,
    }


def exists(group: h5py.Group, name: str, location: DataLocation) -> bool:
    """Whether a group holds the array `name` (as in `array_names`)."""
    try:
        parent, leaf, _ = find_parent(group, name, location)
    except DataFault:
        return False
    return hdf5.has_member(parent, leaf)
