"""Dense stacks. Weights: LeCun normal; biases: zero."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from skillhier.types import Array

lecun_normal = nn.initializers.lecun_normal


def elu(x: Array) -> Array:
    """Exponential linear unit."""
    return jax.nn.elu(x)


class MLP(nn.Module):
    """Hidden layers with ELU, then a linear layer: [..., D] -> [..., size]."""

    hidden: Sequence[int]
    size: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.hidden:
            x = elu(nn.Dense(width)(x))
        return nn.Dense(self.size)(x)


class Joined(nn.Module):
    """A dense layer on `x` and `z` side by side that multiplies the rows of `x` once for all `z` beside them.

    x [..., D] and z [K, ..., Z] give [K, ..., size]; the same as Dense(concatenate([x, z])), K-fold cheaper in x.
    """

    size: int

    @nn.compact
    def __call__(self, x: Array, z: Array) -> Array:
        seen = x.shape[-1]
        kernel = self.param("kernel", lecun_normal(), (seen + z.shape[-1], self.size))
        bias = self.param("bias", nn.initializers.zeros, (self.size,))
        return (x @ kernel[:seen] + bias) + z @ kernel[seen:]


class Apart(nn.Module):
    """K dense stacks of the same form that share nothing but their input: [..., D] -> [K, ..., size]."""

    count: int
    hidden: Sequence[int]
    size: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        lead = x.shape[:-1]
        x = x.reshape(-1, x.shape[-1])
        first, *rest = *self.hidden, self.size
        # The input is shared, so the first layers of all stacks are one wide product.
        kernel = self.param("kernel_0", lecun_normal(), (x.shape[-1], self.count * first))
        bias = self.param("bias_0", nn.initializers.zeros, (self.count, 1, first))
        x = (x @ kernel).reshape(-1, self.count, first).swapaxes(0, 1) + bias  # [K, N, H]
        for i, width in enumerate(rest, 1):
            x = elu(x)
            kernel = self.param(f"kernel_{i}", lecun_normal(batch_axis=0), (self.count, x.shape[-1], width))
            bias = self.param(f"bias_{i}", nn.initializers.zeros, (self.count, 1, width))
            x = jnp.matmul(x, kernel) + bias
        return x.reshape(self.count, *lead, self.size)
