"""Demonstrations made from nothing, in the layout of real ones: for trying a command out, and for tests."""

from collections.abc import Mapping

import numpy as np

from skillhier.data.dataset import Dataset


def demonstrations(
    widths: Mapping[str, int],
    *,
    action: int = 5,
    episodes: int = 12,
    steps: int = 100,
    behaviours: int = 4,
    seed: int = 0,
) -> Dataset:
    """Episodes in which one of a few behaviours acts for about 20 steps, then another.

    A behaviour pulls a hidden place [action] towards a target of its own, and the actions say how; every entry
    of the observation (`widths`: name -> d) is a fixed linear view of place and behaviour, with some noise.
    """
    dice = np.random.default_rng(seed)
    targets = dice.uniform(-1, 1, (behaviours, action))
    views = {name: dice.normal(size=(action + behaviours, d)) for name, d in widths.items()}
    hidden, moves = [], []
    for _ in range(episodes):
        place, behaviour = dice.uniform(-1, 1, action), dice.integers(behaviours)
        for _ in range(steps + 1):
            if dice.random() < 1 / 20:
                behaviour = dice.integers(behaviours)
            move = np.clip(2 * (targets[behaviour] - place) + 0.1 * dice.normal(size=action), -1, 1)
            hidden.append(np.concatenate([place, np.eye(behaviours)[behaviour]]))
            moves.append(move)
            place = place + 0.1 * move
    hidden = np.array(hidden)
    rows = len(hidden)
    return Dataset(
        obs={
            name: (hidden @ view + 0.01 * dice.normal(size=(rows, view.shape[1]))).astype(np.float32)
            for name, view in views.items()
        },
        action=np.array(moves, np.float32),
        reward=np.zeros(rows, np.float32),
        start=np.arange(episodes) * (steps + 1),
        length=np.full(episodes, steps),
        info={"terminated": np.zeros(episodes, bool)},
    )
