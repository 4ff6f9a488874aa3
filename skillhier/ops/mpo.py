"""Maximum a posteriori policy optimisation (MPO; Abdolmaleki et al., 2018): its two steps and their multipliers.

E-step: weights of choices, exp(Q / temperature) times their prior, at most `epsilon` nats away from the prior in the
mean over rows. M-step: the policy follows the weighted choices while every named part of it stays within its bound of
the target policy. Each bound has a multiplier, softplus(raw) + 1e-8, that learns from a loss of its own.

The functions give one value a row, so that the caller says which rows count; all the losses are linear in the rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Action, Array, Params

FLOOR = -18.0  # of a raw multiplier: softplus and its slope are 1.5e-8 there, less and it would not come back
MARGIN = 1e-8


class Bound(NamedTuple):
    """A bound in nats, and the raw value that its multiplier begins with.

    shape: () is one bound for a part's whole divergence. Else it says how the axes of the divergence are bounded
    apart, aligned at the right: (A,) every dimension by itself (over components summed), (K, 1) every component.
    """

    epsilon: float
    raw: float
    shape: tuple[int, ...] = ()


class EStep(NamedTuple):
    weights: Array  # [N, ...] of the choices, summing to 1, without gradient
    loss: Array  # [...] of the temperature
    kl: Array  # [...] from weights to prior, nats, without gradient


class Penalty(NamedTuple):
    """What a bound of one part adds."""

    loss: Array  # [...] of the policy; the multiplier has no gradient
    dual_loss: Array  # [...] of the multiplier; the policy has no gradient
    kl: Array  # [..., *shape of the bound]


def init_duals(bounds: dict[str, Bound]) -> Params:
    """Raw multipliers of `bounds`, under the same names: parameters, with an optimiser label of their own."""
    return {name: jnp.full(bound.shape, bound.raw, jnp.float32) for name, bound in bounds.items()}


def multiplier(raw: Array) -> Array:
    """Above 0."""
    return jax.nn.softplus(raw) + MARGIN


def clip_duals(duals: Params) -> Params:
    """Raw multipliers lifted to the floor; to be done after every step of their optimiser."""
    return jax.tree.map(lambda raw: jnp.maximum(raw, FLOOR), duals)


def e_step(q: Array, log_prior: Array, raw: Array, epsilon: float) -> EStep:
    """Weights exp(q / temperature + log_prior), normalised over the first axis, [N, ...] all; `q` gets no gradient.

    The temperature's loss is its convex dual, T (epsilon + log sum_n exp(q_n / T + log_prior_n)); where its mean over
    rows is least the mean KL of weights to prior is epsilon.
    """
    temperature = multiplier(raw)
    q, log_prior = jax.lax.stop_gradient((q, log_prior))
    best = q.max(0)
    # less the best q, which adds itself to the loss: q / T may be 1e8, and what the choices differ by would drown
    gain = (q - best) / temperature
    log_total = jax.nn.logsumexp(gain + log_prior, 0)
    weights = jax.lax.stop_gradient(jnp.exp(gain + log_prior - log_total))
    kl = jax.lax.stop_gradient((weights * gain).sum(0) - log_total)
    return EStep(weights, temperature * (epsilon + log_total) + best, kl)


def out_of_bounds(action: Action) -> Array:
    """How far an action is from [-1, 1]^A, negative, as a second objective beside Q: [...] from [..., A].

    Its weights, with a temperature of its own, are added to those of Q (MO-MPO; Abdolmaleki et al., 2020).
    """
    return -jnp.linalg.norm(action - jnp.clip(action, -1.0, 1.0), axis=-1)


def m_step(weights: Array, log_prob: Array) -> Array:
    """Cross-entropy of weighted choices, [...] from [N, ...]."""
    return -(jax.lax.stop_gradient(weights) * log_prob).sum(0)


def penalty(kl: Array, raw: Array, epsilon: float, rows: int) -> Penalty:
    """Holds `kl` [..., *axes] within epsilon by the multiplier `raw`, whose shape says which axes are kept apart.

    rows: how many of the first axes are rows.
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
    """Sums the axes of `kl` after its rows until they are `shape`; a missing axis or one of size 1 is summed."""
    axes = kl.shape[rows:]
    spare = len(axes) - len(shape)
    if spare < 0 or any(wanted not in (1, there) for wanted, there in zip(shape, axes[spare:], strict=True)):
        raise ValueError(f"a bound of shape {list(shape)} does not fit a divergence of axes {list(axes)}; set it to []")
    kl = kl.sum(tuple(range(rows, rows + spare)))
    apart = zip(shape, axes[spare:], strict=True)
    return kl.sum(tuple(rows + i for i, (wanted, there) in enumerate(apart) if wanted != there), keepdims=True)
