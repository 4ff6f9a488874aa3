"""Policy networks that learn online: a choice of K, a Gaussian, both at once, and what gives a clone its spread.

Shapes are those of HeLMS, Table 5, and of the released state agents (fact sheet 2.1). Last layers begin near zero, so
that a policy begins with no preference. The deterministic one is TD3's, as HIRO has it; the one of free spread PPO's.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from skillhier.nets.encoder import Seen
from skillhier.nets.mlp import MLP, TANH, UNIFORM_FAN_IN, DType, elu, near_zero
from skillhier.nets.vision import Shape, represented
from skillhier.types import Array

SMALL_VARIANCE = 1e-4  # variance of a last layer's weights, as a share of LeCun's
MIN_STDDEV = 1e-4  # standard deviation of an action


def to_stddev(raw: Array, begin: float) -> Array:
    """A standard deviation above `LEAST`; `begin` where raw is 0."""
    return jax.nn.softplus(raw + jnp.log(jnp.expm1(begin - MIN_STDDEV))) + MIN_STDDEV


def small_init() -> nn.initializers.Initializer:
    """Of a last layer's weights."""
    return nn.initializers.variance_scaling(SMALL_VARIANCE, "fan_in", "truncated_normal")


class Choice(nn.Module):
    """Logits of K choices, [..., K]."""

    choices: int
    hidden: Sequence[int] = (256, 256)
    pictures: Shape = Shape()  # of the network that sees them, if there are any
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array | Seen) -> Array:
        x = represented(x, self.hidden[0], self.pictures, self.dtype)
        return MLP(self.hidden, self.choices, SMALL_VARIANCE, self.dtype)(x)


class GaussianActor(nn.Module):
    """(mean, scale) of actions [..., A].

    begin: the scale at first. bounded: the mean goes through tanh. normalised: behind a Normaliser, and what sees
    `pictures`; without one the layers that make the mean are those of an MLP, by name and shape, so that a clone's can
    be put in their place.
    """

    size: int
    hidden: Sequence[int] = (256, 256)
    begin: float = 0.7
    bounded: bool = True
    normalised: bool = True
    pictures: Shape = Shape()
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array | Seen) -> tuple[Array, Array]:
        if self.normalised:
            x = represented(x, self.hidden[0], self.pictures, self.dtype)
        for width in self.hidden:
            x = elu(nn.Dense(width, dtype=self.dtype)(x))
        mean = nn.Dense(self.size, kernel_init=small_init())(x)
        scale = nn.Dense(self.size, kernel_init=nn.initializers.zeros, name="scale")(x)
        return jnp.tanh(mean) if self.bounded else mean, to_stddev(scale, self.begin)


class FreeSpreadActor(nn.Module):
    """(mean, scale) of actions [..., A]: layers with tanh make the mean; no input moves the scale, `begin` at first."""

    size: int
    hidden: Sequence[int] = (64, 64)
    begin: float = 1.0
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        mean = MLP(self.hidden, self.size, SMALL_VARIANCE, self.dtype, TANH)(x)
        log_scale = self.param("log_scale", nn.initializers.constant(math.log(self.begin)), (self.size,))
        return mean, jnp.broadcast_to(jnp.exp(log_scale), mean.shape)


class HybridActor(nn.Module):
    """(mean, scale, logits): a Gaussian of all dimensions but the last, [..., A - 1], and which end the last one has,
    [..., 2]. All three are linear in the same layers, as in the released state agents.
    """

    size: int  # A
    hidden: Sequence[int] = (256, 256)
    begin: float = 0.7
    pictures: Shape = Shape()
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array | Seen) -> tuple[Array, Array, Array]:
        x = represented(x, self.hidden[0], self.pictures, self.dtype)
        for width in self.hidden:
            x = elu(nn.Dense(width, dtype=self.dtype)(x))
        mean = jnp.tanh(nn.Dense(self.size - 1, kernel_init=small_init(), name="mean")(x))
        scale = nn.Dense(self.size - 1, kernel_init=nn.initializers.zeros, name="scale")(x)
        return mean, to_stddev(scale, self.begin), nn.Dense(2, kernel_init=small_init(), name="logits")(x)


class StateStddev(nn.Module):
    """A standard deviation [..., A] linear in its input before it is made positive; `begin` everywhere at first."""

    size: int
    begin: float = 0.1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return to_stddev(nn.Dense(self.size, kernel_init=nn.initializers.zeros)(x), self.begin)


class DeterministicActor(nn.Module):
    """Actions in [-1, 1], [..., A], by layers with ReLU and tanh at the end."""

    size: int
    hidden: Sequence[int] = (300, 300)
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.hidden:
            x = nn.relu(nn.Dense(width, kernel_init=UNIFORM_FAN_IN, dtype=self.dtype)(x))
        return jnp.tanh(nn.Dense(self.size, kernel_init=near_zero)(x))
