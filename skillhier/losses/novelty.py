"""How unfamiliar states are to other skills than the one that learns: random network distillation, and ReST's reward.

A pair of networks stands for what a skill has visited (Burda et al., 2019): a random target that never moves, and a
predictor that is fitted to it there, so that its error stays high elsewhere.
"""

import jax
import jax.numpy as jnp

from skillhier.types import Array


def distillation_error(predicted: Array, target: Array) -> Array:
    """The mean squared error [...] of predictions of a target, [..., D] each; the target gets no gradient."""
    return jnp.square(predicted - jax.lax.stop_gradient(target)).mean(-1)


def apart(errors: Array, others: Array, scale: float = 10.0) -> Array:
    """-log mean_j exp(-scale e_j) over the skills j where `others` [K] bool: [...] of errors [K, ...] (ReST).

    0 where any one of them could be at home, however many there are up to log of their number; about scale times the
    least error where all of them are strangers. 0 where there are no others.
    """
    counted = others.reshape(-1, *[1] * (errors.ndim - 1))
    many = others.sum()
    total = jax.nn.logsumexp(jnp.where(counted, -scale * errors, -jnp.inf), axis=0)
    return jnp.where(many > 0, jnp.log(jnp.maximum(many, 1)) - total, 0.0)
