"""Synthetic demonstrations in the layout of real ones, for trying commands out and for tests."""

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

    A behaviour moves a hidden position [action] towards its own target by its actions; every observation entry
    (`widths`: name -> d) is a fixed linear map of position and behaviour, plus noise.
    """
    rng = np.random.default_rng(seed)
    targets = rng.uniform(-1, 1, (behaviours, action))
    views = {name: rng.normal(size=(action + behaviours, d)) for name, d in widths.items()}
    hidden, moves = [], []
    for _ in range(episodes):
        position, behaviour = rng.uniform(-1, 1, action), rng.integers(behaviours)
        for _ in range(steps + 1):
            if rng.random() < 1 / 20:
                behaviour = rng.integers(behaviours)
            move = np.clip(2 * (targets[behaviour] - position) + 0.1 * rng.normal(size=action), -1, 1)
            hidden.append(np.concatenate([position, np.eye(behaviours)[behaviour]]))
            moves.append(move)
            position = position + 0.1 * move
    hidden = np.array(hidden)
    rows = len(hidden)
    return Dataset(
        obs={
            name: (hidden @ view + 0.01 * rng.normal(size=(rows, view.shape[1]))).astype(np.float32)
            for name, view in views.items()
        },
        action=np.array(moves, np.float32),
        reward=np.zeros(rows, np.float32),
        start=np.arange(episodes) * (steps + 1),
        length=np.full(episodes, steps),
        info={"terminated": np.zeros(episodes, bool)},
    )
