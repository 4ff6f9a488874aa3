"""Kullback-Leibler divergences in closed form, in nats. The last axis is summed over (not by `gaussian_each`)."""

import jax.numpy as jnp

from skillhier.types import Array


def gaussian_each(mean: Array, scale: Array, other_mean: Array | float, other_scale: Array | float) -> Array:
    """KL(N(mean, scale^2) || N(other_mean, other_scale^2)) of every dimension by itself, [..., D]."""
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
    """KL(p || q) from normalised log-probabilities, [...] from [..., K]. An outcome with p = 0 counts nothing."""
    p = jnp.exp(log_p)
    # chosen before it is multiplied: 0 times infinity would be no number, in the gradient at least
    return (p * jnp.where(p > 0, log_p - log_q, 0.0)).sum(-1)


def uniform(log_p: Array) -> Array:
    """KL(p || uniform) = log K - entropy of p, from normalised log-probabilities, [...] from [..., K]."""
    return categorical(log_p, -jnp.log(log_p.shape[-1]))


def entropy(p: Array) -> Array:
    """-sum p log p of probabilities, [...] from [..., K]. An outcome with p = 0 counts nothing."""
    return -(p * jnp.log(jnp.where(p > 0, p, 1.0))).sum(-1)
