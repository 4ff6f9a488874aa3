"""Policies that look at no observation: constant or drawn actions, managers with a fixed choice or left to a prior."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from skillhier.types import Array, Bounds, Params, Policy


def constant(choice: int | Array) -> Policy:
    """Always the same choice, [B, ...] of it."""
    choice = jnp.asarray(choice)

    def act(params, carry, step, key):
        return carry, jnp.broadcast_to(choice, (step.first.shape[0], *choice.shape)), {}

    return Policy(lambda worlds: (), act)


def uniform(bounds: Bounds) -> Policy:
    """Actions drawn uniformly from their range."""

    def act(params, carry, step, key):
        shape = (*step.first.shape, *bounds.shape)
        return carry, jax.random.uniform(key, shape, minval=bounds.low, maxval=bounds.high), {}

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
