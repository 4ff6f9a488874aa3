"""Convolutions of pictures [N, H, W, C] that are fast on CPUs too: there, as one product of all patches.

XLA's own on a CPU fall back to plain loops inside of a scan or under vmap, which is where all training happens: a
gradient took 9 times as long as that of the product, and 3 times with a batch of kernels (docs/results.md).
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from skillhier.nets.mlp import DType
from skillhier.types import Array


def convolve(x: Array, kernel: Array, strides: Sequence[int], padding: Any, **settings) -> Array:
    """What jax.lax.conv_general_dilated gives, for flax.linen.Conv: without groups or dilation, channels last."""
    if jax.default_backend() != "cpu":
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **settings)
    return by_patches(x, kernel, strides, padding)


def by_patches(x: Array, kernel: Array, strides: Sequence[int], padding: Any) -> Array:
    """[N, H, W, C] with kernel [h, w, C, D] to [N, H', W', D]; padding is a name of XLA's, or pairs of numbers."""
    window = kernel.shape[:2]
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], window, strides, padding)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    size = [(length - k) // stride + 1 for length, k, stride in zip(x.shape[1:3], window, strides, strict=True)]
    corners = product(*map(range, window))
    patches = jnp.concatenate([shifted(x, corner, size, strides) for corner in corners], -1)
    rows = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return rows.reshape(len(x), *size, kernel.shape[-1])


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
    kernel, and all groups are one product.
    """
    (high, wide), channels = kernel.shape[:2], kernel.shape[2:]
    taps = [-(-k // stride) for k, stride in zip((high, wide), strides, strict=True)]
    spare = [(0, tap * stride - k) for tap, stride, k in zip(taps, strides, (high, wide), strict=True)]
    kernel = jnp.pad(kernel[::-1, ::-1], (*spare, (0, 0), (0, 0)))
    kernel = kernel.reshape(taps[0], strides[0], taps[1], strides[1], *channels)[::-1, :, ::-1]
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(*taps, channels[0], -1)
    y = by_patches(x, kernel, (1, 1), [(tap - 1, tap - 1) for tap in taps])
    count, *size = y.shape[:3]
    y = y.reshape(count, *size, *strides, channels[1]).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(count, size[0] * strides[0], size[1] * strides[1], channels[1])
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
