"""Convolutions of pictures [N, H, W, C] that are fast on CPUs too: there, as one product of all patches.

XLA's own on a CPU fall back to plain loops inside of a scan or under vmap, which is where all training happens: a
gradient took 9 times as long as that of the product, and 3 times with a batch of kernels (docs/results.md).
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from skillhier.nets.mlp import DType
from skillhier.types import Array

CACHE = 2**21  # bytes of patches at a time


def convolve(x: Array, kernel: Array, strides: Sequence[int], padding: Any, **settings) -> Array:
    """What jax.lax.conv_general_dilated gives, for flax.linen.Conv: without groups or dilation, channels last."""
    if jax.default_backend() != "cpu":
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **settings)
    return by_patches(x, kernel, strides, padding)


def by_patches(x: Array, kernel: Array, strides: Sequence[int], padding: Any) -> Array:
    """[N, H, W, C] with kernel [h, w, C, D] to [N, H', W', D]; padding is a name of XLA's, or pairs of numbers.

    Pixels that lie within one stride become channels of one cell, so that a patch is a few long pieces of memory.
    """
    window = kernel.shape[:2]
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], window, strides, padding)
    lengths = [length + low + high for length, (low, high) in zip(x.shape[1:3], padding, strict=True)]
    size = [(length - k) // stride + 1 for length, k, stride in zip(lengths, window, strides, strict=True)]
    kernel = cells_of(kernel, strides).transpose(0, 2, 1, 3, 4, 5)  # [taps, taps, stride, stride, C, D]
    taps = kernel.shape[:2]
    cells = [length + tap - 1 for length, tap in zip(size, taps, strict=True)]
    whole = zip(cells, strides, x.shape[1:3], padding, strict=True)
    sides = [(low, cell * stride - length - low, 0) for cell, stride, length, (low, _) in whole]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *sides, (0, 0, 0)])  # what no patch reaches is cut off
    x = x.reshape(len(x), cells[0], strides[0], cells[1], strides[1], -1).swapaxes(2, 3)
    x = x.reshape(len(x), *cells, -1)
    patches = jnp.concatenate([shifted(x, corner, size, (1, 1)) for corner in product(*map(range, taps))], -1)
    rows = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return rows.reshape(len(x), *size, kernel.shape[-1])


def cells_of(kernel: Array, strides: Sequence[int]) -> Array:
    """[taps, stride, taps, stride, C, D] of [h, w, C, D], filled up with zeros behind."""
    taps = [-(-k // stride) for k, stride in zip(kernel.shape[:2], strides, strict=True)]
    spare = [(0, tap * stride - k) for tap, stride, k in zip(taps, strides, kernel.shape[:2], strict=True)]
    kernel = jnp.pad(kernel, (*spare, (0, 0), (0, 0)))
    return kernel.reshape(taps[0], strides[0], taps[1], strides[1], *kernel.shape[2:])


def shifted(x: Array, corner: Sequence[int], size: Sequence[int], strides: Sequence[int]) -> Array:
    """[N, *size, C]: of x [N, H, W, C] the pixels at `corner`, and from there on at every stride."""
    ends = [begin + (length - 1) * stride + 1 for begin, length, stride in zip(corner, size, strides, strict=True)]
    return x[:, corner[0] : ends[0] : strides[0], corner[1] : ends[1] : strides[1]]


def transposed(x: Array, kernel: Array, strides: Sequence[int]) -> Array:
    """What jax.lax.conv_transpose gives without padding, of kernels as wide as a stride or wider."""
    if jax.default_backend() != "cpu":
        return jax.lax.conv_transpose(x, kernel, strides, "VALID")
    return transposed_by_patches(x, kernel, strides)


def transposed_by_patches(x: Array, kernel: Array, strides: Sequence[int]) -> Array:
    """[N, H, W, C] with kernel [h, w, C, D] to [N, (H - 1) * strides[0] + h, (W - 1) * strides[1] + w, D].

    Output pixels that lie a stride apart see the same weights: each group of them is a convolution by a share of the
    kernel, and all groups are one product. Pictures are taken a few at a time, whose patches, many times as large, stay
    in a CPU's cache and are made anew for the gradient.
    """
    if x.shape[1:3] == (1, 1):  # nothing overlaps
        rows = x.reshape(len(x), -1) @ kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(kernel.shape[2], -1)
        return rows.reshape(len(x), *kernel.shape[:2], -1)
    bytes_each = math.prod(x.shape[1:]) * math.prod(kernel.shape[:2]) // math.prod(strides) * x.dtype.itemsize
    few = next(n for n in range(len(x), 0, -1) if len(x) % n == 0 and n * bytes_each <= CACHE or n == 1)
    if few == len(x):
        return few_transposed(x, kernel, strides)
    parts = x.reshape(-1, few, *x.shape[1:])
    y = jax.lax.map(jax.checkpoint(lambda part: few_transposed(part, kernel, strides)), parts)
    return y.reshape(-1, *y.shape[2:])


def few_transposed(x: Array, kernel: Array, strides: Sequence[int]) -> Array:
    """transposed_by_patches of all pictures at once."""
    high, wide, channels, new = kernel.shape
    kernel = cells_of(kernel[::-1, ::-1], strides)[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
    taps = kernel.shape[:2]
    y = by_patches(x, kernel.reshape(*taps, channels, -1), (1, 1), [(tap - 1, tap - 1) for tap in taps])
    y = y.reshape(*y.shape[:3], *strides, new).swapaxes(2, 3)
    y = y.reshape(len(y), y.shape[1] * strides[0], y.shape[3] * strides[1], new)
    return y[:, : (x.shape[1] - 1) * strides[0] + high, : (x.shape[2] - 1) * strides[1] + wide]


class ConvTranspose(nn.Module):
    """flax.linen.ConvTranspose without padding, on pictures [N, H, W, C]; parameters as there."""

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features))
        y = transposed(x.astype(self.dtype), kernel.astype(self.dtype), self.strides)
        if not self.use_bias:
            return y
        return y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
