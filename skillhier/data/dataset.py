"""Demonstrations in memory: loading with checks, splits by episode, statistics.

Layout on disk (Minari's, https://minari.farama.org): groups episode_<i> with observations/<name>
[T + 1, d], actions [T, A], rewards [T], terminations and truncations [T]; single frames. Files of
robomimic, D4RL, OGBench and LeRobot are read too, see layouts.py.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from skillhier.data import episodes, hdf5, layouts, lerobot
from skillhier.data.episodes import Request, ShortEpisode
from skillhier.data.faults import DataFault
from skillhier.types import Bounds, Spec

FLOOR = 1e-2  # the smallest standard deviation that whitening divides by


class Dataset(NamedTuple):
    """E episodes one after the other, R rows in all, in host memory.

    Episode e owns the rows start[e] .. start[e] + length[e]: one row more than it has actions. As in a
    TimeStep, the reward is in the row it led to; the action of an episode's last row has no meaning.
    """

    obs: dict[str, np.ndarray]  # entry -> float32 [R, d], or pictures uint8 [R, H, W, C]; single frames
    action: np.ndarray  # float32 [R, A]
    reward: np.ndarray  # float32 [R]
    start: np.ndarray  # int [E]
    length: np.ndarray  # int [E] actions
    info: dict[str, np.ndarray]  # [E] each: terminated (bool), file, and the attributes that all episodes have
    notes: tuple[str, ...] = ()  # what reading has left out, a line each


def load(
    path: str | Path,
    names: Iterable[str] | Mapping[str, episodes.Size | None] | None = None,
    *,
    optional: Iterable[str] = (),
    min_length: int = 25,
    action: int | None = None,
    bounds: tuple[float, float] | None = (-1.0, 1.0),
    subset: str | None = None,
    pictures: bool = True,
    drop_short: bool = False,
    episode_length: int | None = None,
    max_gib: float | None = None,
) -> Dataset:
    """The episodes of a file, of a folder of files, or of a Minari or LeRobot folder.

    Args:
      path: what to read.
      names: the observation entries to read, with their widths if a mapping (of pictures: height, width, channels);
        all of the first episode's if None. An observation that is one array is the entry `observation`; names of
        nested groups are joined by dots.
      optional: further entries, read where every episode has them (e.g. privileged ones).
      min_length: the fewest actions an episode may have: the length of a window.
      action: the width the actions must have; the first episode's if None.
      bounds: the closed range of actions, or None.
      subset: of a robomimic file, the mask whose demos are read (train, valid), of a LeRobot folder the split; all if
        None.
      pictures: whether entries may be pictures, uint8 [T + 1, height, width, channels].
      drop_short: leaves out episodes that are shorter than `min_length`, with a note; else they are refused.
      episode_length: of all episodes of a flat file that does not say where they end.
      max_gib: GiB that reading may take; by default what the machine has free, and what files of this size can hold.

    Raises:
      DataFault: one line with file, episode, field, what the file has and what is needed.
    """
    widths = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names or ())
    optional = set(optional) - set(widths)
    request = Request(widths | {episodes.ACTION: action}, names is None, optional, min_length, bounds, pictures)
    loaded, short = [], None
    for unread in layouts.each(path, subset, episode_length, max_gib):
        try:
            loaded.append(unread.read(request))
        except ShortEpisode as fault:
            if not drop_short:
                raise
            short = (fault, (short[1] if short else 0) + 1)
            continue
        loaded[-1]["info"] |= {"file": str(unread.at.file)}
    if not loaded:
        raise short[0] if short else DataFault(f"{path}: found no episodes, needs at least one")
    notes = () if not short else (
        f"{short[1]} of {short[1] + len(loaded)} episodes have fewer than {min_length} steps and are left out",
    )  # fmt: skip
    whole = joined(loaded, optional)
    return whole._replace(notes=(*notes, *whole.notes))


def about(path: str | Path) -> dict[str, Any]:
    """What a Minari or LeRobot folder says of its data (world, control_timestep, ...); {} where nothing does."""
    if lerobot.is_lerobot(path):
        return lerobot.about(path)
    (first, *_) = hdf5.files(path)
    metadata = first.parent / hdf5.METADATA
    return hdf5.read_metadata(metadata) if first.name == hdf5.MAIN and metadata.is_file() else {}


def world(about: Mapping[str, Any]) -> str | None:
    """The world that data are of, as the registry of worlds names it, where they say so (see `about`)."""
    if about.get("world"):
        return str(about["world"])
    try:
        gymnasium_id = json.loads(about.get("env_spec") or "{}").get("id")  # as Minari has it
    except (ValueError, AttributeError, TypeError):
        return None
    return f"gymnasium:{gymnasium_id}" if gymnasium_id else None


def action_bounds(path: str | Path) -> tuple[np.ndarray, np.ndarray] | None:
    """(low, high) [A] of the actions that the world takes, where a Minari folder says so; None if it is [-1, 1]."""
    if lerobot.is_lerobot(path):
        return None
    try:
        space = json.loads(about(path).get("action_space", "{}"))
        low, high = (np.asarray(space[bound], np.float64).ravel() for bound in ("low", "high"))
    except (KeyError, TypeError, ValueError):
        return None
    proper = low.shape == high.shape and np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()
    return (low, high) if proper and ((low != -1).any() or (high != 1).any()) else None


def in_bounds(dataset: Dataset, low: np.ndarray, high: np.ndarray) -> Dataset:
    """`dataset` with actions in the units of a world whose range [low, high] is [-1, 1], as adapters have it."""
    if len(low) != dataset.action.shape[1]:
        raise DataFault(f"found {dataset.action.shape[1]} action dimensions, needs {len(low)}, as in the action_space")
    action = 2 * (dataset.action - low) / (high - low) - 1
    action[dataset.start + dataset.length] = 0  # rows without one
    return dataset._replace(action=action.astype(np.float32))


def _lost(loaded: list[dict]) -> list[str]:
    """A note on rewards that no row is left for."""
    lost = [episode["lost"] for episode in loaded if episode["lost"]]
    if not lost:
        return []
    return [
        f"no observation follows on the last action of {len(lost)} episodes, and so their last rewards are left out: "
        f"{sum(lost):g} in all"
    ]


def joined(loaded: list[dict], optional: Iterable[str] = ()) -> Dataset:
    """Episodes as layouts read them as one data set; of `optional` entries those that all have."""
    rows = np.array([len(episode["reward"]) for episode in loaded])
    names = [name for name in loaded[0]["obs"] if name not in optional or all(name in e["obs"] for e in loaded)]
    shared = set.intersection(*(set(episode["info"]) for episode in loaded))
    return Dataset(
        obs={name: np.concatenate([episode["obs"][name] for episode in loaded]) for name in names},
        action=np.concatenate([episode["action"] for episode in loaded]),
        reward=np.concatenate([episode["reward"] for episode in loaded]),
        start=np.concatenate([[0], np.cumsum(rows)[:-1]]),
        length=rows - 1,
        info={name: np.array([episode["info"][name] for episode in loaded]) for name in sorted(shared)},
        notes=tuple(_lost(loaded)),
    )


def select(dataset: Dataset, episodes: np.ndarray) -> Dataset:
    """A data set of the episodes with indices `episodes` [n], in that order."""
    info = {name: values[episodes] for name, values in dataset.info.items()}
    return _gathered(dataset, dataset.start[episodes], dataset.length[episodes])._replace(info=info)


def shortened(dataset: Dataset, length: np.ndarray) -> Dataset:
    """The episodes with their first `length` [E] actions alone, and so without the ends that came later.

    Raises ValueError: a length below 1, or above the episode's.
    """
    if (length > dataset.length).any() or (length < 1).any():
        raise ValueError("an episode keeps at least one action, and at most those that it has")
    terminated = dataset.info["terminated"] & (length == dataset.length)
    return _gathered(dataset, dataset.start, length)._replace(info=dataset.info | {"terminated": terminated})


def _gathered(dataset: Dataset, start: np.ndarray, length: np.ndarray) -> Dataset:
    """The rows of episodes that begin at `start` [n] and have `length` [n] actions, one after the other; info as is."""
    rows = np.concatenate([np.arange(s, s + n + 1) for s, n in zip(start, length, strict=True)])
    return dataset._replace(
        obs={name: values[rows] for name, values in dataset.obs.items()},
        action=dataset.action[rows],
        reward=dataset.reward[rows],
        start=np.concatenate([[0], np.cumsum(length + 1)[:-1]]),
        length=length,
    )


def split(dataset: Dataset, share: float = 0.1, seed: int = 0) -> tuple[Dataset, Dataset]:
    """(train, held_out): whole episodes, of which a `share` (at least one) drawn by `seed` is held out."""
    count = len(dataset.length)
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, got {share}; set data.held_out")
    if count < 2:
        raise DataFault(f"found {count} episode, needs at least 2 to hold one out; collect more data")
    order = np.random.default_rng(seed).permutation(count)
    held = min(max(1, round(share * count)), count - 1)
    return select(dataset, np.sort(order[held:])), select(dataset, np.sort(order[:held]))


def statistics(dataset: Dataset, floor: float = FLOOR) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Entry -> (mean [d], standard deviation [d]) over all rows, float32, for whitening; see `scales`."""
    moments = scales(dataset.obs, floor)
    return {
        name: (mean.astype(np.float32), deviation.astype(np.float32)) for name, (mean, deviation) in moments.items()
    }


def scales(entries: Mapping[str, np.ndarray], floor: float = FLOOR) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Entry -> (mean [d], standard deviation [d]) over all rows of entries [..., d], float64.

    Deviations are at least `floor`, so that whitening does not amplify what hardly varies in this data. Pictures
    (uint8) are skipped: their range is 0 to 255.
    """
    moments = {}
    for name, entry in entries.items():
        if entry.dtype == np.uint8:
            continue
        rows = np.asarray(entry, np.float64).reshape(-1, entry.shape[-1])
        moments[name] = (rows.mean(axis=0), np.maximum(rows.std(axis=0), floor))
    return moments


def digest(dataset: Dataset, *, rewards: bool = False) -> str:
    """SHA-256 of what a learner sees of a data set, with the rewards if it learns from them."""
    sha = hashlib.sha256()
    arrays = {"action": dataset.action, "start": dataset.start, "length": dataset.length}
    arrays |= {"reward": dataset.reward} if rewards else {}
    for name, values in sorted({**dataset.obs, **arrays}.items()):
        sha.update(f"{name} {values.shape} {values.dtype}".encode())
        sha.update(np.ascontiguousarray(values))
    return sha.hexdigest()


def spec(dataset: Dataset, stack: int = 1) -> Spec:
    """What an agent observes and does in the data, with `stack` frames, as of one world; actions in [-1, 1]."""
    obs = {name: jax.ShapeDtypeStruct((stack, *x.shape[1:]), x.dtype) for name, x in dataset.obs.items()}
    return Spec(obs, Bounds(dataset.action.shape[1:], -1.0, 1.0), 1, 0.0, int(dataset.length.max(initial=1)))
