"""Worlds that count, for tests of interfaces: every row says which episode it is of, and how far in.

By its number a world ends after three steps (1, 4, ...), breaks at the third step of its first episode (2, 5, ...), or
runs until the clock cuts it (0, 3, ...).
"""

import jax
import jax.numpy as jnp

from skillhier.types import Bounds, Env, Spec, TimeStep

LIMIT = 5


def make(worlds: int, *, offset: int = 0, key_matters: bool = False) -> Env:
    """Worlds number `offset` and on.

    Entry `where` [1, 2] is (episode, step), `sum` [1, 2] the actions so far, `hidden` [1, 1] a privileged 7.
    """
    number = offset + jnp.arange(worlds)

    def show(state, reward, first):
        episode, t, total, dice, last = state
        start = jax.vmap(jax.random.uniform)(dice) if key_matters else jnp.zeros(worlds)
        obs = {
            "where": jnp.stack([episode + start, t], -1)[:, None].astype(jnp.float32),
            "sum": total[:, None],
            "hidden": jnp.full((worlds, 1, 1), 7.0),
            "picture": jnp.broadcast_to(t[:, None, None, None, None], (worlds, 1, 2, 2, 3)).astype(jnp.uint8),
        }
        discount = jnp.where(last & (t < LIMIT), 0.0, 1.0)
        return TimeStep(obs, reward, discount, first, last)

    def reset(key):
        dice = jax.random.split(key, worlds)
        zero, no = jnp.zeros(worlds, jnp.int32), jnp.zeros(worlds, bool)
        state = (zero, zero, jnp.zeros((worlds, 2)), dice, no)
        return state, show(state, jnp.zeros(worlds), ~no)

    def step(state, action):
        episode, t, total, dice, last = state
        broken = (number % 3 == 2) & (episode == 0) & (t == 2)
        first = last | broken
        episode, t = episode + first, jnp.where(first, 0, t + 1)
        total = jnp.where(first[:, None], 0.0, total + action)
        last = ~first & ((t == LIMIT) | ((number % 3 == 1) & (t == 3)))
        state = (episode, t, total, dice, last)
        return state, show(state, jnp.where(first, 0.0, 10.0 * episode + t), first)

    shapes = {"where": (1, 2), "sum": (1, 2), "hidden": (1, 1)}
    entries = {k: jax.ShapeDtypeStruct(v, jnp.float32) for k, v in shapes.items()}
    entries["picture"] = jax.ShapeDtypeStruct((1, 2, 2, 3), jnp.uint8)
    return Env(reset, step, Spec(entries, Bounds((2,), -1.0, 1.0), worlds, 0.1, LIMIT, ("hidden",)))
