"""Policies that look at no observation: constant or drawn actions, managers with a fixed choice or left to a prior."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from skillhier.types import Action, Array, Bounds, Params, Policy


def constant(choice: int | Action) -> Policy:
    """Always the same choice, an array or a tree of arrays; [B, ...] of each."""
    choice = jax.tree.map(jnp.asarray, choice)

    def act(params, carry, step, key):
        return carry, jax.tree.map(lambda x: jnp.broadcast_to(x, (step.first.shape[0], *x.shape)), choice), {}

    return Policy(lambda worlds: (), act)


def uniform(bounds: Bounds | dict[str, Any]) -> Policy:
    """Actions drawn uniformly from their range, or a tree of parts from the range of each."""
    parts, structure = jax.tree.flatten(bounds, is_leaf=lambda part: isinstance(part, Bounds))

    def act(params, carry, step, key):
        keys = jax.random.split(key, len(parts)) if len(parts) > 1 else [key]
        action = [
            jax.random.uniform(key, (*step.first.shape, *part.shape), minval=part.low, maxval=part.high)
            for key, part in zip(keys, parts, strict=True)
        ]
        return carry, jax.tree.unflatten(structure, action), {}

    return Policy(lambda worlds: (), act)


def chain(log_transition: Callable[[Params], Array]) -> Policy:
    """A Markov chain over K choices, int32 [B]; `log_transition` gives [K, K] with rows of log-probabilities.

    Before an episode's first row the choice is uniform, so the first one drawn is a row of a random predecessor.
    """

    def act(params, before, step, key):
        start_key, next_key = jax.random.split(key)
        table = log_transition(params)
        before = jnp.where(step.first, jax.random.randint(start_key, before.shape, 0, len(table)), before)
        choice = jax.random.categorical(next_key, table[before]).astype(jnp.int32)
        return choice, choice, {}

    return Policy(lambda worlds: jnp.zeros(worlds, jnp.int32), act)


def drift(size: int, memory: float) -> Policy:
    """z_t = memory z_{t-1} + sqrt(1 - memory^2) noise, [B, size]: N(0, I) at every row, drawn anew at the first."""

    def act(params, before, step, key):
        noise = jax.random.normal(key, before.shape)
        z = jnp.where(step.first[:, None], noise, memory * before + (1.0 - memory**2) ** 0.5 * noise)
        return z, z, {}

    return Policy(lambda worlds: jnp.zeros((worlds, size)), act)
