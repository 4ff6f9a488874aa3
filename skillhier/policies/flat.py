"""Policies without recurrent state: a function of the observation, and a fixed sequence of actions."""

from collections.abc import Callable

import jax.numpy as jnp

from skillhier.types import Action, Array, Key, Params, Policy

Choose = Callable[[Params, dict[str, Array], Key], tuple[Action, dict[str, Array]]]


def flat(choose: Choose) -> Policy:
    """A memoryless policy: `choose(params, obs, key) -> (action, notes)` at every row.

    A greedy policy is a `flat` whose `choose` does not use the key.
    """

    def act(params, carry, step, key):
        action, notes = choose(params, step.obs, key)
        return carry, action, notes

    return Policy(lambda worlds: (), act)


def sequence(actions: Array) -> Policy:
    """Plays `actions` [T, A] from the first row of every episode on, then repeats the last one."""

    def act(params, row, step, key):
        row = jnp.where(step.first, 0, row)
        return jnp.minimum(row + 1, len(actions) - 1), actions[row], {}

    return Policy(lambda worlds: jnp.zeros(worlds, jnp.int32), act)
