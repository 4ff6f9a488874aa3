"""The levels of HeLMS and NPMP (fact: Table 5 of HeLMS): ELU stacks of 256-256, a latent of 8, an action sigma of 0.1.

High: which skill follows which. Mid: what a skill's latent is here. Low: what to do about a latent.

Skills are unrolled, not batched: a layer's rows of one skill stay in a CPU's cache until the next layer reads them,
which is worth a third of the time of an update (BUILD_NOTES.md).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from skillhier.distributed import sharding
from skillhier.nets.mlp import MLP, DType, Joined, elu
from skillhier.types import Array

SCALE_LOW, SCALE_SPAN = 0.01, 0.99  # a component's sigma lies in [0.01, 1]


def mean_and_scale(raw: Array) -> tuple[Array, Array]:
    """(mean, scale) of a diagonal Gaussian, [..., Z] each, from [..., 2 Z]."""
    mean, scale = jnp.split(raw, 2, -1)
    return mean, SCALE_LOW + SCALE_SPAN * jax.nn.sigmoid(scale)


class GatedHigh(nn.Module):
    """log q(y_t | y_{t-1} = j, x_t) as [..., K, K], row j for each previous skill j."""

    skills: int
    hidden: Sequence[int] = (256, 256)
    stay: float = 0.0  # added to the logit of keeping a skill: how persistent skills begin
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        logits = MLP(self.hidden, self.skills**2, dtype=self.dtype)(x).reshape(*x.shape[:-1], self.skills, self.skills)
        return jax.nn.log_softmax(logits + self.stay * jnp.eye(self.skills))


class TransitionPrior(nn.Module):
    """log p(y_t | y_{t-1}) as [K, K]: a linear layer on the previous skill's one-hot code."""

    skills: int
    stay: float = 0.0

    @nn.compact
    def __call__(self) -> Array:
        rows = self.param("rows", nn.initializers.zeros, (self.skills, self.skills))
        bias = self.param("bias", nn.initializers.zeros, (self.skills,))
        return jax.nn.log_softmax(rows + bias + self.stay * jnp.eye(self.skills))


class Components(nn.Module):
    """(mean, scale) of q(z | y = k, x) for every skill k, [K, ..., Z] each; a stack of its own for each skill."""

    skills: int
    latent: int = 8
    hidden: Sequence[int] = (256, 256)
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        stacks = [MLP(self.hidden, 2 * self.latent, dtype=self.dtype, name=f"skill_{k}") for k in range(self.skills)]
        return mean_and_scale(jnp.stack([stack(x) for stack in stacks]))


class LatentActor(nn.Module):
    """Mean action, [K, ..., A] in [-1, 1], from what the low level sees [..., D] and latents [K, ..., Z]."""

    action: int
    hidden: Sequence[int] = (256, 256)
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array, z: Array) -> Array:
        first, *rest = self.hidden
        rest = MLP(rest, self.action, dtype=self.dtype)
        rows = Joined(first, self.dtype)(sharding.flatten_rows(x), sharding.flatten_rows(z, keep=1))
        mean = jnp.tanh(jnp.stack([rest(elu(row)) for row in rows]))
        return mean.reshape(*z.shape[:-1], self.action)


class LatentEncoder(nn.Module):
    """(mean, scale) of NPMP's q(z_t | x_t, z_{t-1}), [1, ..., Z] each. A z_{t-1} of size 0 is no input."""

    latent: int = 8
    hidden: Sequence[int] = (256, 256)
    dtype: DType = jnp.float32

    def setup(self):
        first, *rest = self.hidden
        self.first = Joined(first, self.dtype)
        self.rest = MLP(rest, 2 * self.latent, dtype=self.dtype)

    def __call__(self, x: Array, previous: Array) -> tuple[Array, Array]:
        x = x.reshape(-1, x.shape[-1])
        (row,) = self.first(x, previous.reshape(1, len(x), previous.shape[-1]))
        return mean_and_scale(self.rest(elu(row)).reshape(*previous.shape[:-1], -1))
