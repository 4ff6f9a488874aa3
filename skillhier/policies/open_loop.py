"""Open-loop policies, which read no observation: constant or random actions, and managers that follow a prior."""

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


def noting(acts: Policy, notes: Policy) -> Policy:
    """Acts as the first policy does, and notes what the second one would have: a replay that wants notes can so be
    filled with random actions.
    """

    def act(params, carry, step, key):
        act_key, note_key = jax.random.split(key)
        acting, action, _ = acts.act(params, carry[0], step, act_key)
        noting, _, extras = notes.act(params, carry[1], step, note_key)
        return (acting, noting), action, extras

    return Policy(lambda worlds: (acts.init(worlds), notes.init(worlds)), act)


def chain(log_transition: Callable[[Params], Array]) -> Policy:
    """A Markov chain over K choices, int32 [B]; `log_transition(params)` is log P[previous, next], [K, K].

    The choice before an episode's first row is uniform, so the first choice follows a transition from a uniform one.
    """

    def act(params, previous, step, key):
        start_key, next_key = jax.random.split(key)
        table = log_transition(params)
        previous = jnp.where(step.first, jax.random.randint(start_key, previous.shape, 0, len(table)), previous)
        choice = jax.random.categorical(next_key, table[previous]).astype(jnp.int32)
        return choice, choice, {}

    return Policy(lambda worlds: jnp.zeros(worlds, jnp.int32), act)


def drift(size: int, ar_coefficient: float) -> Policy:
    """The AR(1) process z_t = a z_{t-1} + sqrt(1 - a^2) noise, [B, size], a = `ar_coefficient`.

    Its marginal is N(0, I) at every row; an episode's first row is drawn from it. Prior of NPMP (Merel et al., 2019).
    """

    def act(params, previous, step, key):
        noise = jax.random.normal(key, previous.shape)
        moved = ar_coefficient * previous + (1.0 - ar_coefficient**2) ** 0.5 * noise
        z = jnp.where(step.first[:, None], noise, moved)
        return z, z, {}

    return Policy(lambda worlds: jnp.zeros((worlds, size)), act)
