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
    entropy_range: tuple[Array | float, Array | float] = (0.0, 0.0)  # the least and the most that a part can have
    entropy_counts: Callable[[Array], Array] | None = None  # of an action: shares of the parts that count, [..., parts]


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


def choice(
    option: ActionHead, count: int, unimix: float = 0.01, *, pick_entropy: bool = True, masked: bool = False
) -> ActionHead:
    """`count` actions of the kind `option` side by side, and the pick of one, a one-hot code: [..., count A + count].

    The log-probability is that of the pick and of the action picked, so that nothing else is credited (MRS, equation
    5). Entropy has the parts of each option and then one for the pick.

    pick_entropy  False: the pick has no part in it
    masked        parts of options that are not picked do not count
    """
    pick = one_hot(1, count, unimix)

    def stats(raw: Array) -> Stats:
        each, which = picked(raw, count)
        return {"options": option.stats(each), "pick": pick.stats(which)}

    def joined(options: Array, which: Array) -> Array:
        return jnp.concatenate([options.reshape(*options.shape[:-2], -1), which], -1)

    def sample(stats: Stats, key: Key) -> Array:
        option_key, pick_key = jax.random.split(key)
        return joined(option.sample(stats["options"], option_key), pick.sample(stats["pick"], pick_key))

    def mode(stats: Stats, key: Key) -> Array:
        return joined(option.mode(stats["options"], key), pick.mode(stats["pick"], key))

    def log_prob(stats: Stats, action: Array) -> Array:
        options, which = picked(jax.lax.stop_gradient(action), count)
        return pick.log_prob(stats["pick"], which) + (which * option.log_prob(stats["options"], options)).sum(-1)

    def entropy(stats: Stats) -> Array:
        each = option.entropy(stats["options"])  # [..., count, parts]
        each = each.reshape(*each.shape[:-2], -1)
        return jnp.concatenate([each, pick.entropy(stats["pick"])], -1) if pick_entropy else each

    parts = jax.eval_shape(lambda raw: option.entropy(option.stats(raw)), jnp.zeros(option.outputs)).shape[-1]
    every = lambda of_option, of_pick: jnp.array([of_option] * count * parts + [of_pick] * pick_entropy)  # noqa: E731

    def counts(action: Array) -> Array:
        _, which = picked(jax.lax.stop_gradient(action), count)
        each = jnp.repeat(which, parts, -1)
        return jnp.concatenate([each, jnp.ones_like(which[..., :1])], -1) if pick_entropy else each

    return ActionHead(
        count * option.size + count,
        count * option.outputs + count,
        stats,
        sample,
        mode,
        log_prob,
        entropy,
        (every(option.entropy_range[0], 0.0), every(option.entropy_range[1], math.log(count))),
        counts if masked else None,
    )


def picked(action: Array, count: int) -> tuple[Array, Array]:
    """The actions [..., count, A] of a `choice`, and the pick [..., count]."""
    options = action[..., :-count]
    return options.reshape(*options.shape[:-1], count, -1), action[..., -count:]
