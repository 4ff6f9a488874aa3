"""The control suite's tolerance: numbers by hand, and dm_control's own function on all shapes."""

import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.envs import rewards

SHAPES = ("gaussian", "hyperbolic", "long_tail", "reciprocal", "cosine", "linear", "quadratic", "tanh_squared")


def test_by_hand():
    """Inside 1; half a margin outside: .1^.25 for the Gaussian, 1 - .9 * .5 for the line, 1 - .25 for the parabola."""
    value = jnp.array([1.0, 1.5, 2.0, 2.25, 2.5, 3.0, 0.5])
    gaussian = rewards.tolerance(value, 1.0, 2.0, margin=0.5)
    np.testing.assert_allclose(gaussian, [1, 1, 1, 0.562341, 0.1, 1e-4, 0.1], rtol=1e-5)
    line = rewards.tolerance(value, 1.0, 2.0, margin=0.5, shape="linear")
    np.testing.assert_allclose(line, [1, 1, 1, 0.55, 0.1, 0, 0.1], atol=1e-6)
    parabola = rewards.tolerance(value, 1.0, 2.0, margin=0.5, shape="quadratic", left=0.0)
    np.testing.assert_allclose(parabola, [1, 1, 1, 0.75, 0, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(rewards.tolerance(value, 1.0, 2.0), [1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(
        rewards.tolerance(jnp.array([-1.0, 5.0, 20.0]), 10.0, jnp.inf, margin=10.0, shape="linear", left=0.0),
        [0, 0.5, 1], atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_as_the_suites(shape):
    theirs = pytest.importorskip("dm_control.utils.rewards")
    value = np.linspace(-4, 6, 401)
    for low, high, margin, left in ((0, 0, 1, 0.1), (-1, 2, 0.7, 0.5), (1, np.inf, 3, 0.01), (-2, -2, 10, 0.9)):
        want = theirs.tolerance(value, (low, high), margin, shape, left)
        mine = rewards.tolerance(jnp.asarray(value), low, high, margin, shape, left)
        np.testing.assert_allclose(mine, want, atol=2e-6)
    np.testing.assert_array_equal(rewards.tolerance(value, 0.0, 1.0), theirs.tolerance(value, (0, 1)))


@pytest.mark.parametrize("shape", ("cosine", "linear", "quadratic"))
def test_nothing_left_at_the_margin(shape):
    theirs = pytest.importorskip("dm_control.utils.rewards")
    value = np.linspace(-4, 6, 401)
    want = theirs.tolerance(value, (0, 1), 2, shape, 0.0)
    np.testing.assert_allclose(rewards.tolerance(value, 0.0, 1.0, 2.0, shape, 0.0), want, atol=2e-6)
