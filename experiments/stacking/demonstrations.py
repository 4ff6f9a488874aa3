"""What is known of demonstrations of stacking: the widths of their entries, and which episodes end stacked."""

import numpy as np

from skillhier.data.dataset import Dataset
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO

WIDTHS = {**PROPRIO, **OBJECTS}  # of entries whose shape is known
SUCCESS = "task.success"  # the public success test, in data that these worlds recorded
STACKED = 0.75  # in other data, a dense reward this high on the last row means a stack


def share_stacked(data: Dataset) -> float:
    """The share of episodes that end with a stack."""
    ends = data.start + data.length
    stacked = data.obs[SUCCESS][ends, 0] > 0.5 if SUCCESS in data.obs else data.reward[ends] >= STACKED
    return float(np.mean(stacked))
