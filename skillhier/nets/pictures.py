"""Convolutional nets for square pictures: [..., S, H, W, C] uint8 to features and back.

Kernel sizes of the transposed convolutions follow from the picture's size, so that 64 pixels get those of Dreamer
(2020): 1 -> 5 -> 13 -> 30 -> 64. Frames of a stack are channels, newest first.
"""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from skillhier.nets.convolution import ConvTranspose, convolve
from skillhier.nets.mlp import DType, Style
from skillhier.types import Array

CONVOLUTION = partial(nn.Conv, padding="VALID", conv_general_dilated=convolve)
RELU = Style("relu", init="glorot")
SMALLEST = 4  # pixels across, at most, of the innermost layer


def kernels(size: int) -> tuple[int, list[int]]:
    """(pixels across of the innermost layer, kernel sizes from there to `size` pixels), all with stride 2."""
    sizes: list[int] = []
    while size > SMALLEST:
        sizes.append(6 if size % 2 == 0 else 5)
        size = (size - sizes[-1]) // 2 + 1
    return size, sizes[::-1]


def check(shape: Sequence[int], name: str) -> None:
    """Raises ValueError for an entry [S, ...] that is no stack of square pictures of 8 pixels or more."""
    if len(shape) != 4 or shape[1] != shape[2] or shape[1] < 8:
        raise ValueError(
            f"observation '{name}' has shape {list(shape[1:])}; pictures must be square, of 8 pixels or more, [H, H, C]"
        )


class PictureEncoder(nn.Module):
    """[..., S, H, W, C] to [..., F]: convolutions of kernel 4 and stride 2, as many as the decoder has."""

    depth: int = 32  # channels of the first layer; each later one has twice as many
    style: Style = RELU
    low: float = -0.5  # what black becomes; white is 1 more
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, pictures: Array) -> Array:
        size = pictures.shape[-3]
        x = jnp.moveaxis(pictures, -4, -2).reshape(-1, size, size, pictures.shape[-4] * pictures.shape[-1])
        x = x.astype(self.dtype) / 255 + self.low
        for i in range(len(kernels(size)[1])):
            x = _Block(CONVOLUTION, self.depth * 2**i, 4, self.style, self.dtype)(x)
        return x.reshape(*pictures.shape[:-4], -1).astype(jnp.float32)


class PictureDecoder(nn.Module):
    """[..., F] to [..., S, H, W, C]: a linear layer, unless `dense` is False, then transposed convolutions."""

    shape: Sequence[int]  # (S, H, W, C)
    depth: int = 32
    style: Style = RELU
    dense: bool = True  # False: the features themselves are the innermost layer (Director)
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> Array:
        stack, size, _, colours = self.shape
        inner, sizes = kernels(size)
        x = features.reshape(-1, features.shape[-1])
        if self.dense:
            width = self.depth * 2 ** len(sizes) * 2
            x = nn.Dense(inner**2 * width, kernel_init=self.style.kernel_init(), dtype=self.dtype)(x)
        x = x.reshape(len(x), inner, inner, -1)
        for i, kernel in enumerate(sizes[:-1]):
            x = _Block(ConvTranspose, self.depth * 2 ** (len(sizes) - 2 - i), kernel, self.style, self.dtype)(x)
        last = self.style.kernel_init()
        x = ConvTranspose(stack * colours, (sizes[-1],) * 2, (2, 2), kernel_init=last, dtype=self.dtype)(x)
        x = jnp.moveaxis(x.reshape(*features.shape[:-1], size, size, stack, colours), -2, -4)
        return x.astype(jnp.float32)


class _Block(nn.Module):
    """A convolution of stride 2 without padding, and its activation; with a norm over channels if the style has one."""

    kind: Callable[..., nn.Module]
    channels: int
    kernel: int
    style: Style
    dtype: DType

    @nn.compact
    def __call__(self, x: Array) -> Array:
        style = self.style
        x = self.kind(
            self.channels,
            (self.kernel,) * 2,
            (2, 2),
            use_bias=not style.norm,
            kernel_init=style.kernel_init(),
            dtype=self.dtype,
        )(x)
        return style.activate(style.layer_norm()(x) if style.norm else x)
