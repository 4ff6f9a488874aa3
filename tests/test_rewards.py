"""Reward shapes: numbers worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.envs import rewards


def test_fall_is_95_percent_at_the_margin():
    # tanh^2(d w) with w = atanh(sqrt(0.95)) / margin; at half the margin: tanh(1.089135)^2 = 0.796563^2
    values = rewards.fall(jnp.array([0.0, 0.15, 0.075]), margin=0.15)
    np.testing.assert_allclose(values, [0.0, 0.95, 0.634512], atol=1e-5)


def test_near_is_one_in_the_ellipsoid_and_counts_the_whole_distance_outside():
    error = jnp.array([[0.9, 0.0, 0.0], [0.0, 0.0, 0.029], [0.0, 0.0, 0.05], [0.8, 0.0, 0.0299]])
    value = rewards.near(error, (1.0, 1.0, 0.03), margin=0.05)
    # the last lies outside the ellipsoid: 0.64 + 0.993 > 1; at 0.8 m nothing of the reward is left
    np.testing.assert_allclose(value, [1.0, 1.0, 0.05, 0.0], atol=1e-6)


def test_ramp():
    np.testing.assert_allclose(rewards.ramp(jnp.array([0.0, 1.0, 1.5, 2.0, 9.0]), 1.0, 2.0), [0, 0, 0.5, 1, 1])


@pytest.mark.parametrize(
    ("stages", "value"),
    [
        ((0.0, 0.0, 0.0, 0.0), 0.0),
        ((0.005, 0.0, 0.0, 0.0), 0.00125),  # none above the threshold: r_1 / 4
        ((0.6, 0.005, 0.0, 0.0), 0.15),  # the second has not begun
        ((0.6, 0.5, 0.0, 0.0), 0.375),  # (1 + 0.5) / 4, whatever the first says
        ((0.0, 0.0, 0.2, 0.0), 0.55),
        ((0.0, 0.0, 0.0, 3.0), 1.0),  # clipped
    ],
)
def test_staged(stages, value):
    np.testing.assert_allclose(rewards.staged(jnp.array(stages)), value, atol=1e-6)
    np.testing.assert_allclose(rewards.staged(jnp.array([stages, stages])), [value, value], atol=1e-6)


def test_sparsified_stages_count_only_above_95_percent():
    stages = jnp.array([[0.96, 0.95, 0.0], [0.5, 0.5, 0.97], [0.9, 0.9, 0.9]])
    np.testing.assert_allclose(rewards.staged(rewards.sparsify(stages)), [0.32, 2.97 / 3, 0.0], atol=1e-6)
