"""What is known of demonstrations of stacking: which end stacked, and since when."""

import numpy as np
import pytest

from experiments.stacking import demonstrations
from skillhier.data.dataset import Dataset


def data(stacked: list[list[bool]], entry: str = demonstrations.SUCCESS) -> Dataset:
    """Episodes whose rows are stacked so, by the success entry, or by rewards where that is not it."""
    rows = np.concatenate(stacked).astype(np.float32)
    length = np.array([len(episode) - 1 for episode in stacked])
    start = np.concatenate([[0], np.cumsum(length + 1)[:-1]])
    by_entry = entry == demonstrations.SUCCESS
    obs = {
        entry: rows[:, None] if by_entry else np.zeros((len(rows), 7), np.float32),
        "row": np.arange(len(rows))[:, None],
    }
    reward = np.zeros(len(rows)) if by_entry else 0.8 * rows
    return Dataset(obs, np.zeros((len(rows), 2)), reward, start, length, {"terminated": np.zeros(len(length), bool)})


@pytest.mark.parametrize("entry", [demonstrations.SUCCESS, "rgb30_red.abs_pose"])
def test_rows_after_the_stack_stands_for_good_are_left_out(entry):
    for_good = [False] * 3 + [True, False, False] + [True] * 6  # since row 6
    never, at_last = [True] * 5 + [False] * 5, [False] * 9 + [True]
    short = demonstrations.without_rest(data([for_good, never, at_last, [True] * 10], entry), linger=2, least=3)
    assert short.length.tolist() == [8, 9, 9, 3]
    assert short.obs["row"][short.start, 0].tolist() == [0, 12, 22, 32]


def test_data_that_do_not_say_are_left_as_they_are():
    said = data([[False, True, True, True]])
    unsaid = said._replace(obs={"row": said.obs["row"]})
    assert demonstrations.without_rest(unsaid, linger=1, least=1) is unsaid
