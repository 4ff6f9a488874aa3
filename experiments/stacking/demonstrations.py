"""What is known of demonstrations of stacking: the widths of their entries, and which episodes end stacked."""

import numpy as np

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
