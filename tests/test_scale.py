"""Running scales and adaptive weights, against sequences worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.ops import scale


def test_percentiles_move_without_correction_and_have_a_floor():
    kind = scale.percentiles(low=0, high=100, decay=0.9, least=1.0)
    state = kind.update(kind.init, jnp.array([0.0, 5.0]))
    assert [float(x) for x in kind.offset_and_scale(state)] == pytest.approx([0.0, 1.0])  # .5, below the floor
    state = kind.update(state, jnp.array([[-10.0, 2.0], [30.0, 3.0]]))
    assert [float(x) for x in kind.offset_and_scale(state)] == pytest.approx([-1.0, 0.45 + 3.0 + 1.0])


def test_percentiles_are_the_5th_and_the_95th_by_default():
    kind = scale.percentiles()
    state = kind.update(kind.init, jnp.linspace(0.0, 1000.0, 101))
    assert [float(x) for x in kind.offset_and_scale(state)] == pytest.approx([0.5, 9.0])


@pytest.mark.parametrize("centred", [True, False])
def test_moments_are_corrected_for_their_start(centred):
    kind = scale.moments(0.9, 0.01, centred=centred)
    one, two = np.array([1.0, 3.0]), np.array([5.0, -5.0, 0.0, 8.0])
    state = kind.update(kind.init, jnp.array(one))
    offset, width = kind.offset_and_scale(state)
    assert (float(offset), float(width)) == pytest.approx((2.0 if centred else 0.0, 1.0), rel=1e-4)
    state = kind.update(state, jnp.array(two))
    seen = 1 - 0.9**2
    mean = (0.09 * one.mean() + 0.1 * two.mean()) / seen
    square = (0.09 * (one**2).mean() + 0.1 * (two**2).mean()) / seen
    offset, width = kind.offset_and_scale(state)
    assert float(offset) == pytest.approx(mean if centred else 0.0, rel=1e-4)
    assert float(width) == pytest.approx(np.sqrt(square - mean**2), rel=1e-4)


def test_moments_have_a_floor_and_no_values_no_infinity():
    kind = scale.moments(0.99, 0.01)
    state = kind.update(kind.init, jnp.full(3, 7.0))
    assert float(kind.offset_and_scale(state)[1]) == pytest.approx(0.01)
    assert np.isfinite(jax.device_get(kind.offset_and_scale(kind.init))).all()


@pytest.mark.parametrize("kind", [scale.percentiles(), scale.moments(0.9)], ids=["percentiles", "moments"])
def test_scales_have_no_gradient(kind):
    gradient = jax.grad(lambda x: sum(kind.offset_and_scale(kind.update(kind.init, x))))(jnp.array([1.0, 50.0]))
    assert (np.asarray(gradient) == 0).all()


def test_a_weight_follows_its_quantity_within_its_range():
    weight = scale.adaptive_weight(2.0, low=0.9, high=1.15, velocity=0.1)
    start = weight.init((4,))
    assert (np.asarray(start) == 1).all()
    moved = weight.update(start, jnp.array([2.21, 2.19, 1.82, 1.81]))  # beyond a tenth of the target, or within it
    assert np.asarray(moved) == pytest.approx([1.1, 1.0, 1.0, 1 / 1.1])
    again = weight.update(moved, jnp.array([9.0, 9.0, 0.0, 0.0]))
    assert np.asarray(again) == pytest.approx([1.15, 1.1, 1 / 1.1, 0.9])


def test_an_inverse_weight_grows_where_its_quantity_falls_short():
    weight = scale.adaptive_weight(0.5, high=100.0, inverse=True)
    assert np.asarray(weight.update(jnp.ones(3), jnp.array([0.1, 0.5, 0.9]))) == pytest.approx([1.1, 1.0, 1 / 1.1])


@pytest.mark.parametrize("inverse", [False, True])
def test_a_weight_brings_a_quantity_that_depends_on_it_to_its_target(inverse):
    """A KL falls as its weight grows, an entropy rises."""
    weight = scale.adaptive_weight(3.5, high=100.0, low=1e-3, inverse=inverse)

    def settle(start):
        measured = lambda w: 10.0 * w if inverse else 10.0 / w  # noqa: E731
        moved, _ = jax.lax.scan(lambda w, _: (weight.update(w, measured(w)), None), start, None, 80)
        return measured(moved)

    assert np.asarray(jax.jit(settle)(jnp.array([0.01, 1.0, 90.0]))) == pytest.approx(3.5, rel=0.11)
