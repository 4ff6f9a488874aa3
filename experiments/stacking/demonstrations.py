"""What is known of demonstrations of stacking: the widths of their entries, and which episodes end stacked."""

import numpy as np

from skillhier.data import dataset
from skillhier.data.dataset import Dataset
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO

WIDTHS = {**PROPRIO, **OBJECTS}  # of entries whose shape is known
SUCCESS = "task.success"  # the public success test, in data that these worlds recorded
STACKED = 0.75  # in other data, a dense reward this high on the last row means a stack


def share_successful(data: Dataset) -> float | None:
    """The share of episodes that succeeded; None of data that do not say: only stacking is known by its rewards."""
    ends = data.start + data.length
    if SUCCESS in data.obs:
        succeeded = data.obs[SUCCESS][ends, 0] > 0.5
    elif "success" in data.info and data.info["success"].dtype.kind in "biuf":
        succeeded = data.info["success"] > 0.5
    elif set(data.obs) & set(OBJECTS):
        succeeded = data.reward[ends] >= STACKED
    else:
        return None
    return float(np.mean(succeeded))


def without_rest(data: Dataset, linger: int, least: int) -> Dataset:
    """The episodes that end stacked without the rows later than `linger` after they are stacked for good; 0: as given.

    An episode keeps at least `least` actions. Of data that do not say when they are stacked nothing is left out.
    """
    if not linger:
        return data
    if SUCCESS in data.obs:
        stacked = data.obs[SUCCESS][:, 0] > 0.5
    elif set(data.obs) & set(OBJECTS):
        stacked = data.reward >= STACKED
    else:
        return data
    length = data.length.copy()
    for episode, (start, steps) in enumerate(zip(data.start, data.length, strict=True)):
        missing = np.flatnonzero(~stacked[start : start + steps + 1])
        since = missing[-1] + 1 if len(missing) else 0
        length[episode] = min(steps, max(since + linger, least))
    return dataset.shortened(data, length)
