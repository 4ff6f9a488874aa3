"""Exact forward recursion over discrete skills: a sum over all skill sequences, without sampling."""

import chex
import jax
import jax.numpy as jnp

from skillhier.types import Array


def forward(transition: Array) -> Array:
    """Skill marginals w_0 .. w_T, [T + 1, B, K], from transitions Q_1 .. Q_T, [T, B, K, K], whose rows sum to 1.

    w_0 = 1/K and w_t = w_{t-1} Q_t, so w_t[k] = q(y_t = k | x_1 .. x_t). Differentiable.
    HeLMS (Rao et al., ICLR 2022), equation 13.
    """
    chex.assert_rank(transition, 4)
    _, batch, skills, _ = transition.shape
    uniform = jnp.full((batch, skills), 1.0 / skills, transition.dtype)

    def row(previous, q):
        # A broadcast product and a sum, not a batched matrix product: K is too small for a matrix routine.
        weight = (previous[:, :, None] * q).sum(1)
        return weight, weight

    _, weights = jax.lax.scan(row, uniform, transition, unroll=5)
    return jnp.concatenate([uniform[None], weights])
