"""KL terms from a policy to its priors, one value per row in nats, to be added to the policy's loss.

The choice at the previous row is read from the batch. It is unknown at a window's first row unless an episode begins
there: such a row adds 0.
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
    """KL(pi(y_t | x_t) || P[y_{t-1}]), [T, B]. An episode's first row has a uniform predecessor, y_{-1} ~ 1/K.

    table [K, K] holds log P[previous, next]; skill [T, B] int32 are the choices; first [T, B].
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


def drift(policy: Gaussian, ar_coefficient: float, latent: Array, first: Array) -> Array:
    """KL to the AR(1) prior, KL(pi(z_t | x_t) || N(a z_{t-1}, (1 - a^2) I)), [T, B], a = `ar_coefficient`.

    At an episode's first row the prior is N(0, I). latent [T, B, Z] are the choices; first [T, B].
    """
    before, known = previous(latent, first)
    mean = jnp.where(first[..., None], 0.0, ar_coefficient * before)
    scale = jnp.where(first[..., None], 1.0, (1.0 - ar_coefficient**2) ** 0.5)
    return jnp.where(known, divergence.gaussian(policy.mean, policy.scale, mean, scale), 0.0)


def previous(choice: Array, first: Array) -> tuple[Array, Array]:
    """The choice at the previous row, [T, B, ...] (zero at row 0), and whether a row's prior is known, [T, B]."""
    before = jnp.concatenate([jnp.zeros_like(choice[:1]), choice[:-1]])
    return before, first.at[1:].set(True)
