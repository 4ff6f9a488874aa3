"""Shapes that rewards are made of: pure functions of arrays, any leading axes.

`tolerance` is the control suite's. The others are what the public RGB-stacking rewards use: 1 inside, and
outside 1 - tanh^2 of the distance, scaled so that it has fallen by 95 % at the margin.
"""

import math

import jax.numpy as jnp

from skillhier.envs import unrolled
from skillhier.types import Array

FALLEN = 0.95  # how much of the reward is gone at the margin


def fall(distance: Array, margin: float, fallen: float = FALLEN) -> Array:
    """tanh^2 of `distance` [...], scaled to `fallen` where it equals `margin`: [...] in [0, 1)."""
    return jnp.tanh(distance * (math.atanh(math.sqrt(fallen)) / margin)) ** 2


def near(error: Array, tolerance: Array | tuple[float, ...] | float, margin: float) -> Array:
    """1 where `error` [..., n] lies in the ellipsoid of half axes `tolerance` [n], falling off around it: [...].

    The fall counts the whole distance from the centre, so the value jumps at the ellipsoid's surface.
    """
    inside = unrolled.sum(jnp.square(error / jnp.asarray(tolerance))) <= 1.0
    return jnp.where(inside, 1.0, 1.0 - fall(unrolled.norm(error), margin))


# What is left of 1 at a distance of d margins from the bounds, so that `left` is left at one margin.
_FALLS = {
    "gaussian": lambda d, left: left**d**2,
    "hyperbolic": lambda d, left: 1 / jnp.cosh(math.acosh(1 / left) * d),
    "long_tail": lambda d, left: 1 / ((1 / left - 1) * d**2 + 1),
    "reciprocal": lambda d, left: 1 / ((1 / left - 1) * d + 1),
    "cosine": lambda d, left: jnp.where(
        (x := math.acos(2 * left - 1) / math.pi * d) < 1, (1 + jnp.cos(math.pi * x)) / 2, 0.0
    ),
    "linear": lambda d, left: jnp.maximum(1 - (1 - left) * d, 0.0),
    "quadratic": lambda d, left: jnp.maximum(1 - (1 - left) * d**2, 0.0),
    "tanh_squared": lambda d, left: 1 - jnp.tanh(math.atanh(math.sqrt(1 - left)) * d) ** 2,
}


def tolerance(
    value: Array, low: float = 0.0, high: float = 0.0, margin: float | Array = 0.0, shape: str = "gaussian", left=0.1
) -> Array:
    """1 where `value` [...] lies in [low, high], falling to `left` at `margin` outside (LSP fact sheet, 4.1): [...].

    Without a margin it falls to 0 at once. `shape` is one of gaussian, hyperbolic, long_tail, reciprocal, cosine,
    linear, quadratic, tanh_squared; only cosine, linear and quadratic may have nothing `left`.
    """
    outside = jnp.maximum(jnp.maximum(low - value, value - high), 0.0)
    if isinstance(margin, (int, float)) and margin == 0:
        return jnp.where(outside > 0, 0.0, 1.0)
    return jnp.where(outside > 0, _FALLS[shape](outside / margin, left), 1.0)


def ramp(value: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, a straight line between: [...]."""
    return jnp.clip((value - low) / (high - low), 0.0, 1.0)


def sparsify(stages: Array, level: float = 0.95) -> Array:
    """`stages` where above `level`, else 0 (HeLMS, appendix on rewards)."""
    return jnp.where(stages > level, stages, 0.0)


def staged(stages: Array, threshold: float = 0.01) -> Array:
    """The mean progress through `stages` [..., n] in [0, 1]: (i - 1 + r_i) / n for the last stage i above `threshold`.

    Stages before i count as done, whatever they say now; r_1 / n where no stage is above the threshold.
    """
    stages = jnp.clip(stages, 0.0, 1.0)
    count = stages.shape[-1]
    reached = -unrolled.min(jnp.where(stages > threshold, -jnp.arange(count), 0))
    value = jnp.take_along_axis(stages, reached[..., None], axis=-1)[..., 0]
    return (reached + value) / count
