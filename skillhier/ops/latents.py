"""Stochastic latents of a recurrent world model: diagonal Gaussians, or several categoricals.

A latent is [..., size], sampled so that gradients pass: reparameterised, or straight through one-hot codes. `Kind` is
a record of functions on a distribution's statistics, a dictionary of arrays [..., *].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.ops import divergence
from skillhier.types import Array, Key

Stats = dict[str, Array]


class Kind(NamedTuple):
    """One kind of latent."""

    size: int  # of a latent, flat
    outputs: int  # of the network that says its distribution
    stats: Callable[[Array], Stats]  # network outputs [..., outputs] -> the distribution
    noise: Callable[[Key, tuple[int, ...]], Array]  # what `sample` needs for rows of that shape
    sample: Callable[[Stats, Array], Array]  # with noise -> [..., size]
    mode: Callable[[Stats], Array]  # [..., size]
    kl: Callable[[Stats, Stats], Array]  # KL(first || second) in nats, [...]


def gaussian(size: int = 30, min_stddev: float = 0.1) -> Kind:
    """N(mean, diag stddev^2) with stddev = softplus(raw) + min_stddev (Dreamer, 2020)."""

    def stats(raw: Array) -> Stats:
        mean, raw = jnp.split(raw, 2, -1)
        return {"mean": mean, "stddev": jax.nn.softplus(raw) + min_stddev}

    return Kind(
        size,
        2 * size,
        stats,
        lambda key, rows: jax.random.normal(key, (*rows, size)),
        lambda stats, noise: stats["mean"] + stats["stddev"] * noise,
        lambda stats: stats["mean"],
        lambda p, q: divergence.gaussian(p["mean"], p["stddev"], q["mean"], q["stddev"]),
    )


def categorical(codes: int = 32, classes: int = 32, unimix: float = 0.0) -> Kind:
    """`codes` categoricals of `classes` each, mixed with a share `unimix` of the uniform distribution (DreamerV2, V3).

    Samples are one-hot codes whose gradient is that of the probabilities.
    """
    size = codes * classes

    def stats(raw: Array) -> Stats:
        return {"log_p": mixed(raw.reshape(*raw.shape[:-1], codes, classes), unimix)}

    return Kind(
        size,
        size,
        stats,
        lambda key, rows: jax.random.gumbel(key, (*rows, codes, classes)),
        lambda stats, noise: straight_through(stats["log_p"], (stats["log_p"] + noise).argmax(-1)),
        lambda stats: straight_through(stats["log_p"], stats["log_p"].argmax(-1)),
        lambda p, q: divergence.categorical(p["log_p"], q["log_p"]).sum(-1),
    )


def relaxed(codes: int, classes: int, temperature: float = 0.5) -> Kind:
    """`categorical` whose samples are relaxed codes, softmax((log p + Gumbel noise) / temperature): each code sums to 1
    and passes its own gradient (Jang et al., 2017; Maddison et al., 2017).
    """
    hard = categorical(codes, classes)

    def sample(stats: Stats, noise: Array) -> Array:
        soft = jax.nn.softmax((stats["log_p"] + noise) / temperature)
        return soft.reshape(*soft.shape[:-2], -1)

    return hard._replace(sample=sample)


def mixed(logits: Array, unimix: float) -> Array:
    """Normalised log-probabilities [..., K] of the softmax, mixed with a share `unimix` of the uniform distribution."""
    log_p = jax.nn.log_softmax(logits)
    if not unimix:
        return log_p
    return jnp.log((1 - unimix) * jnp.exp(log_p) + unimix / logits.shape[-1])


def straight_through(log_p: Array, index: Array) -> Array:
    """One-hot codes of `index` [..., C], whose gradient is that of the probabilities [..., C, K]: [..., C K]."""
    p = jnp.exp(log_p)
    hard = jax.nn.one_hot(index, p.shape[-1], dtype=p.dtype)
    return (hard + p - jax.lax.stop_gradient(p)).reshape(*p.shape[:-2], -1)
