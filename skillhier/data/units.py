"""The units that agents learn in, measured in data: ranges of actions, and the signs of quaternions.

The result of `measure` is a tree of arrays that agents keep beside their parameters (agents/units.py): acting undoes
it. Actions that are ordinary already, and no quaternions, give None: nothing is converted.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from skillhier.data.dataset import Dataset
from skillhier.data.faults import DataFault

HOW = ("auto", "none", "range", "deviation")  # how actions are normalised
LEAST_DEVIATION = 0.05  # of an action dimension that is learned: half the deviation that agents give to actions
DEVIATIONS = 3.0  # from the mean: what becomes 1 where the deviation normalises
LEAST_SHARE = 1e-3  # of the largest deviation, for a dimension not to count as nearly constant
TOLERANCE = 1e-5  # of the range [-1, 1]


def acted(dataset: Dataset) -> np.ndarray:
    """The actions that were taken, float64 [N, A]: all rows but each episode's last."""
    rows = np.ones(len(dataset.action), bool)
    rows[dataset.start + dataset.length] = False
    return np.asarray(dataset.action[rows], np.float64)


def constant(rows: np.ndarray) -> np.ndarray:
    """Which columns of [N, d] have one value only, [d] bool."""
    low, high = rows.min(0), rows.max(0)
    return high - low <= 1e-6 * np.maximum(np.abs(high), np.abs(low))


def two_valued(rows: np.ndarray) -> np.ndarray:
    """Which columns of [N, d] have two values only, such as those of a gripper that opens or closes: [d] bool."""
    low, high = rows.min(0), rows.max(0)
    return ((rows == low) | (rows == high)).all(0) & (high > low)


def nearly_constant(rows: np.ndarray) -> np.ndarray:
    """Which columns of actions [N, A] vary, but by less than a thousandth of the one that varies most, [A] bool."""
    deviation = rows.std(0)
    return ~constant(rows) & (deviation < LEAST_SHARE * deviation.max())


def measure(dataset: Dataset, actions: str = "auto", quaternions: Iterable[str] = ()) -> dict[str, Any] | None:
    """The units of a data set; None where they are those of its rows.

    actions      auto: as they are where that can be learned, else by range, else by deviation; none; range: each
                 dimension's range becomes [-1, 1]; deviation: three deviations about its mean do
    quaternions  entries whose columns 0 to 3, or with `entry:n` n to n + 3, are a quaternion: of q and -q, which are
                 the same rotation, the one nearer to the data's mean rotation is seen
    """
    units = {}
    scale = action_scale(acted(dataset), actions)
    if scale is not None:
        units["action"] = {name: values.astype(np.float32) for name, values in scale.items()}
    columns: dict[str, list[int]] = {}
    for name in quaternions:
        entry, first = _columns(name, dataset)
        columns.setdefault(entry, []).append(first)
    if columns:
        units["quaternions"] = {
            entry: {
                "first": np.array(firsts, np.int32),
                "axis": np.array([_mean_rotation(dataset.obs[entry][:, n : n + 4]) for n in firsts], np.float32),
            }
            for entry, firsts in columns.items()
        }
    return units or None


def action_scale(rows: np.ndarray, how: str = "auto") -> dict[str, np.ndarray] | None:
    """{offset, scale} [A] each of actions [N, A]: (action - offset) / scale is learned. None: the actions themselves.

    A dimension that is constant has scale 0: nothing is learned of it, and acting gives its value.
    """
    if how not in HOW:
        raise ValueError(f"actions '{how}' is not known; choose {', '.join(HOW)} in data.actions")
    inside = (np.abs(rows) <= 1 + TOLERANCE).all()
    if how == "none":
        if not inside:
            low, high = rows.min(), rows.max()
            raise DataFault(
                f"found actions from {low:.4g} to {high:.4g}, needs -1 to 1; set data.actions=auto, range or deviation"
            )
        return None
    low, high, still = rows.min(0), rows.max(0), constant(rows)
    deviation = np.where(still, 0.0, rows.std(0))
    judged = deviation >= LEAST_SHARE * deviation.max(initial=0)
    judged &= ~still
    by_range = {"offset": (low + high) / 2, "scale": np.where(still, 0.0, (high - low) / 2)}
    by_deviation = {"offset": rows.mean(0), "scale": DEVIATIONS * deviation}
    if how != "auto":
        return {"range": by_range, "deviation": by_deviation}[how]
    if inside and (deviation[judged] >= LEAST_DEVIATION).all():
        return None
    learnable = (deviation[judged] >= LEAST_DEVIATION * by_range["scale"][judged]).all()
    return by_range if learnable else by_deviation


def continuous(dataset: Dataset, units: dict[str, Any] | None) -> Dataset:
    """`dataset` with the quaternions of `units` on one side, as an agent with these units sees them."""
    obs = dict(dataset.obs)
    for name, one in (units or {}).get("quaternions", {}).items():
        obs[name] = obs[name].copy()
        for first, axis in zip(one["first"], one["axis"], strict=True):
            turned = obs[name][:, first : first + 4]
            turned[turned @ axis < 0] *= -1
    return dataset._replace(obs=obs)


def sign_flips(dataset: Dataset, name: str) -> list[tuple[int, int]]:
    """(first column, sign flips) of what looks like a quaternion in an entry: four columns of norm 1."""
    rows, flips, first = dataset.obs[name], [], 0
    inside = np.ones(len(rows), bool)
    inside[dataset.start] = False
    while first + 4 <= rows.shape[1]:
        four = rows[:, first : first + 4]
        unit = np.abs(np.square(four).sum(1) - 1).max() < 1e-2 and (four.std(0) > 1e-3).sum() > 1
        if unit:
            turned = (four[1:] * four[:-1]).sum(1) < -0.5
            flips.append((first, int((turned & inside[1:]).sum())))
        first += 4 if unit else 1
    return flips


def _columns(name: str, dataset: Dataset) -> tuple[str, int]:
    """(entry, first column) of `entry` or `entry:column`. Raises DataFault."""
    entry, _, column = name.rpartition(":")
    entry, first = (entry, int(column)) if entry and column.isdigit() else (name, 0)
    if entry not in dataset.obs:
        raise DataFault(f"data.quaternions names {entry}, needs one of {', '.join(dataset.obs)}")
    rows = dataset.obs[entry]
    if rows.ndim != 2 or first + 4 > rows.shape[1]:
        raise DataFault(f"data.quaternions={name}: found shape {rows.shape[1:]}, needs columns {first} to {first + 3}")
    return entry, first


def _mean_rotation(rows: np.ndarray) -> np.ndarray:
    """The mean of quaternions [N, 4] whatever their signs: the axis that they lie along, largest component positive."""
    rows = np.asarray(rows, np.float64)
    axis = np.linalg.eigh(rows.T @ rows)[1][:, -1]
    return axis * np.sign(axis[np.abs(axis).argmax()])
