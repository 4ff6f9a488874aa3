"""The bound that HeLMS and NPMP maximise (HeLMS, equations 3 and 12). NPMP is its case of one component.

Per row t:  sum_k w_t[k] (log p(a_t | z_t^k) - beta_z KL_z[k]) - beta_y sum_j w_{t-1}[j] KL(Q_t[j] || P[j]).
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax.numpy as jnp

from skillhier.losses.imitation import average, log_prob, squared_error
from skillhier.ops import divergence, messages
from skillhier.types import Array, Key, Loss, Metrics, Params, Scalar, Trajectory

LEAST_SHARE = 1e-30  # of a skill that no row uses: at 0 the gradient of its logarithm is infinite


class Posterior(NamedTuple):
    """What is believed of skills and latents on the first T rows of a window."""

    transition: Array  # [T, B, K, K] log q(y_t = k | y_{t-1} = j, x_t) at [..., j, k]
    latent: Array  # [K, T, B, Z] one z for every skill
    latent_kl: Array  # [K, T, B] KL(q(z_t | y_t = k, x_t) || p(z_t)), nats


class Terms(NamedTuple):
    """The bound's parts, [T, B] each, in nats; the bound is the first less beta times the others."""

    log_likelihood: Array
    skill_kl: Array
    latent_kl: Array


Infer = Callable[[Params, Trajectory, Key | None], Posterior]  # without a key every latent is at its mean
Decode = Callable[[Params, Trajectory, Array], Array]  # latents [K, T, B, Z] -> mean actions [K, T, B, A]
Prior = Callable[[Params], Array]  # log p(y_t = k | y_{t-1} = j), [K, K]


def terms(weights: Array, posterior: Posterior, prior: Array, log_likelihood: Array) -> Terms:
    """The bound's parts with every skill sequence counted.

    weights [T + 1, B, K] from ops.messages.forward, prior [K, K] in logs, log_likelihood [K, T, B] of each component.
    """
    length, batch, skills, _ = posterior.transition.shape
    chex.assert_shape([posterior.latent_kl, log_likelihood], (skills, length, batch))
    now = jnp.moveaxis(weights[1:], -1, 0)  # [K, T, B]
    skill_kl = divergence.categorical(posterior.transition, prior)  # [T, B, K], by previous skill
    return Terms((now * log_likelihood).sum(0), (weights[:-1] * skill_kl).sum(-1), (now * posterior.latent_kl).sum(0))


def elbo(
    infer: Infer,
    decode: Decode,
    prior: Prior,
    *,
    beta_y: float,
    beta_z: float,
    scale: float | Array = 0.1,
    usage_weight: float = 0.0,
    entropy_weight: float = 0.0,
) -> Loss:
    """Negative bound per row: mean over batch and time, one reparameterised latent for every row and skill.

    Two terms beside the bound, both 0 in the paper, separate the skills. `usage_weight` * KL(mean weight of the batch
    || uniform): without it a skill that starts badly gets no rows, learns nothing and is never used. `entropy_weight` *
    mean entropy of a row's weights: without it every skill explains some of every row, and all learn the same.
    """

    def loss(params: Params, batch: Trajectory, key: Key) -> tuple[Scalar, Metrics]:
        posterior = infer(params, batch, key)
        rows = posterior.transition.shape[0]
        action, valid = batch.action[:rows], ~batch.step.last[:rows]
        weights = messages.forward(jnp.exp(posterior.transition))
        mean = decode(params, batch, posterior.latent)
        parts = terms(weights, posterior, prior(params), log_prob(mean, action, scale))
        parts = Terms(*(average(part, valid) for part in parts))
        bound = parts.log_likelihood - beta_y * parts.skill_kl - beta_z * parts.latent_kl
        share = jnp.log(jnp.maximum(weights[1:].mean((0, 1)), LEAST_SHARE))  # [K]
        usage_kl = divergence.categorical(share, -jnp.log(len(share)) * jnp.ones_like(share))
        skill_entropy = average(divergence.entropy(weights[1:]), valid)
        return usage_weight * usage_kl + entropy_weight * skill_entropy - bound, {
            "elbo/usage_kl": usage_kl,
            "elbo/skill_entropy": skill_entropy,
            "elbo/bound": bound,
            "elbo/log_likelihood": parts.log_likelihood,
            "elbo/skill_kl": parts.skill_kl,
            "elbo/latent_kl": parts.latent_kl,
        }

    return loss


def assess(infer: Infer, decode: Decode, prior: Prior, loss: Loss) -> Callable[[Params, Trajectory, Key], dict]:
    """A measure of held-out windows; its values may be averaged over calls. K skills, j the previous one:

    elbo/...             the terms of `loss`, []
    heldout_action_mse   squared error of sum_k w_t[k] mean_k(z at its mean) per action dimension, []
    skill_usage          [K] share of rows where a skill has the largest w_t
    skill_joint          [K, K] mean w_{t-1}[j] Q_t[j, k]: how skills follow each other in these windows
    transition           [K, K] the learned prior P, rows sum to 1
    transition_diagonal  [] its mean diagonal: how long skills last
    """

    def measure(params: Params, batch: Trajectory, key: Key) -> dict[str, Array]:
        _, metrics = loss(params, batch, key)
        posterior = infer(params, batch, None)
        rows = posterior.transition.shape[0]
        action, valid = batch.action[:rows], ~batch.step.last[:rows]
        transition = jnp.exp(posterior.transition)
        weights = messages.forward(transition)  # [T + 1, B, K]
        mean = decode(params, batch, posterior.latent)
        expected = (jnp.moveaxis(weights[1:], -1, 0)[..., None] * mean).sum(0)
        skills = transition.shape[-1]
        chosen = weights[1:].argmax(-1)
        learned = jnp.exp(prior(params))
        return metrics | {
            "heldout_action_mse": squared_error(expected, action, valid),
            "skill_usage": jnp.stack([average((chosen == k).astype(jnp.float32), valid) for k in range(skills)]),
            "skill_joint": (weights[:-1, :, :, None] * transition).mean((0, 1)),
            "transition": learned,
            "transition_diagonal": jnp.diagonal(learned).mean(),
        }

    return measure
