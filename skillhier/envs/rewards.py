"""Shapes that rewards are made of: pure functions of arrays, any leading axes.

They are dm_control's tolerance shapes with a long tail, as the public RGB-stacking rewards use them:
1 inside, and outside 1 - tanh^2 of the distance, scaled so that it has fallen by 95 % at the margin.
"""

import math

import jax.numpy as jnp

from skillhier.types import Array

FALLEN = 0.95  # how much of the reward is gone at the margin


def fall(distance: Array, margin: float, fallen: float = FALLEN) -> Array:
    """tanh^2 of `distance` [...], scaled to `fallen` where it equals `margin`: [...] in [0, 1)."""
    return jnp.tanh(distance * (math.atanh(math.sqrt(fallen)) / margin)) ** 2


def near(error: Array, tolerance: Array | tuple[float, ...] | float, margin: float) -> Array:
    """1 where `error` [..., n] lies in the ellipsoid of half axes `tolerance` [n], falling off around it: [...].

    The fall counts the whole distance from the centre, so the value jumps at the ellipsoid's surface.
    """
    inside = jnp.sum(jnp.square(error / jnp.asarray(tolerance)), axis=-1) <= 1.0
    return jnp.where(inside, 1.0, 1.0 - fall(jnp.linalg.norm(error, axis=-1), margin))


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
    reached = jnp.where(stages > threshold, jnp.arange(count), 0).max(axis=-1)
    value = jnp.take_along_axis(stages, reached[..., None], axis=-1)[..., 0]
    return (reached + value) / count
