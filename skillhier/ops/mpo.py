"""Maximum a posteriori policy optimisation (MPO; Abdolmaleki et al., 2018): E-step, M-step and Lagrange multipliers.

E-step: weights of choices, exp(Q / temperature) times their prior, with a mean KL to the prior over rows of at most
`epsilon` nats. M-step: the policy is fitted to the weighted choices while every named part of it stays within a KL
bound of the target policy. Each bound has a multiplier, softplus(raw) + 1e-8, with a dual loss of its own.

All functions return one value per row, so that the caller decides which rows count; all losses are linear in rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Action, Array, Params

FLOOR = -18.0  # of a raw multiplier: softplus and its slope are 1.5e-8 there; below it the gradient vanishes
MARGIN = 1e-8


class Bound(NamedTuple):
    """A bound in nats and the initial raw value of its multiplier.

    shape: () bounds a part's whole divergence. Otherwise each element has a bound and multiplier of its own, aligned
    with the last axes of the divergence: (A,) per dimension (summed over components), (K, 1) per component.
    """

    epsilon: float
    raw: float
    shape: tuple[int, ...] = ()


class EStep(NamedTuple):
    weights: Array  # [N, ...] of the choices, summing to 1, without gradient
    loss: Array  # [...] dual loss of the temperature
    kl: Array  # [...] KL(weights || prior) in nats, without gradient


class Penalty(NamedTuple):
    """The terms that the bound of one part adds to the loss."""

    loss: Array  # [...] for the policy, without gradient in the multiplier
    dual_loss: Array  # [...] for the multiplier, without gradient in the policy
    kl: Array  # [..., *shape of the bound]


def init_duals(bounds: dict[str, Bound]) -> Params:
    """Initial raw multipliers, under the names of `bounds`: parameters with an optimiser label of their own."""
    return {name: jnp.full(bound.shape, bound.raw, jnp.float32) for name, bound in bounds.items()}


def multiplier(raw: Array) -> Array:
    """softplus(raw) + 1e-8, always positive."""
    return jax.nn.softplus(raw) + MARGIN


def clip_duals(duals: Params) -> Params:
    """Raw multipliers clipped from below at FLOOR; apply after every step of their optimiser."""
    return jax.tree.map(lambda raw: jnp.maximum(raw, FLOOR), duals)


def e_step(q: Array, log_prior: Array, raw: Array, epsilon: float) -> EStep:
    """Weights exp(q / temperature + log_prior), normalised over the first axis, [N, ...] all; no gradient in `q`.

    The temperature's loss is its convex dual, T (epsilon + log sum_n exp(q_n / T + log_prior_n)); at the minimum of
    its mean over rows, the mean KL of weights to prior is epsilon.
    """
    temperature = multiplier(raw)
    q, log_prior = jax.lax.stop_gradient((q, log_prior))
    best = q.max(0)
    # Relative to the best q, which is added to the loss: q / T may reach 1e8, where float32 loses the differences.
    gain = (q - best) / temperature
    log_total = jax.nn.logsumexp(gain + log_prior, 0)
    weights = jax.lax.stop_gradient(jnp.exp(gain + log_prior - log_total))
    kl = jax.lax.stop_gradient((weights * gain).sum(0) - log_total)
    return EStep(weights, temperature * (epsilon + log_total) + best, kl)


def out_of_bounds(action: Action) -> Array:
    """Minus the distance of an action to [-1, 1]^A, a second objective beside Q: [...] from [..., A].

    Its E-step weights, with their own temperature, are added to those of Q (MO-MPO; Abdolmaleki et al., 2020).
    """
    return -jnp.linalg.norm(action - jnp.clip(action, -1.0, 1.0), axis=-1)


def m_step(weights: Array, log_prob: Array) -> Array:
    """Cross-entropy of weighted choices, [...] from [N, ...]."""
    return -(jax.lax.stop_gradient(weights) * log_prob).sum(0)


def penalty(kl: Array, raw: Array, epsilon: float, rows: int) -> Penalty:
    """Penalises `kl` [..., *axes] above epsilon; the shape of the multiplier `raw` says which axes are bounded apart.

    rows: number of leading axes that are rows.
    """
    kl = sum_to_shape(kl, rows, raw.shape)
    alpha = multiplier(raw)
    inner = tuple(range(rows, kl.ndim))
    return Penalty(
        (jax.lax.stop_gradient(alpha) * kl).sum(inner),
        (alpha * (epsilon - jax.lax.stop_gradient(kl))).sum(inner),
        kl,
    )


def sum_to_shape(kl: Array, rows: int, shape: tuple[int, ...]) -> Array:
    """Sums `kl` over those of its axes after the rows that `shape`, aligned at the right, lacks or has with size 1."""
    axes = kl.shape[rows:]
    extra = len(axes) - len(shape)
    if extra < 0 or any(size not in (1, axis) for size, axis in zip(shape, axes[extra:], strict=True)):
        raise ValueError(f"a bound of shape {list(shape)} does not fit a divergence of axes {list(axes)}; set it to []")
    kl = kl.sum(tuple(range(rows, rows + extra)))
    pairs = enumerate(zip(shape, axes[extra:], strict=True))
    return kl.sum(tuple(rows + i for i, (size, axis) in pairs if size != axis), keepdims=True)
