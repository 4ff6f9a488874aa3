"""Novelty that other skills have not met: by hand, its bounds, and what a pair of networks learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.losses.novelty import apart, distillation_error

ERRORS = jnp.array([[0.1, 0.0], [0.3, 0.5], [0.02, 0.7]])  # of three skills at two rows


def test_the_error_is_a_mean_square_and_the_target_gets_no_gradient():
    predicted, target = jnp.array([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]), jnp.array([[1.0, 0.0, 1.0], [3.0, 0.0, 0.0]])
    np.testing.assert_allclose(distillation_error(predicted, target), [(0 + 4 + 9) / 3, 3.0], rtol=1e-6)
    slopes = jax.grad(lambda p, t: distillation_error(p, t).sum(), (0, 1))(predicted, target)
    np.testing.assert_allclose(slopes[0], 2 / 3 * (predicted - target), rtol=1e-6)
    assert not slopes[1].any()


def test_the_reward_by_hand():
    """-log of the mean of exp(-10 e) over the others, while skill 1 learns: e = .1 and .02 at row 0, 0 and .7 at 1."""
    others = jnp.array([True, False, True])
    np.testing.assert_allclose(
        apart(ERRORS, others),
        [-np.log((np.exp(-1.0) + np.exp(-0.2)) / 2), -np.log((1 + np.exp(-7.0)) / 2)],
        rtol=1e-6,
    )
    np.testing.assert_allclose(apart(ERRORS, jnp.array([False, True, False]), 4.0), [1.2, 2.0], rtol=1e-6)


def test_without_others_nothing_is_paid_and_nothing_is_bad():
    none = jnp.zeros(3, bool)
    assert not apart(ERRORS, none).any()
    slopes = jax.grad(lambda e: apart(e, none).sum())(ERRORS)
    assert np.isfinite(slopes).all()


@pytest.mark.parametrize("scale", [1.0, 10.0, 300.0])
def test_it_lies_between_the_nearest_skill_and_that_plus_the_log_of_their_number(scale):
    errors = jax.random.exponential(jax.random.key(0), (5, 40, 3))
    others = jnp.array([True, True, False, True, True])
    least = scale * errors[jnp.flatnonzero(others)].min(0)
    paid = apart(errors, others, scale)
    assert (paid >= least - 1e-4).all() and (paid <= least + np.log(4) + 1e-4).all()
