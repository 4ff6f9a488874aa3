"""The cross-entropy method: sample, score, refit, again. It knows nothing of worlds.

Parameters are diagonal Gaussians over plans [..., D], one for each start; the iterations run one after another, and
the proposals of one iteration together.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.types import Array, Key

VARIANCE_FLOOR = 1e-6  # added to the elites' variance


class Search(NamedTuple):
    """What a search ends with, for each start."""

    mean: Array  # [B, ...]
    stddev: Array  # [B, ...]
    scores: Array  # [iterations, B] mean score of the elites


def search(
    score: Callable[[Array, Key], Array],
    mean: Array,
    stddev: Array,
    key: Key,
    *,
    proposals: int,
    elites: int,
    iterations: int,
    shared: bool = False,
) -> Search:
    """The Gaussians [B, ...] that maximise `score`, begun at (mean, stddev).

    score   (plans [G, B, ...], key) -> [G, B]; higher is better
    shared  one Gaussian for all starts: proposals and elites are common to them, by their mean score
    """
    if not 1 <= elites <= proposals:
        raise ValueError(f"elites must lie between 1 and the {proposals} proposals, got {elites}; set agent.elites")
    if iterations < 1:
        raise ValueError(f"iterations must be >= 1, got {iterations}; set agent.iterations")

    def iterate(carry: tuple[Array, Array], key: Key) -> tuple[tuple[Array, Array], Array]:
        mean, stddev = carry
        sample_key, score_key = jax.random.split(key)
        noise = jax.random.normal(sample_key, (proposals, *(mean[:1] if shared else mean).shape))
        plans = mean + stddev * noise  # [G, B, ...]
        scores = score(plans, score_key)
        if shared:
            scores = jnp.broadcast_to(scores.mean(1, keepdims=True), scores.shape)
        best, order = jax.lax.top_k(scores.T, elites)  # [B, M]
        order = order.T.reshape(elites, -1, *[1] * (plans.ndim - 2))
        chosen = jnp.take_along_axis(plans, order, 0)  # [M, B, ...]
        refit = chosen.mean(0), jnp.sqrt(chosen.var(0) + VARIANCE_FLOOR)
        return refit, best.mean(1)

    (mean, stddev), scores = jax.lax.scan(iterate, (mean, stddev), jax.random.split(key, iterations))
    return Search(mean, stddev, scores)
