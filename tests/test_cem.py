"""The cross-entropy method on functions whose maxima are known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.ops import cem

BEST = jnp.array([[1.0, -0.5], [-2.0, 0.3], [0.0, 0.0]])  # [B, D]


def quadratic(plans, key):
    return -jnp.square(plans - BEST).sum(-1)


@partial(jax.jit, static_argnames=("proposals", "elites", "iterations", "shared"))
def search(key, **settings):
    return cem.search(quadratic, jnp.zeros_like(BEST), jnp.ones_like(BEST), key, **settings)


def test_it_finds_the_maximum_of_a_quadratic_for_every_start():
    result = search(jax.random.key(0), proposals=64, elites=8, iterations=12)
    assert np.asarray(result.mean) == pytest.approx(np.asarray(BEST), abs=0.05)
    assert (np.asarray(result.stddev) < 0.1).all() and (np.asarray(result.stddev) >= 1e-3 * 0.999).all()
    scores = np.asarray(result.scores)
    assert scores.shape == (12, 3) and (scores[-1] > scores[0]).all() and (scores <= 0).all()


def test_one_iteration_is_what_brute_force_says():
    """Mean and population deviation of the best of the proposals drawn from the start."""
    result = search(jax.random.key(1), proposals=16, elites=4, iterations=1)
    sample_key, _ = jax.random.split(jax.random.split(jax.random.key(1), 1)[0])
    plans = np.asarray(jax.random.normal(sample_key, (16, 3, 2)))
    for b in range(3):
        scores = -((plans[:, b] - np.asarray(BEST[b])) ** 2).sum(-1)
        elites = plans[np.argsort(-scores)[:4], b]
        assert np.asarray(result.mean[b]) == pytest.approx(elites.mean(0), abs=1e-5)
        assert np.asarray(result.stddev[b]) == pytest.approx(np.sqrt(elites.var(0) + 1e-6), abs=1e-5)
        assert float(result.scores[0, b]) == pytest.approx(np.sort(scores)[-4:].mean(), abs=1e-5)


def test_shared_is_one_search_by_the_mean_score():
    result = search(jax.random.key(2), proposals=64, elites=8, iterations=12, shared=True)
    assert (np.asarray(result.mean) == np.asarray(result.mean[:1])).all()
    assert np.asarray(result.mean[0]) == pytest.approx(np.asarray(BEST.mean(0)), abs=0.06)
    assert (np.asarray(result.scores) == np.asarray(result.scores[:, :1])).all()


def test_all_proposals_as_elites_stay_near_the_start():
    result = search(jax.random.key(3), proposals=512, elites=512, iterations=1)
    assert np.asarray(result.mean) == pytest.approx(0.0, abs=0.2)
    assert np.asarray(result.stddev) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"proposals": 3, "elites": 4, "iterations": 1}, "agent.elites"),
        ({"proposals": 3, "elites": 0, "iterations": 1}, "agent.elites"),
        ({"proposals": 3, "elites": 1, "iterations": 0}, "agent.iterations"),
    ],
)
def test_it_refuses_numbers_that_make_no_search(settings, named):
    with pytest.raises(ValueError, match=named):
        cem.search(quadratic, jnp.zeros_like(BEST), jnp.ones_like(BEST), jax.random.key(0), **settings)
