"""Kullback-Leibler divergences and entropies in closed form, in nats; all but `gaussian_each` sum the last axis."""

import jax.numpy as jnp

from skillhier.types import Array


def gaussian_each(mean: Array, scale: Array, other_mean: Array | float, other_scale: Array | float) -> Array:
    """KL(N(mean, scale^2) || N(other_mean, other_scale^2)) per dimension, [..., D]."""
    ratio = jnp.square(scale / other_scale)
    moved = jnp.square((mean - other_mean) / other_scale)
    return 0.5 * (ratio + moved - 1.0 - jnp.log(ratio))


def gaussian(mean: Array, scale: Array, other_mean: Array | float, other_scale: Array | float) -> Array:
    """KL(N(mean, scale^2) || N(other_mean, other_scale^2)), diagonal, [...] from [..., D]."""
    return gaussian_each(mean, scale, other_mean, other_scale).sum(-1)


def standard(mean: Array, scale: Array) -> Array:
    """KL(N(mean, scale^2) || N(0, I)), diagonal, [...] from [..., D]."""
    return gaussian(mean, scale, 0.0, 1.0)


def categorical(log_p: Array, log_q: Array) -> Array:
    """KL(p || q) from normalised log-probabilities, [...] from [..., K]. Outcomes with p = 0 add 0."""
    p = jnp.exp(log_p)
    # Masked before the product: 0 times infinity would be NaN, in the gradient at least.
    return (p * jnp.where(p > 0, log_p - log_q, 0.0)).sum(-1)


def uniform(log_p: Array) -> Array:
    """KL(p || uniform) = log K - entropy of p, from normalised log-probabilities, [...] from [..., K]."""
    return categorical(log_p, -jnp.log(log_p.shape[-1]))


def entropy(p: Array) -> Array:
    """-sum p log p of probabilities, [...] from [..., K]. Outcomes with p = 0 add 0."""
    return -(p * jnp.log(jnp.where(p > 0, p, 1.0))).sum(-1)
