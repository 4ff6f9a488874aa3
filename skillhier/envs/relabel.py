"""Stored rows as another world would have shown and paid them: the reward recomputed from what the rows hold."""

from collections.abc import Callable

import jax.numpy as jnp

from skillhier.envs import batch
from skillhier.types import TimeStep


def relabelling(task: batch.Task, repeat: int = 1) -> Callable[[TimeStep], TimeStep] | None:
    """A pure function on stored rows, entries [..., D] of single frames, or None for a task that has no such function.

    It gives the rows with the entries as `task` would have shown them and with the reward that it would have paid on
    arriving there, 0 where an episode opens. The reward of a decision of `repeat` control steps is their sum, and only
    the state after the last one is stored: what is given is `repeat` times the reward of that state. On rows of a
    quadruped's random actions that is off by 6 % of the mean reward with repeat 2, and by 24 % with 4. Ends of episodes
    stay what they were.
    """
    if task.relabel is None:
        return None

    def relabelled(step: TimeStep) -> TimeStep:
        obs, reward = task.relabel(step.obs)
        return step._replace(obs=obs, reward=jnp.where(step.first, 0.0, repeat * reward).astype(jnp.float32))

    return batch.with_full_precision(relabelled)
