"""The loss of a world model on a batch of rows, and the posterior latents that imagination may start from.

Networks arrive as functions. Row t is observed with the action of row t - 1, for row t's action leads to row t + 1; no
action leads to a window's first row or to one that opens an episode. A broken world's first row is one of those.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillhier.ops import scale
from skillhier.ops.predictions import Prediction
from skillhier.types import Array, Key, Metrics, Params, Scalar, Trajectory

Stats = Any
KLs = Callable[[Stats, Stats], Array]  # KL(first || second) of two distributions, [T, B]


class KLLoss(NamedTuple):
    """How posterior and prior are drawn together."""

    loss: Callable[[Any, KLs, Stats, Stats], tuple[Scalar, Any, Metrics]]  # (state, kl, posterior, prior)
    init: Any = ()  # state that the loss moves


def mean_kl(free_nats: float = 3.0) -> KLLoss:
    """max(mean of the KL over the batch, free nats), with a gradient to both (Dreamer, 2020)."""

    def loss(state, kl, posterior, prior):
        value = kl(posterior, prior).mean()
        return jnp.maximum(value, free_nats), state, {"kl": value}

    return KLLoss(loss)


def balanced_kl(
    to_prior: float = 0.5, to_posterior: float = 0.1, free_nats: float = 1.0, weight: scale.AdaptiveWeight | None = None
) -> KLLoss:
    """Shares of the KL that train the prior and the posterior; each row costs at least `free_nats` (DreamerV3).

    weight: of the sum, moved to its target before it is used (Director: shares .8 and .2, no free nats, target 3.5).
    """

    def loss(state, kl, posterior, prior):
        stop = jax.lax.stop_gradient
        dynamics, representation = kl(stop(posterior), prior), kl(posterior, stop(prior))
        floor = lambda rows: jnp.maximum(rows, free_nats).mean() if free_nats else rows.mean()  # noqa: E731
        value = to_prior * floor(dynamics) + to_posterior * floor(representation)
        metrics = {"kl": representation.mean()}
        if weight is None:
            return value, state, metrics
        state = weight.update(state, value)
        return state * value, state, metrics | {"kl_weight": state}

    return KLLoss(loss, () if weight is None else weight.init(()))


def world_loss(
    embed: Callable[[Params, Mapping[str, Array]], Array],
    observe_rows: Callable[..., tuple[Any, Stats]],
    prior: Callable[[Params, Any], Stats],
    feature: Callable[[Any], Array],
    kl: KLs,
    noise: Callable[[Key, tuple[int, ...]], Array],
    heads: Mapping[str, Callable[[Params, Array], Prediction]],
    targets: Callable[[Trajectory], Mapping[str, Array]],
    *,
    kl_loss: KLLoss,
    weights: Mapping[str, float] | None = None,
):
    """(params, state, batch, key) -> (loss, (posterior latents [T, B, ...], state, metrics)).

    embed         (params, observation entries [T, B, ...]) -> [T, B, E]
    observe_rows  (params, last actions [T, B, A], embeddings, first, noise) -> posterior latents, their statistics
    prior         (params, posterior latents) -> statistics of the prior of the same rows
    heads         name -> (params, features [T, B, F]) -> its prediction; each sends its gradient into the latents
    targets       batch -> name -> what came, [T, B, *event]; "action" is the action in the model's units, [T, B, A]
    weights       of heads, 1 each if not named
    """

    def loss(params: Params, state: Any, batch: Trajectory, key: Key) -> tuple[Scalar, tuple[Any, Any, Metrics]]:
        step, wanted = batch.step, dict(targets(batch))
        action = wanted.pop("action")
        last_action = jnp.concatenate([jnp.zeros_like(action[:1]), action[:-1]])
        first = step.first.at[0].set(True)  # a window begins with a blank latent
        rows = step.first.shape
        posterior, stats = observe_rows(params, last_action, embed(params, step.obs), first, noise(key, rows))
        total, state, metrics = kl_loss.loss(state, kl, stats, prior(params, posterior))
        features = feature(posterior)
        for name, head in heads.items():
            error = -head(params, features).log_prob(wanted[name]).mean()
            total = total + (weights or {}).get(name, 1.0) * error
            metrics[f"{name}_loss"] = error
        return total, (posterior, state, metrics | {"loss": total})

    return loss
