"""What heads predict, against distrax and the numbers of the fact sheets."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.nets import heads
from skillhier.nets.mlp import Style
from skillhier.ops import predictions, twohot

X = jnp.array([[0.4, -1.2, 3.0], [0.0, 2.0, -5.0]])
OUT = jnp.array([[0.1, -1.0, 1.0], [0.5, 0.2, -4.0]])


def test_soft_bounds_are_the_fact_sheets():
    """lsp.md 7.1; the closed form is low + high e^raw / (high + e^raw)."""
    raw = jnp.array([-10.0, -1.0, 0.0, 1.0, 10.0])
    bounded = np.asarray(predictions.soft_bounds(raw, 0.1, 1.5))
    assert bounded == pytest.approx([0.100045, 0.395425, 0.7, 1.066607, 1.599898], abs=2e-6)
    e = np.exp(np.asarray(raw))
    assert bounded == pytest.approx(0.1 + 1.5 * e / (1.5 + e), rel=1e-5)


def test_normals_are_distrax():
    plain = predictions.normal().read(OUT, 1)
    assert np.asarray(plain.log_prob(X)) == pytest.approx(
        np.asarray(distrax.Normal(OUT, 1.0).log_prob(X).sum(-1)), rel=1e-5
    )
    clamped = predictions.clamped_normal().read(jnp.concatenate([OUT, 0.3 * X], -1), 1)
    known = distrax.Normal(OUT, predictions.soft_bounds(0.3 * X, 0.1, 1.5))
    assert np.asarray(clamped.log_prob(X)) == pytest.approx(np.asarray(known.log_prob(X).sum(-1)), rel=1e-5)
    assert (np.asarray(clamped.mean) == np.asarray(OUT)).all()


def test_the_best_predictor_that_knows_nothing_of_a_skill():
    """lsp.md 2.5: -4.257 for three unit Gaussians predicted by N(0, 1); at most 4.151."""
    raw = float(jnp.log(1.5 * 0.9 / (1.5 - 0.9)))  # deviation 1
    read = lambda raw: predictions.clamped_normal().read(jnp.array([0.0, 0, 0, raw, raw, raw]), 1)  # noqa: E731
    z = jax.random.normal(jax.random.key(0), (20000, 3))
    assert float(read(raw).log_prob(z).mean()) == pytest.approx(-4.257, abs=0.03)
    assert float(read(-30.0).log_prob(jnp.zeros(3))) == pytest.approx(4.151, abs=1e-3)


def test_squares_have_no_half():
    assert np.asarray(predictions.squared().read(OUT, 1).log_prob(X)) == pytest.approx(
        -((np.asarray(OUT) - np.asarray(X)) ** 2).sum(-1), rel=1e-5
    )
    picture = predictions.squared_sigmoid().read(OUT[None], 2)
    assert np.asarray(picture.mean) == pytest.approx(1 / (1 + np.exp(-np.asarray(OUT[None]))), rel=1e-5)
    wanted = jnp.full((1, 2, 3), 0.5)
    assert np.asarray(picture.log_prob(wanted)) == pytest.approx(-((np.asarray(picture.mean) - 0.5) ** 2).sum((1, 2)))


def test_which_one_it_is_is_distrax():
    logits = jnp.array([[0.1, -1.0, 1.0], [0.5, 0.2, -4.0]])
    said, known = predictions.one_hot().read(logits, 1), distrax.Categorical(logits)
    for i in range(3):
        code = jnp.broadcast_to(jax.nn.one_hot(i, 3), (2, 3))
        np.testing.assert_allclose(said.log_prob(code), known.log_prob(i), rtol=1e-5)
    np.testing.assert_allclose(said.mean, known.probs, rtol=1e-5)


def test_symlog_compares_logarithms():
    said = predictions.symlog().read(OUT, 1)
    assert np.asarray(said.mean) == pytest.approx(np.sign(OUT) * np.expm1(np.abs(OUT)), rel=1e-5)
    error = np.asarray(OUT) - np.sign(X) * np.log1p(np.abs(X))
    assert np.asarray(said.log_prob(X)) == pytest.approx(-(error**2).sum(-1), rel=1e-4)


def test_bernoulli_is_distrax_and_takes_expectations():
    logit = jnp.array([[0.3], [-2.0]])
    said, known = predictions.bernoulli().read(logit, 1), distrax.Bernoulli(logits=logit)
    for x in (0.0, 1.0):
        wanted = jnp.full((2, 1), x)
        assert np.asarray(said.log_prob(wanted)) == pytest.approx(np.asarray(known.log_prob(wanted)[:, 0]), rel=1e-5)
    mixed = 0.25 * known.log_prob(jnp.ones((2, 1))) + 0.75 * known.log_prob(jnp.zeros((2, 1)))
    assert np.asarray(said.log_prob(jnp.full((2, 1), 0.25))) == pytest.approx(np.asarray(mixed[:, 0]), rel=1e-5)


def test_two_hot_is_the_cross_entropy_of_its_code():
    logits = jax.random.normal(jax.random.key(0), (4, 255))
    said = predictions.two_hot().read(logits, 1)
    x = jnp.array([[0.0], [1.0], [-37.5], [1e4]])
    code = twohot.encode(twohot.symlog(x[:, 0]), twohot.bins(255))
    known = (np.asarray(code) * np.asarray(jax.nn.log_softmax(logits))).sum(-1)
    assert np.asarray(said.log_prob(x)) == pytest.approx(known, rel=1e-5)
    sure = predictions.two_hot().read(1e3 * code, 1)  # for numbers on a bin; else the two bins weigh the same
    assert float(sure.mean[0, 0]) == 0.0
    exact = predictions.two_hot().read(jnp.log(code), 1)
    assert np.asarray(exact.mean) == pytest.approx(np.asarray(x), rel=1e-3)


@pytest.mark.parametrize("form", ["normal", "symlog", "two_hot", "bernoulli"])
def test_a_scalar_head_says_one_number_a_row(form):
    head = heads.scalar(predictions.FORMS[form](), (8,), Style(), last=0.0)
    params = head.init(jax.random.key(0), 5)
    said = head.apply(params, jax.random.normal(jax.random.key(1), (3, 2, 5)))
    assert said.mean.shape == said.log_prob(jnp.ones((3, 2))).shape == (3, 2)
    assert (np.asarray(said.mean) == (0.5 if form == "bernoulli" else 0.0)).all()  # untrained, with last=0


@pytest.mark.parametrize("form", ["normal", "clamped_normal", "squared"])
def test_a_vector_head_sums_over_its_vector(form):
    head = heads.vector(4, predictions.FORMS[form](), (8,))
    said = head.apply(head.init(jax.random.key(0), 5), jnp.ones((3, 2, 5)))
    assert said.mean.shape == (3, 2, 4) and said.log_prob(jnp.ones((3, 2, 4))).shape == (3, 2)


@pytest.mark.parametrize(("size", "stack"), [(16, 1), (24, 3)])
def test_a_picture_head_makes_pictures(size, stack):
    head = heads.picture((stack, size, size, 3), predictions.normal(), 2, Style("relu", init="glorot"))
    params = jax.eval_shape(lambda key: head.init(key, 5), jax.random.key(0))
    said = jax.eval_shape(lambda p, f: head.apply(p, f).mean, params, jnp.ones((2, 5)))
    assert said.shape == (2, stack, size, size, 3)
