"""Distributions of actions that learn in imagination: one record of functions for each kind.

Samples carry gradients (reparameterised, or straight through one-hot codes). A distribution is a dictionary of arrays
[..., *]; actions are [..., A], for categoricals one-hot codes side by side.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.ops.families import HALF_LOG_2PI, gaussian_log_prob
from skillhier.ops.latents import mixed, straight_through
from skillhier.types import Array, Key

Stats = dict[str, Array]
EDGE = 1 - 1e-6  # actions are this close to -1 and 1 at most where their tanh is inverted


class ActionHead(NamedTuple):
    """One kind of distribution."""

    size: int  # A
    outputs: int  # of the network that says it
    stats: Callable[[Array], Stats]
    sample: Callable[[Stats, Key], Array]  # [..., A]
    mode: Callable[[Stats, Key], Array]  # [..., A]
    log_prob: Callable[[Stats, Array], Array]  # [...]
    entropy: Callable[[Stats], Array] | None = None  # in nats, [..., parts]; None: it has no closed form
    entropy_range: tuple[float, float] = (0.0, 0.0)  # the least and the most that a part can have


def tanh_normal(size: int, init_stddev: float = 5.0, mean_scale: float = 5.0, candidates: int = 100) -> ActionHead:
    """tanh of N(c tanh(mean / c), softplus(raw + r) + 1e-4), of deviation `init_stddev` where raw is 0 (Dreamer, 2020).

    mode: the likeliest of `candidates` samples, for the density of a squashed Gaussian has no closed maximum.
    """
    shift = math.log(math.expm1(init_stddev))

    def stats(raw: Array) -> Stats:
        mean, raw = jnp.split(raw, 2, -1)
        return {"mean": mean_scale * jnp.tanh(mean / mean_scale), "stddev": jax.nn.softplus(raw + shift) + 1e-4}

    def squashed_log_prob(stats: Stats, x: Array) -> Array:
        slope = 2 * (math.log(2.0) - x - jax.nn.softplus(-2 * x))  # log(1 - tanh(x)^2)
        return gaussian_log_prob(stats["mean"], stats["stddev"], x) - slope.sum(-1)

    def draw(stats: Stats, key: Key, count: tuple[int, ...] = ()) -> Array:
        return stats["mean"] + stats["stddev"] * jax.random.normal(key, (*count, *stats["mean"].shape))

    def mode(stats: Stats, key: Key) -> Array:
        x = draw(stats, key, (candidates,))
        best = squashed_log_prob(stats, x).argmax(0)
        return jnp.tanh(jnp.take_along_axis(x, best[None, ..., None], 0)[0])

    return ActionHead(
        size,
        2 * size,
        stats,
        lambda stats, key: jnp.tanh(draw(stats, key)),
        mode,
        lambda stats, action: squashed_log_prob(stats, jnp.arctanh(jnp.clip(action, -EDGE, EDGE))),
    )


def bounded_normal(size: int, min_stddev: float = 0.03, max_stddev: float = 1.0) -> ActionHead:
    """N(tanh(mean), stddev) with stddev between the two bounds (Director, DreamerV3); worlds clip what lies beyond.

    Its entropy has one part for each dimension.
    """

    def stats(raw: Array) -> Stats:
        mean, raw = jnp.split(raw, 2, -1)
        return {"mean": jnp.tanh(mean), "stddev": (max_stddev - min_stddev) * jax.nn.sigmoid(raw) + min_stddev}

    return ActionHead(
        size,
        2 * size,
        stats,
        lambda stats, key: stats["mean"] + stats["stddev"] * jax.random.normal(key, stats["mean"].shape),
        lambda stats, key: stats["mean"],
        lambda stats, action: gaussian_log_prob(stats["mean"], stats["stddev"], action),
        lambda stats: jnp.log(stats["stddev"]) + HALF_LOG_2PI + 0.5,
        (math.log(min_stddev) + HALF_LOG_2PI + 0.5, math.log(max_stddev) + HALF_LOG_2PI + 0.5),
    )


def one_hot(codes: int = 1, classes: int = 8, unimix: float = 0.01) -> ActionHead:
    """`codes` categoricals of `classes` each as one-hot codes [..., codes * classes], sampled straight through.

    Its entropy has one part for each categorical.
    """
    size = codes * classes

    def stats(raw: Array) -> Stats:
        return {"log_p": mixed(raw.reshape(*raw.shape[:-1], codes, classes), unimix)}

    def log_prob(stats: Stats, action: Array) -> Array:
        hard = jax.lax.stop_gradient(action).reshape(*action.shape[:-1], codes, classes)
        return (hard * stats["log_p"]).sum((-1, -2))

    return ActionHead(
        size,
        size,
        stats,
        lambda stats, key: straight_through(stats["log_p"], jax.random.categorical(key, stats["log_p"])),
        lambda stats, key: straight_through(stats["log_p"], stats["log_p"].argmax(-1)),
        log_prob,
        lambda stats: -(jnp.exp(stats["log_p"]) * stats["log_p"]).sum(-1),
        (0.0, math.log(classes)),
    )
