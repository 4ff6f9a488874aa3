"""What networks that learn from nothing make of observations with pictures (HeLMS, Table 5, right column).

Vectors go through a Normaliser; pictures through a residual network of the kind of IMPALA (Espeholt et al., 2018) and
a Normaliser of their own; both lie side by side.
"""

from collections.abc import Sequence
from functools import partial, reduce
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from skillhier.nets.convolution import convolve, shifted
from skillhier.nets.encoder import Seen
from skillhier.nets.mlp import DType, Normaliser
from skillhier.types import Array


class Shape(NamedTuple):
    """Of a residual network: a stage for each number of channels, every one of which halves the picture."""

    channels: Sequence[int] = (32, 64, 128)
    blocks: int = 2  # of two convolutions, in each stage


class ResNet(nn.Module):
    """Pictures [..., H, W, C] uint8 to [..., H' * W' * channels]; every stage halves both sides, rounded up."""

    shape: Shape = Shape()
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, pictures: Array) -> Array:
        convolution = partial(nn.Conv, kernel_size=(3, 3), dtype=self.dtype, conv_general_dilated=convolve)
        x = pictures.reshape(-1, *pictures.shape[-3:]).astype(self.dtype) / 255 - 0.5
        for channels in self.shape.channels:
            x = halved(convolution(channels)(x))
            for _ in range(self.shape.blocks):
                within = x
                for _ in range(2):
                    within = convolution(channels)(nn.relu(within))
                x = x + within
        return nn.relu(x).reshape(*pictures.shape[:-3], -1).astype(jnp.float32)


def halved(x: Array) -> Array:
    """The maximum of every 3 by 3 pixels, at every second one: [N, H, W, C] to [N, H / 2, W / 2, C], rounded up.

    As maxima of shifted pictures, across and then down: the gradient of a pooling window is slower on a CPU.
    """
    height, width = (-(-length // 2) for length in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    across = reduce(jnp.maximum, (shifted(x, (0, i), (x.shape[1], width), (1, 2)) for i in range(3)))
    return reduce(jnp.maximum, (shifted(across, (i, 0), (height, width), (2, 1)) for i in range(3)))


def represented(x: Array | Seen, size: int, shape: Shape, dtype: DType) -> Array:
    """Features [..., F] of what an encoder gives: F = size for vectors or pictures alone, twice that for both.

    For use inside a compact module, whose parameters it adds.
    """
    if not isinstance(x, Seen):
        return Normaliser(size, dtype)(x)
    parts = [Normaliser(size, dtype)(x.vectors)] if x.vectors.shape[-1] else []
    return jnp.concatenate([*parts, Normaliser(size, dtype)(ResNet(shape, dtype)(x.pictures))], -1)


class Sight(nn.Module):
    """`represented` as a network of its own, for levels that share it."""

    size: int = 256
    shape: Shape = Shape()
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array | Seen) -> Array:
        return represented(x, self.size, self.shape, self.dtype)
