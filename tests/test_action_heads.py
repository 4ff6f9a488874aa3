"""Distributions of actions that learn in imagination."""

import math

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.ops import action_heads

KEY = jax.random.key(0)


def test_numbers_of_the_fact_sheet():
    head = action_heads.tanh_normal(1)
    assert float(head.stats(jnp.zeros(2))["stddev"][0]) == pytest.approx(5.0001, abs=1e-4)
    unit = {"mean": jnp.zeros(1), "stddev": jnp.ones(1)}
    assert float(head.log_prob(unit, jnp.tanh(jnp.array([0.5])))) == pytest.approx(-0.803710, abs=1e-5)


def test_the_mean_before_the_tanh_is_bounded():
    stats = action_heads.tanh_normal(2).stats(jnp.array([1e3, 0.1, 0.0, 0.0]))
    assert np.asarray(stats["mean"]) == pytest.approx([5.0, 5 * math.tanh(0.02)], rel=1e-5)


def test_tanh_normal_is_distrax():
    head = action_heads.tanh_normal(3)
    stats = {"mean": jnp.array([0.3, -0.4, 0.0]), "stddev": jnp.array([0.5, 0.2, 1.0])}
    action = head.sample(stats, KEY)
    known = distrax.Transformed(distrax.Normal(stats["mean"], stats["stddev"]), distrax.Tanh())
    assert float(head.log_prob(stats, action)) == pytest.approx(float(known.log_prob(action).sum()), abs=1e-3)


def test_the_log_probability_at_the_edge_is_finite():
    head = action_heads.tanh_normal(1)
    for edge in (-1.0, 1.0):
        value, slope = jax.value_and_grad(lambda raw: head.log_prob(head.stats(raw), jnp.array([edge])))(jnp.zeros(2))  # noqa: B023
        assert np.isfinite(float(value)) and np.isfinite(np.asarray(slope)).all()


def test_the_mode_is_the_likeliest_of_its_candidates():
    """Of a deviation of 5 nearly all mass lies at the edges; of a narrow one at the mean."""
    head = action_heads.tanh_normal(1)
    rows = lambda mean, stddev: {"mean": jnp.full((50, 1), mean), "stddev": jnp.full((50, 1), stddev)}  # noqa: E731
    assert (np.abs(np.asarray(head.mode(rows(0.0, 5.0), KEY))) > 0.99).all()
    narrow = np.asarray(head.mode(rows(0.5, 0.05), KEY))
    assert (
        narrow == pytest.approx(np.tanh(0.5), abs=0.02)
        and narrow.std() < np.asarray(head.sample(rows(0.5, 0.05), KEY)).std()
    )


def test_bounded_normal_is_distrax_and_its_entropy_has_its_range():
    head = action_heads.bounded_normal(2, 0.03, 1.0)
    stats = head.stats(jnp.array([0.2, -3.0, 0.4, -1.0]))
    assert np.asarray(stats["mean"]) == pytest.approx(np.tanh([0.2, -3.0]), rel=1e-5)
    assert (np.asarray(head.mode(stats, KEY)) == np.asarray(stats["mean"])).all()
    known = distrax.Normal(stats["mean"], stats["stddev"])
    action = jnp.array([0.1, -1.5])
    assert float(head.log_prob(stats, action)) == pytest.approx(float(known.log_prob(action).sum()), rel=1e-5)
    assert np.asarray(head.entropy(stats)) == pytest.approx(np.asarray(known.entropy()), rel=1e-5)
    low, high = head.entropy_range
    for raw, edge in ((-100.0, low), (100.0, high)):
        stats = head.stats(jnp.array([0.0, 0.0, raw, raw]))
        assert np.asarray(head.entropy(stats)) == pytest.approx([edge, edge], rel=1e-4)
    half = {"mean": jnp.zeros(2), "stddev": jnp.full(2, 0.1732)}  # mrs.md 1.10
    assert (np.asarray(head.entropy(half)) - low) / (high - low) == pytest.approx(0.5, abs=1e-3)


HEADS = {
    "tanh_normal": action_heads.tanh_normal(2),
    "bounded_normal": action_heads.bounded_normal(2),
    "one_hot": action_heads.one_hot(2, 3, 0.01),
}


@pytest.mark.parametrize("name", HEADS)
def test_samples_carry_gradients_and_shapes_fit(name):
    head = HEADS[name]
    raw = jax.random.normal(KEY, (4, head.outputs))
    weight = jnp.arange(1.0, 1 + head.size)
    gradient = jax.grad(lambda raw: (head.sample(head.stats(raw), KEY) * weight).sum())(raw)
    assert float(jnp.abs(gradient).max()) > 0
    stats = head.stats(raw)
    action = head.sample(stats, KEY)
    assert action.shape == head.mode(stats, KEY).shape == (4, head.size)
    assert head.log_prob(stats, action).shape == (4,)
    if head.entropy:
        assert head.entropy(stats).shape == (4, 2)


def test_one_hot_is_distrax_and_its_entropy_has_its_range():
    head = action_heads.one_hot(2, 3, 0.0)
    raw = jnp.array([1.0, 0.0, -1.0, 3.0, 3.0, 0.0])
    stats = head.stats(raw)
    known = distrax.Categorical(logits=raw.reshape(2, 3))
    action = jax.nn.one_hot(jnp.array([1, 0]), 3).ravel()
    wanted = float(known.log_prob(jnp.array([1, 0])).sum())
    assert float(head.log_prob(stats, action)) == pytest.approx(wanted, rel=1e-5)
    assert np.asarray(head.entropy(stats)) == pytest.approx(np.asarray(known.entropy()), rel=1e-5)
    low, high = head.entropy_range
    assert np.asarray(head.entropy(head.stats(jnp.zeros(6)))) == pytest.approx(high, rel=1e-5)
    sure = head.stats(jnp.array([90.0, 0, 0, 0, 0, 90.0]))
    assert np.asarray(head.entropy(sure)) == pytest.approx(low, abs=1e-5)
    assert np.asarray(head.mode(sure, KEY)) == pytest.approx([1, 0, 0, 0, 0, 1], abs=1e-6)
