"""Demonstrations in memory: loaded and checked, split by episode, with their statistics.

Layout on disk (Minari's, https://minari.farama.org): groups episode_<i> with observations/<name>
[T + 1, d], actions [T, A], rewards [T], terminations and truncations [T]; single frames.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skillhier.data import hdf5
from skillhier.data.faults import DataFault, Place


class Dataset(NamedTuple):
    """Episodes one after the other on the host. R rows in all, E episodes.

    Episode e owns the rows start[e] .. start[e] + length[e]: one row more than it has actions. As in a
    TimeStep, the reward stands in the row it led to, and the action of an episode's last row means nothing.
    """

    obs: dict[str, np.ndarray]  # entry -> float32 [R, d], single frames
    action: np.ndarray  # float32 [R, A]
    reward: np.ndarray  # float32 [R]
    start: np.ndarray  # int [E]
    length: np.ndarray  # int [E] actions
    info: dict[str, np.ndarray]  # [E] each: terminated (bool), file, and the attributes all episodes share


def load(
    path: str | Path,
    names: Iterable[str] | Mapping[str, int] | None = None,
    *,
    optional: Iterable[str] = (),
    min_length: int = 25,
    action: int | None = None,
    bounds: tuple[float, float] | None = (-1.0, 1.0),
) -> Dataset:
    """The episodes of a file, a folder of files or a Minari folder.

    Args:
      path: what to read.
      names: the observation entries to read, with their widths if a mapping; all of the first episode's if None.
      optional: entries to read as well where every episode has them (privileged ones, say).
      min_length: the fewest actions an episode must have: the window it is cut into.
      action: the width the actions must have; the first episode's if None.
      bounds: the closed range that actions must keep to, or None.

    Raises:
      DataFault: anything wrong; one line naming file, episode, field, what was found and what is needed.
    """
    widths = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names or ())
    widths = {f"observations/{name}": width for name, width in widths.items()} | {"actions": action}
    everything = names is None
    optional = set(optional) - set(names or ())
    found = []
    for file_path in hdf5.files(path):
        with hdf5.opened(file_path) as file:
            place = Place(file_path)
            for title in hdf5.episodes(file, place):
                at = place.under(title)
                with hdf5.reading(at):
                    group = hdf5.group(file, title, at)
                    if everything:
                        shown = hdf5.group(group, "observations", at.under("observations"))
                        widths |= {f"observations/{name}": None for name in shown if name not in optional}
                        everything = False
                    found.append(_episode(group, at, widths, optional, min_length, bounds))
                found[-1]["info"] |= {"file": str(file_path)}
    return _joined(found, optional)


def _episode(group, at: Place, widths: dict, optional: set[str], min_length: int, bounds) -> dict:
    """One checked episode as a dictionary; fills in the widths that were still open."""

    def read(parent, name: str, place: Place, rows: int | None = None) -> np.ndarray:
        values = hdf5.numbers(parent, name, place, rows=rows)
        values = values[:, None] if values.ndim == 1 else values  # scalars may come without their axis
        needed = widths.get(place.field)
        if values.ndim != 2 or needed not in (None, values.shape[1]):
            raise place.fault(f"shape {values.shape}", f"({len(values)}, {needed or 'width'})")
        widths[place.field] = values.shape[1]
        return values

    actions = read(group, "actions", at.under("actions"))
    steps = len(actions)
    if steps < min_length:
        reason = "one window; leave this episode out or set the window's length"
        raise at.under("actions").fault(f"{steps} steps", f"at least {min_length} ({reason})")
    if bounds is not None and (np.abs(actions - np.mean(bounds)) > (bounds[1] - bounds[0]) / 2 + 1e-5).any():
        raise at.under("actions").fault(
            f"values from {actions.min():.4g} to {actions.max():.4g}", f"{bounds[0]} to {bounds[1]}"
        )
    inside = at.under("observations")
    shown = hdf5.group(group, "observations", inside)
    names = [field.removeprefix("observations/") for field in widths if field != "actions"]
    names = list(dict.fromkeys([name for name in names if name not in optional] + [n for n in optional if n in shown]))
    obs = {name: read(shown, name, inside.under(name), steps + 1) for name in names}
    rewards = hdf5.numbers(group, "rewards", at.under("rewards"), rows=steps)
    if rewards.ndim != 1:
        raise at.under("rewards").fault(f"shape {rewards.shape}", f"({steps},)")
    ends = {}
    for name in ("terminations", "truncations"):
        ends[name] = hdf5.numbers(group, name, at.under(name), kind="b", rows=steps)
        early = np.flatnonzero(ends[name].reshape(steps, -1)[:-1].any(axis=-1))
        if early.size:
            raise at.under(name).fault(f"an end at step {early[0]} of {steps}", "ends at the last step only")
    info = hdf5.attributes(group) | {"terminated": bool(ends["terminations"].reshape(steps, -1)[-1].any())}
    if info.get("total_steps", steps) != steps:
        raise at.under("attribute total_steps").fault(f"{info['total_steps']:g}", f"{steps}, the number of actions")
    return {
        "obs": obs,
        "action": np.concatenate([actions, np.zeros_like(actions[:1])]),
        "reward": np.concatenate([np.zeros(1, np.float32), rewards]),
        "info": info,
    }


def _joined(found: list[dict], optional: set[str]) -> Dataset:
    rows = np.array([len(episode["reward"]) for episode in found])
    names = [name for name in found[0]["obs"] if name not in optional or all(name in e["obs"] for e in found)]
    shared = set.intersection(*(set(episode["info"]) for episode in found))
    return Dataset(
        obs={name: np.concatenate([episode["obs"][name] for episode in found]) for name in names},
        action=np.concatenate([episode["action"] for episode in found]),
        reward=np.concatenate([episode["reward"] for episode in found]),
        start=np.concatenate([[0], np.cumsum(rows)[:-1]]),
        length=rows - 1,
        info={name: np.array([episode["info"][name] for episode in found]) for name in sorted(shared)},
    )


def select(dataset: Dataset, episodes: np.ndarray) -> Dataset:
    """The given episodes [n], in the given order, as a data set of their own."""
    rows = np.concatenate([np.arange(dataset.start[e], dataset.start[e] + dataset.length[e] + 1) for e in episodes])
    lengths = dataset.length[episodes]
    return Dataset(
        obs={name: values[rows] for name, values in dataset.obs.items()},
        action=dataset.action[rows],
        reward=dataset.reward[rows],
        start=np.concatenate([[0], np.cumsum(lengths + 1)[:-1]]),
        length=lengths,
        info={name: values[episodes] for name, values in dataset.info.items()},
    )


def split(dataset: Dataset, share: float = 0.1, seed: int = 0) -> tuple[Dataset, Dataset]:
    """(train, held_out): whole episodes, a `share` of them held out (at least one), drawn by `seed`."""
    count = len(dataset.length)
    if not 0 < share < 1:
        raise ValueError(f"share {share} of held-out episodes is not between 0 and 1; set data.held_out")
    if count < 2:
        raise DataFault(f"found {count} episode, needs at least 2 to hold one out; collect or give more data")
    order = np.random.default_rng(seed).permutation(count)
    held = min(max(1, round(share * count)), count - 1)
    return select(dataset, np.sort(order[held:])), select(dataset, np.sort(order[:held]))


def statistics(dataset: Dataset, floor: float = 1e-2) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Entry -> (mean [d], standard deviation [d]) over all rows, float32, for whitening.

    A deviation below `floor` counts as `floor`: what hardly moved here must not be blown up where it does.
    """
    found = {}
    for name, values in dataset.obs.items():
        values = values.astype(np.float64)
        deviation = np.maximum(values.std(axis=0), floor)
        found[name] = (values.mean(axis=0).astype(np.float32), deviation.astype(np.float32))
    return found
