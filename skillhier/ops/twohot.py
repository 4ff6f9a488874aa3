"""Symmetric logarithm and two-hot codes of scalars (Hafner et al., 2023, "Mastering Diverse Domains", equations 9, 10).

A two-hot code spreads a number over the two bins beside it, so that their mean is the number.
"""

import jax
import jax.numpy as jnp

from skillhier.types import Array


def symlog(x: Array) -> Array:
    """sign(x) log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Array) -> Array:
    """The inverse of `symlog`: sign(x) (exp(|x|) - 1)."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def bins(count: int = 255, low: float = -20.0, high: float = 20.0) -> Array:
    """`count` evenly spaced bins from `low` to `high`, [count]; in symlog space they reach +-4.85e8.

    The mean of two ways of counting them, so that with low = -high opposite bins are equal to the bit.
    """
    return (jnp.linspace(low, high, count) - jnp.linspace(-high, -low, count)[::-1]) / 2


def encode(x: Array, bins: Array) -> Array:
    """Weights of the two bins beside each number, [..., K] from [...] and bins [K]; beyond the last bin all on it."""
    x = jnp.clip(x, bins[0], bins[-1])
    above = jnp.clip(jnp.searchsorted(bins, x, side="right"), 1, len(bins) - 1)
    share = (x - bins[above - 1]) / (bins[above] - bins[above - 1])
    one_hot = lambda place: jax.nn.one_hot(place, len(bins), dtype=x.dtype)  # noqa: E731
    return (1 - share)[..., None] * one_hot(above - 1) + share[..., None] * one_hot(above)


def decode(probabilities: Array, bins: Array) -> Array:
    """The mean of the bins, [...] from [..., K].

    Summed from the outside in: opposite bins cancel exactly where they weigh the same, so that an untrained head with
    equal probabilities says 0.
    """
    half = (len(bins) - 1) // 2
    weighted = probabilities * bins
    low, high = weighted[..., :half], jnp.flip(weighted[..., len(bins) - half :], -1)
    return (low + high).sum(-1) + weighted[..., half : len(bins) - half].sum(-1)
