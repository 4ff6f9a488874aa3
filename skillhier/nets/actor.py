"""Policy networks that learn online: a choice of K, a Gaussian, both at once, and what gives a clone its spread.

Shapes are those of HeLMS, Table 5, and of the released state agents (fact sheet 2.1). Last layers begin near zero, so
that a policy begins with no preference.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from skillhier.nets.mlp import MLP, Normaliser, elu
from skillhier.types import Array

SMALL = 1e-4  # variance of a last layer's weights, as a share of LeCun's
LEAST = 1e-4  # standard deviation of an action


def deviation(raw: Array, begin: float) -> Array:
    """A standard deviation above `LEAST`; `begin` where raw is 0."""
    return jax.nn.softplus(raw + jnp.log(jnp.expm1(begin - LEAST))) + LEAST


def small() -> nn.initializers.Initializer:
    """Of a last layer's weights."""
    return nn.initializers.variance_scaling(SMALL, "fan_in", "truncated_normal")


class Choice(nn.Module):
    """Logits of K choices, [..., K]."""

    choices: int
    hidden: Sequence[int] = (256, 256)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return MLP(self.hidden, self.choices, SMALL)(Normaliser(self.hidden[0])(x))


class GaussianActor(nn.Module):
    """(mean, scale) of actions [..., A].

    begin: the scale at first. bounded: the mean goes through tanh. normalised: behind a Normaliser; without one the
    layers that make the mean are those of an MLP, by name and shape, so that a clone's can be put in their place.
    """

    size: int
    hidden: Sequence[int] = (256, 256)
    begin: float = 0.7
    bounded: bool = True
    normalised: bool = True

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        if self.normalised:
            x = Normaliser(self.hidden[0])(x)
        for width in self.hidden:
            x = elu(nn.Dense(width)(x))
        mean = nn.Dense(self.size, kernel_init=small())(x)
        scale = nn.Dense(self.size, kernel_init=nn.initializers.zeros, name="scale")(x)
        return jnp.tanh(mean) if self.bounded else mean, deviation(scale, self.begin)


class HybridActor(nn.Module):
    """(mean, scale, logits): a Gaussian of all dimensions but the last, [..., A - 1], and which end the last one has,
    [..., 2]. All three are linear in the same layers, as in the released state agents.
    """

    size: int  # A
    hidden: Sequence[int] = (256, 256)
    begin: float = 0.7

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array, Array]:
        x = Normaliser(self.hidden[0])(x)
        for width in self.hidden:
            x = elu(nn.Dense(width)(x))
        mean = jnp.tanh(nn.Dense(self.size - 1, kernel_init=small(), name="mean")(x))
        scale = nn.Dense(self.size - 1, kernel_init=nn.initializers.zeros, name="scale")(x)
        return mean, deviation(scale, self.begin), nn.Dense(2, kernel_init=small(), name="logits")(x)


class Spread(nn.Module):
    """A standard deviation [..., A] linear in its input before it is made positive; `begin` everywhere at first."""

    size: int
    begin: float = 0.1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return deviation(nn.Dense(self.size, kernel_init=nn.initializers.zeros)(x), self.begin)
