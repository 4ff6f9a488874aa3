"""What a world model's heads say of a number, a vector or a picture: a mean, and the log-probability of what came.

A `Form` reads a network's outputs; log-probabilities are sums over the last `axes` axes of what is predicted, in nats
up to a constant.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillhier.ops import twohot
from skillhier.ops.families import HALF_LOG_2PI
from skillhier.types import Array


class Prediction(NamedTuple):
    """A distribution over one quantity [..., *event]."""

    mean: Array  # [..., *event]
    log_prob: Callable[[Array], Array]  # of a value [..., *event]: [...]


class Form(NamedTuple):
    """One kind of prediction."""

    outputs: int  # of the network, for each number predicted
    read: Callable[[Array, int], Prediction]  # outputs [..., *event] or [..., outputs * D], axes of an event


def normal() -> Form:
    """N(mean, 1) of each number (Dreamer, 2020)."""

    def read(mean: Array, axes: int) -> Prediction:
        return Prediction(mean, lambda x: -_sum(0.5 * jnp.square(mean - x) + HALF_LOG_2PI, axes))

    return Form(1, read)


def soft_bounds(raw: Array, low: float, high: float) -> Array:
    """`raw` between the logarithms of two bounds, softly, exponentiated: between `low` and nearly low + high.

    The form of Chua et al. (2018) with fixed bounds: log-values are pressed below log `high`, then above log `low`.
    """
    low, high = math.log(low), math.log(high)
    raw = high - jax.nn.softplus(high - raw)
    return jnp.exp(low + jax.nn.softplus(raw - low))


def clamped_normal(low: float = 0.1, high: float = 1.5) -> Form:
    """N(mean, diag stddev^2) with a predicted deviation softly within two bounds (LSP, appendix A.3)."""

    def read(outputs: Array, axes: int) -> Prediction:
        mean, raw = jnp.split(outputs, 2, -1)
        stddev = soft_bounds(raw, low, high)

        def log_prob(x: Array) -> Array:
            return -_sum(0.5 * jnp.square((mean - x) / stddev) + jnp.log(stddev) + HALF_LOG_2PI, axes)

        return Prediction(mean, log_prob)

    return Form(2, read)


def squared() -> Form:
    """Minus the squared error, without a half (Director)."""
    return Form(1, lambda mean, axes: Prediction(mean, lambda x: -_sum(jnp.square(mean - x), axes)))


def squared_sigmoid() -> Form:
    """`squared` of a sigmoid: pictures between 0 and 1."""
    return Form(1, lambda raw, axes: squared().read(jax.nn.sigmoid(raw), axes))


def symlog() -> Form:
    """Minus the squared error in symlog space; the mean is symexp of the output (Director, DreamerV3)."""

    def read(raw: Array, axes: int) -> Prediction:
        return Prediction(twohot.symexp(raw), lambda x: -_sum(jnp.square(raw - twohot.symlog(x)), axes))

    return Form(1, read)


def two_hot(count: int = 255) -> Form:
    """A categorical over `count` bins in symlog space (DreamerV3, equation 9): of single numbers."""
    bins = twohot.bins(count)

    def read(logits: Array, axes: int) -> Prediction:
        log_p = jax.nn.log_softmax(logits)
        mean = twohot.symexp(twohot.decode(jnp.exp(log_p), bins))
        return Prediction(mean[..., None], lambda x: (twohot.encode(twohot.symlog(x[..., 0]), bins) * log_p).sum(-1))

    return Form(count, read)


def bernoulli() -> Form:
    """The probability of 1; values between 0 and 1 are expectations."""

    def read(logit: Array, axes: int) -> Prediction:
        return Prediction(
            jax.nn.sigmoid(logit),
            lambda x: _sum(x * jax.nn.log_sigmoid(logit) + (1 - x) * jax.nn.log_sigmoid(-logit), axes),
        )

    return Form(1, read)


def one_hot() -> Form:
    """Which of D it is, from D logits: values are one-hot codes, or the shares of a mixture of them."""

    def read(logits: Array, axes: int) -> Prediction:
        log_p = jax.nn.log_softmax(logits)
        return Prediction(jnp.exp(log_p), lambda x: _sum(x * log_p, axes))

    return Form(1, read)


FORMS: dict[str, Callable[[], Form]] = {
    "normal": normal,
    "clamped_normal": clamped_normal,
    "squared": squared,
    "squared_sigmoid": squared_sigmoid,
    "symlog": symlog,
    "two_hot": two_hot,
    "bernoulli": bernoulli,
}


def _sum(x: Array, axes: int) -> Array:
    return x.sum(tuple(range(-axes, 0)))
