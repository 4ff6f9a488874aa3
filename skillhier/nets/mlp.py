"""Dense stacks. Weights: LeCun normal unless a style says otherwise; biases: zero.

Every network here takes a `dtype` for its products (bfloat16 on accelerators); parameters stay float32.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from skillhier.distributed import sharding
from skillhier.types import Array, Key

DType = Any  # anything that jnp.dtype takes
UNIFORM_FAN_IN = nn.initializers.variance_scaling(
    1 / 3, "fan_in", "uniform"
)  # U(-1 / sqrt(D), 1 / sqrt(D)) of D inputs


def near_zero(key: Key, shape: tuple[int, ...], dtype: DType = jnp.float32) -> Array:
    """U(-0.003, 0.003): the weights of last layers in DDPG and TD3."""
    return jax.random.uniform(key, shape, dtype, -3e-3, 3e-3)


@jax.custom_jvp
def elu(x: Array) -> Array:
    """Exponential linear unit. Its slope is read off its value, so the backward pass keeps no other array.

    exp(x) - 1 in place of expm1: on a CPU several times faster, wrong by at most 6e-8.
    """
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0.0)) - 1.0)


@elu.defjvp
def _(primals, tangents):
    y = elu(*primals)
    return y, tangents[0] * (jnp.minimum(y, 0.0) + 1.0)


ACTIVATIONS = {"elu": elu, "silu": nn.silu, "relu": nn.relu, "tanh": nn.tanh}


class Style(NamedTuple):
    """How layers are built: a world model and what learns in it share one."""

    activation: str = "elu"  # of ACTIVATIONS
    norm: bool = False  # layers have no bias, and a layer norm (epsilon 1e-3) before the activation
    init: str = "lecun"  # of the weights: lecun (normal), or glorot (uniform)

    def kernel_init(self, scale: float = 1.0) -> nn.initializers.Initializer:
        """Weights of `scale` times the style's variance; 0 gives zeros."""
        if not scale:
            return nn.initializers.zeros
        if self.init == "glorot":
            return nn.initializers.variance_scaling(scale, "fan_avg", "uniform")
        return nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal")

    def activate(self, x: Array) -> Array:
        return ACTIVATIONS[self.activation](x)

    def layer_norm(self) -> nn.LayerNorm:
        return nn.LayerNorm(epsilon=1e-3)


PLAIN = Style()  # ELU, LeCun normal
TANH = Style(activation="tanh")  # PPO's
GLOROT = Style(init="glorot")  # ELU, Glorot uniform: Keras' defaults, and Dreamer's


class MLP(nn.Module):
    """Hidden layers with an activation, then a linear layer: [..., D] -> [..., size]; without one if `size` is 0."""

    hidden: Sequence[int]
    size: int
    last: float = 1.0  # variance of the last layer's weights, as a share of the style's
    dtype: DType = jnp.float32  # of the products; parameters and results are float32
    style: Style = PLAIN

    @nn.compact
    def __call__(self, x: Array) -> Array:
        # One axis of rows: with several, the backward products copy their operands into another order first.
        rows = sharding.flatten_rows(x)
        style = self.style
        for width in self.hidden:
            rows = nn.Dense(width, use_bias=not style.norm, kernel_init=style.kernel_init(), dtype=self.dtype)(rows)
            rows = style.activate(style.layer_norm()(rows) if style.norm else rows)
        if self.size:
            rows = nn.Dense(self.size, kernel_init=style.kernel_init(self.last), dtype=self.dtype)(rows)
        return rows.reshape(*x.shape[:-1], rows.shape[-1]).astype(jnp.float32)


class Normaliser(nn.Module):
    """What stands before nets that learn from nothing (HeLMS, Table 5): linear, layer norm, tanh; [..., D] -> [..., F].

    The norm's epsilon is that of the released state agents.
    """

    size: int = 256
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return jnp.tanh(nn.LayerNorm(epsilon=1e-5)(nn.Dense(self.size, dtype=self.dtype)(x)))


class Joined(nn.Module):
    """One dense layer on `x` beside each of several `z`: x [N, D] and z [K, N, Z] give K arrays [N, size].

    The same as Dense(concatenate([x, z[k]])) for every k, but the rows of `x` are multiplied once, not K times.
    """

    size: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array, z: Array) -> list[Array]:
        seen = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (seen + z.shape[-1], self.size))
        bias = self.param("bias", nn.initializers.zeros, (self.size,))
        x, z, kernel, bias = (each.astype(self.dtype) for each in (x, z, kernel, bias))
        shared = x @ kernel[:seen] + bias
        return [shared + one @ kernel[seen:] for one in jnp.unstack(z)]
