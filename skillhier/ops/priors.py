"""Priors that a policy is kept near: Kullback-Leibler terms of every row, in nats, to be added to its loss.

What a choice was at the row before is read from the batch. It is not known at a window's first row, unless an episode
begins there: such a row adds nothing.
"""

import jax
import jax.numpy as jnp

from skillhier.ops import divergence
from skillhier.ops.families import Categorical, Gaussian, Mixture
from skillhier.types import Array


def uniform(policy: Categorical | Mixture) -> Array:
    """KL(pi(y | x) || 1/K), [...]: HeLMS, equation 5, first term."""
    return divergence.uniform(jax.nn.log_softmax(policy.logits))


def transition(policy: Categorical | Mixture, table: Array, skill: Array, first: Array) -> Array:
    """KL(pi(y_t | x_t) || P[y_{t-1}]), [T, B]. At an episode's first row the predecessor is uniform, as p(y_0) says.

    table [K, K] holds log P[j, k], skill [T, B] what was chosen, int32, first [T, B].
    """
    opening = jax.nn.logsumexp(table, 0) - jnp.log(len(table))
    before, known = previous(skill, first)
    prior = jnp.where(first[..., None], opening, table[before])
    return jnp.where(known, divergence.categorical(jax.nn.log_softmax(policy.logits), prior), 0.0)


def components(policy: Mixture, mean: Array, scale: Array) -> Array:
    """sum_k KL(N(mu_k, sigma_k) || N(mean_k, scale_k)), [...] from [K, ..., A]: HeLMS, equation 5, second term."""
    return divergence.gaussian(policy.mean, policy.scale, mean, scale).sum(0)


def standard(policy: Gaussian) -> Array:
    """KL(pi(z | x) || N(0, I)), [...]: NPMP+KL."""
    return divergence.standard(policy.mean, policy.scale)


def drift(policy: Gaussian, memory: float, latent: Array, first: Array) -> Array:
    """KL(pi(z_t | x_t) || N(memory z_{t-1}, (1 - memory^2) I)), [T, B]; to N(0, I) at an episode's first row.

    latent [T, B, Z] is what was chosen, first [T, B].
    """
    before, known = previous(latent, first)
    mean = jnp.where(first[..., None], 0.0, memory * before)
    scale = jnp.where(first[..., None], 1.0, (1.0 - memory**2) ** 0.5)
    return jnp.where(known, divergence.gaussian(policy.mean, policy.scale, mean, scale), 0.0)


def previous(choice: Array, first: Array) -> tuple[Array, Array]:
    """The choice of the row before, [T, B, ...] (zero in the first row), and whether a row's prior is known [T, B]."""
    before = jnp.concatenate([jnp.zeros_like(choice[:1]), choice[:-1]])
    return before, first.at[1:].set(True)
