"""Gaussian and categorical latents: their divergences, samples and gradients."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.ops import latents


def raw(kind, seed=0, rows=3):
    return jax.random.normal(jax.random.key(seed), (rows, kind.outputs))


def test_gaussian_statistics_and_the_divergence_of_the_fact_sheet():
    kind = latents.gaussian(1)
    stats = kind.stats(jnp.array([[0.5, 0.0]]))
    assert float(stats["mean"][0, 0]) == 0.5
    assert float(stats["stddev"][0, 0]) == pytest.approx(np.log(2) + 0.1)
    pair = lambda mean, stddev: {"mean": jnp.array([mean]), "stddev": jnp.array([stddev])}  # noqa: E731
    assert float(kind.kl(pair(0.5, 1.0), pair(0.0, 0.5))) == pytest.approx(1.306853, abs=1e-6)


def test_gaussian_divergence_is_distrax_and_not_symmetric():
    kind = latents.gaussian(4)
    p, q = kind.stats(raw(kind)), kind.stats(raw(kind, 1))
    of = lambda s: distrax.MultivariateNormalDiag(s["mean"], s["stddev"])  # noqa: E731
    assert np.asarray(kind.kl(p, q)) == pytest.approx(np.asarray(of(p).kl_divergence(of(q))), rel=1e-5)
    assert not np.allclose(kind.kl(p, q), kind.kl(q, p))


@pytest.mark.parametrize("unimix", [0.0, 0.01])
def test_categorical_divergence_is_distrax(unimix):
    kind = latents.categorical(3, 5, unimix)
    assert (kind.size, kind.outputs) == (15, 15)
    p, q = kind.stats(raw(kind)), kind.stats(raw(kind, 1))
    of = lambda s: distrax.Categorical(logits=s["log_p"])  # noqa: E731
    assert np.asarray(kind.kl(p, q)) == pytest.approx(np.asarray(of(p).kl_divergence(of(q)).sum(-1)), rel=1e-5)


def test_unimix_mixes_in_the_uniform_distribution():
    logits = jnp.array([100.0, 0.0, -100.0, 0.0])
    p = np.exp(np.asarray(latents.mixed(logits, 0.01)))
    assert p == pytest.approx([0.9925, 0.0025, 0.0025, 0.0025], abs=1e-6)
    assert np.exp(np.asarray(latents.mixed(logits, 0.0))) == pytest.approx([1, 0, 0, 0], abs=1e-6)


def test_straight_through_is_hard_forward_and_soft_backward():
    kind = latents.categorical(2, 3)
    logits, weight = raw(kind, rows=1)[0], jnp.arange(6.0)
    noise = kind.noise(jax.random.key(1), ())

    def hard(logits):
        return (kind.sample(kind.stats(logits), noise) * weight).sum()

    def soft(logits):
        return (jax.nn.softmax(logits.reshape(2, 3)).ravel() * weight).sum()

    code = np.asarray(kind.sample(kind.stats(logits), noise)).reshape(2, 3)
    assert code == pytest.approx(np.eye(3)[code.argmax(-1)], abs=1e-6)
    assert np.asarray(jax.grad(hard)(logits)) == pytest.approx(np.asarray(jax.grad(soft)(logits)), abs=1e-6)
    assert float(jnp.abs(jax.grad(hard)(logits)).max()) > 0.01


def test_samples_have_the_probabilities_and_modes_are_the_likeliest():
    kind = latents.categorical(1, 4)
    logits = jnp.log(jnp.array([0.1, 0.2, 0.3, 0.4]))
    stats = kind.stats(logits)
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (4000, *x.shape)), stats)
    drawn = kind.sample(many, kind.noise(jax.random.key(0), (4000,)))
    assert np.asarray(drawn.mean(0)) == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.03)
    assert np.asarray(kind.mode(stats)) == pytest.approx([0, 0, 0, 1], abs=1e-6)


def test_gaussian_samples_are_reparameterised():
    kind = latents.gaussian(2)
    stats = {"mean": jnp.array([1.0, 2.0]), "stddev": jnp.array([0.5, 3.0])}
    noise = jnp.array([2.0, -1.0])
    assert np.asarray(kind.sample(stats, noise)) == pytest.approx([2.0, -1.0])
    gradient = jax.grad(lambda s: kind.sample(s, noise).sum())(stats)
    assert np.asarray(gradient["stddev"]) == pytest.approx([2.0, -1.0])
    assert np.asarray(kind.mode(stats)) == pytest.approx([1.0, 2.0])
    assert kind.noise(jax.random.key(0), (5, 3)).shape == (5, 3, 2)
