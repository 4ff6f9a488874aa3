"""Several levels of a hierarchy that learn from one trajectory, each from its own view of it: their sum is one loss.

A level's parameters, slow state and metrics lie under its name, so the levels of a system may all call a network
`actor`. Children of the parameters beside the levels (a world model, frozen skills, encoders) are shared: every level
sees them under their own names.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import jax

from skillhier.types import Array, Key, Metrics, Params, Scalar, Slow, SlowLoss, Trajectory


def task_reward(params: Params, batch: Trajectory, key: Key) -> Array:
    """What the world paid, [T, B]."""
    return batch.step.reward


def all_rows(params: Params, batch: Trajectory) -> Trajectory:
    """The trajectory as it is."""
    return batch


class Level(NamedTuple):
    """One level: what it sees, what it is paid, how it learns. All three are given `scope(params, name)`."""

    loss: SlowLoss  # of the view, with the reward in place of the world's
    view: Callable[[Params, Trajectory], Trajectory] = all_rows
    reward: Callable[[Params, Trajectory, Key], Array] = task_reward  # [T, B], before the view is taken


def scope(tree: Mapping, name: str) -> dict:
    """The children of a level beside the shared ones; the level's own hide shared ones of the same name."""
    if name not in tree:
        raise ValueError(f"there is no level '{name}' among {', '.join(tree)}; put its children under that name")
    return {**tree, **tree[name]}


def levels(levels: Mapping[str, Level]) -> SlowLoss:
    """The sum of the levels' losses; metrics are named `level/quantity`.

    Views and rewards see the parameters without a gradient; rewards of rows that were imagined carry the gradient of
    those rows. A reward is [T, B], or a dictionary of several. A level's slow state is slow[name], () where there is
    none; the rest of the slow state is returned as it came.
    """
    if not levels:
        raise ValueError("a system of no levels learns nothing; give at least one")

    def loss(params: Params, slow: Slow, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Slow, Metrics]]:
        total, metrics, slow = 0.0, {}, dict(slow)
        for (name, level), level_key in zip(levels.items(), jax.random.split(key, len(levels)), strict=True):
            reward_key, loss_key = jax.random.split(level_key)
            own = scope(params, name)
            frozen = jax.lax.stop_gradient(own)
            reward = level.reward(frozen, batch, reward_key)
            chex.assert_equal_shape([batch.step.first, *jax.tree.leaves(reward)])
            view = level.view(frozen, batch._replace(step=batch.step._replace(reward=reward)))
            value, (level_slow, level_metrics) = level.loss(own, slow.get(name, ()), view, loss_key)
            total = total + value
            metrics |= {f"{name}/{quantity}": metric for quantity, metric in level_metrics.items()}
            if name in slow:
                slow[name] = level_slow
        return total, (slow, metrics)

    return loss
