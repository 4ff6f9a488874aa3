"""Convolutions as products of patches, beside XLA's own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.nets import convolution
from skillhier.nets.convolution import ConvTranspose, by_patches, convolve, transposed_by_patches

CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")


def drawn(size, kernel, channels=(3, 5)):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, *size, channels[0]))
    return x, jax.random.normal(keys[1], (*kernel, *channels)), keys[2]


def alike(ours, theirs, x, kernel, key):
    """Values, and the gradients of both arguments by a random weight of every output."""
    y = theirs(x, kernel)
    np.testing.assert_allclose(ours(x, kernel), y, atol=2e-5)
    weight = jax.random.normal(key, y.shape)
    slopes = [jax.grad(lambda x, k, f=f: (f(x, k) * weight).sum(), (0, 1))(x, kernel) for f in (ours, theirs)]
    for one, other in zip(*slopes, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


@pytest.mark.parametrize(
    ("size", "kernel", "strides", "padding"),
    [
        ((8, 8), (3, 3), (1, 1), "SAME"),
        ((7, 9), (3, 4), (2, 1), "SAME"),
        ((10, 11), (4, 4), (2, 2), "VALID"),
        ((6, 5), (2, 3), (1, 2), [(0, 1), (2, 3)]),
        ((4, 4), (4, 4), (2, 2), "VALID"),  # a single patch
    ],
)
def test_a_convolution(size, kernel, strides, padding):
    def theirs(x, k):
        return jax.lax.conv_general_dilated(x, k, strides, padding, dimension_numbers=CHANNELS_LAST)

    alike(lambda x, k: by_patches(x, k, strides, padding), theirs, *drawn(size, kernel))


@pytest.mark.parametrize(
    ("size", "kernel", "strides"),
    [((1, 1), (5, 5), (2, 2)), ((5, 4), (6, 5), (2, 2)), ((3, 3), (2, 2), (2, 2)), ((4, 2), (4, 3), (1, 3))],
)
def test_a_transposed_convolution(size, kernel, strides):
    def theirs(x, k):
        return jax.lax.conv_transpose(x, k, strides, "VALID")

    alike(lambda x, k: transposed_by_patches(x, k, strides), theirs, *drawn(size, kernel))


def test_a_few_pictures_at_a_time_are_all_pictures(monkeypatch):
    """Six pictures, of which two have patches that fit: three turns of a loop, and the same gradients."""
    x, kernel, key = drawn((4, 3), (6, 6))
    x = jnp.concatenate([x, x + 1, x - 1])
    monkeypatch.setattr(convolution, "CACHE", 2 * x[0].size * 9 * 4 + 100)
    program = str(jax.make_jaxpr(lambda x, k: transposed_by_patches(x, k, (2, 2)))(x, kernel))
    assert "length=3" in program and "remat" in program
    alike(
        lambda x, k: transposed_by_patches(x, k, (2, 2)),
        lambda x, k: jax.lax.conv_transpose(x, k, (2, 2), "VALID"),
        x,
        kernel,
        key,
    )


@pytest.mark.parametrize("bias", [True, False])
def test_layers_are_flax_own_by_name_shape_and_value(bias):
    x, *_ = drawn((6, 6), (1, 1))
    ours = ConvTranspose(4, (5, 5), (2, 2), use_bias=bias)
    theirs = nn.ConvTranspose(4, (5, 5), (2, 2), "VALID", use_bias=bias)
    params = theirs.init(jax.random.key(1), x)
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(1), x)) == jax.tree.map(jnp.shape, params)
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), atol=1e-5)
    layer, own = nn.Conv(4, (3, 3), use_bias=bias), nn.Conv(4, (3, 3), use_bias=bias, conv_general_dilated=convolve)
    params = layer.init(jax.random.key(1), x)
    np.testing.assert_allclose(own.apply(params, x), layer.apply(params, x), atol=1e-5)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_only_cpus_multiply_patches(monkeypatch, backend):
    """No convolution is left in the program on a CPU; elsewhere there is nothing else."""
    monkeypatch.setattr(convolution.jax, "default_backend", lambda: backend)
    x, kernel, _ = drawn((8, 8), (3, 3))
    programs = [
        jax.make_jaxpr(lambda x, k: convolve(x, k, (1, 1), "SAME", dimension_numbers=CHANNELS_LAST))(x, kernel),
        jax.make_jaxpr(lambda x, k: convolution.transposed(x, k, (2, 2)))(x, kernel),
    ]
    for program in programs:
        assert ("conv_general_dilated" in str(program)) == (backend == "gpu")
        assert ("dot_general" in str(program)) == (backend == "cpu")
