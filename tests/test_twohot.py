"""Symmetric logarithm and two-hot codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.ops import twohot


def test_symlog_by_hand_and_back():
    x = np.array([-1e6, -np.e + 1, -0.5, 0.0, 1e-4, 1.0, 1e8], np.float32)
    assert np.asarray(twohot.symlog(x)) == pytest.approx(np.sign(x) * np.log1p(np.abs(x)), rel=1e-6)
    assert float(twohot.symlog(jnp.float32(1 - np.e))) == pytest.approx(-1.0)
    assert np.asarray(twohot.symexp(twohot.symlog(x))) == pytest.approx(x, rel=1e-4)


def test_a_code_weighs_the_two_bins_beside_a_number():
    code = twohot.encode(jnp.array([0.25, -1.0, 2.0]), jnp.array([-1.0, 0.0, 1.0, 2.0]))
    assert np.asarray(code) == pytest.approx(np.array([[0, 0.75, 0.25, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]))


@pytest.mark.parametrize("count", [255, 4, 5])
def test_a_round_trip_keeps_numbers_and_ends_at_the_edges(count):
    bins = twohot.bins(count)
    x = jnp.array([-30.0, -20.0, -7.3, 0.0, 1e-3, 0.11, 19.99, 20.0, 25.0])
    code = twohot.encode(x, bins)
    assert np.asarray(code.sum(-1)) == pytest.approx(1.0)
    assert (np.asarray(code) >= 0).all() and ((np.asarray(code) > 0).sum(-1) <= 2).all()
    assert np.asarray(twohot.decode(code, bins)) == pytest.approx(np.clip(x, -20, 20), abs=2e-5)


@pytest.mark.parametrize("count", [255, 256])
def test_an_untrained_head_says_exactly_nothing(count):
    p = jax.nn.softmax(jnp.zeros((3, count)))
    assert (np.asarray(twohot.decode(p, twohot.bins(count))) == 0).all()
