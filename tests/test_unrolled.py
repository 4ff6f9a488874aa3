"""Sums over short axes: the same numbers as numpy's, with neither reduction nor gather in the program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.envs import unrolled

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(4, 3, 5)).astype(np.float32)
FLAGS = np.array([[True, True], [True, False], [False, False]])


@pytest.mark.parametrize(
    ("ours", "theirs", "given"),
    [
        (unrolled.sum, lambda x: x.sum(-1), ROWS),
        (unrolled.min, lambda x: x.min(-1), ROWS),
        (unrolled.norm, lambda x: np.linalg.norm(x, axis=-1), ROWS),
        (unrolled.all, lambda x: x.all(-1), FLAGS),
        (unrolled.any, lambda x: x.any(-1), FLAGS),
        (unrolled.gram, lambda x: x @ x.T, ROWS[0]),
    ],
)
def test_sums_are_numpys(ours, theirs, given):
    np.testing.assert_allclose(ours(jnp.array(given)), theirs(given), rtol=1e-5, atol=1e-6)
    assert "reduce" not in jax.jit(ours).lower(given).as_text()


def test_products_are_numpys():
    matrix, other, vector = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2)), RNG.normal(size=4)
    np.testing.assert_allclose(unrolled.matvec(jnp.array(matrix), jnp.array(vector)), matrix @ vector, rtol=1e-5)
    np.testing.assert_allclose(
        unrolled.matmul(jnp.array(matrix), jnp.array(other)), matrix @ other, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("damping", [0.01, 1.0])
def test_the_small_solver_solves(damping):
    half = RNG.normal(size=(6, 6))
    square, right = half @ half.T, RNG.normal(size=6)
    found = unrolled.solve(jnp.array(square, jnp.float32), damping, jnp.array(right, jnp.float32))
    np.testing.assert_allclose(found, np.linalg.solve(square + damping * np.eye(6), right), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("places", [[2, 3, 4], [5, 0, 1, 9], [[0, 1], [8, 3]], [7]])
def test_taking_is_indexing_without_a_gather(places):
    array = np.arange(30.0, dtype=np.float32).reshape(10, 3)
    np.testing.assert_array_equal(unrolled.take(jnp.array(array), places), array[np.array(places)])
    assert "gather" not in jax.jit(lambda x: unrolled.take(x, places)).lower(array).as_text()


def test_putting_fills_the_rest_with_zeros():
    put = unrolled.put(6, (np.array([4, 1]), jnp.array([1.0, 2.0])), (5, jnp.array(3.0)))
    np.testing.assert_array_equal(put, [0, 2, 0, 0, 1, 3])
