"""Closed-form divergences against distrax and scipy."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from skillhier.ops import divergence


@pytest.fixture
def gaussians():
    keys = jax.random.split(jax.random.key(0), 4)
    mean, other = (jax.random.normal(key, (3, 2, 8)) for key in keys[:2])
    scale, other_scale = (0.01 + jax.random.uniform(key, (3, 2, 8)) for key in keys[2:])
    return mean, scale, other, other_scale


def test_gaussian_is_distrax(gaussians):
    mean, scale, other, other_scale = gaussians
    p, q = distrax.MultivariateNormalDiag(mean, scale), distrax.MultivariateNormalDiag(other, other_scale)
    np.testing.assert_allclose(divergence.gaussian(*gaussians), p.kl_divergence(q), rtol=1e-4)


def test_standard_is_the_papers_formula(gaussians):
    mean, scale, _, _ = gaussians
    expected = 0.5 * (scale**2 + mean**2 - 1 - jnp.log(scale**2)).sum(-1)
    np.testing.assert_allclose(divergence.standard(mean, scale), expected, rtol=1e-4)
    np.testing.assert_allclose(divergence.standard(jnp.zeros(8), jnp.ones(8)), 0.0, atol=1e-6)


def test_categorical_is_scipy():
    p, q = jax.nn.softmax(jax.random.normal(jax.random.key(0), (2, 7, 5)))
    expected = scipy.stats.entropy(np.asarray(p), np.asarray(q), axis=-1)
    np.testing.assert_allclose(divergence.categorical(jnp.log(p), jnp.log(q)), expected, atol=1e-6)


def test_an_impossible_outcome_counts_nothing():
    log_p = jnp.log(jnp.array([1.0, 0.0]))
    log_q = jnp.log(jnp.array([0.5, 0.5]))
    np.testing.assert_allclose(divergence.categorical(log_p, log_q), np.log(2), rtol=1e-6)
    assert np.isfinite(jax.grad(divergence.categorical)(log_p, log_q)).all()
    assert np.isfinite(
        jax.grad(lambda x: divergence.categorical(jax.nn.log_softmax(x), log_q))(jnp.array([0.0, -200.0]))
    ).all()


def test_entropy_is_scipy_and_its_gradient_is_finite_where_an_outcome_is_impossible():
    p = jax.nn.softmax(jax.random.normal(jax.random.key(0), (7, 5)))
    np.testing.assert_allclose(divergence.entropy(p), scipy.stats.entropy(np.asarray(p), axis=-1), rtol=1e-5)
    sure = jnp.array([1.0, 0.0])
    assert divergence.entropy(sure) == 0.0
    assert np.isfinite(jax.grad(divergence.entropy)(sure)).all()
