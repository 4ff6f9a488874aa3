"""Levels: each sees its view, is paid its reward, has parameters and slow state of its own, and their sum is a loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.losses.levels import Level, levels, scope
from skillhier.types import TimeStep, Trajectory

T, B = 5, 3


def batch():
    reward = jnp.arange(T * B, dtype=jnp.float32).reshape(T, B)
    no = jnp.zeros((T, B), bool)
    return Trajectory(TimeStep({"x": reward[..., None]}, reward, jnp.ones((T, B)), no, no), reward[..., None], {})


def fit(params, slow, batch, key):
    """Squared error of the level's own actor, times a shared gain, to what the level is paid; counts its rows."""
    error = jnp.square(params["gain"] * params["actor"] - batch.step.reward).mean()
    return error, ({"rows": slow["rows"] + len(batch.step.reward)}, {"error": error, "rows": len(batch.step.reward)})


PARAMS = {"gain": jnp.float32(2.0), "top": {"actor": jnp.float32(1.0)}, "low": {"actor": jnp.float32(3.0)}}
SLOW = {"top": {"rows": jnp.int32(0)}, "low": {"rows": jnp.int32(0)}, "shared": jnp.float32(4.0)}


def every_second(params, batch):
    return jax.tree.map(lambda x: x[::2], batch)


def paid_by_gain(params, batch, key):
    return params["gain"] * batch.step.reward


def test_one_level_is_its_loss():
    total, (slow, metrics) = levels({"low": Level(fit)})(PARAMS, SLOW, batch(), jax.random.key(0))
    alone, (own, plain) = fit(scope(PARAMS, "low"), SLOW["low"], batch(), jax.random.key(0))
    np.testing.assert_array_equal(total, alone)
    assert metrics == {f"low/{name}": value for name, value in plain.items()}
    assert slow == {**SLOW, "low": own}


def test_two_levels_with_an_actor_each_do_not_collide():
    """Views, rewards, metrics, slow state and gradients by hand."""
    loss = levels({"top": Level(fit, every_second, paid_by_gain), "low": Level(fit)})
    (total, (slow, metrics)), slopes = jax.value_and_grad(loss, has_aux=True)(PARAMS, SLOW, batch(), jax.random.key(0))
    reward = np.arange(T * B, dtype=float).reshape(T, B)
    top, low = np.square(2 * 1.0 - 2 * reward[::2]).mean(), np.square(2 * 3.0 - reward).mean()
    np.testing.assert_allclose([metrics["top/error"], metrics["low/error"], total], [top, low, top + low], rtol=1e-6)
    assert (metrics["top/rows"], metrics["low/rows"]) == (3, 5)
    assert (slow["top"]["rows"], slow["low"]["rows"], slow["shared"]) == (3, 5, 4.0)
    np.testing.assert_allclose(slopes["top"]["actor"], (2 * 2 * (2 * 1.0 - 2 * reward[::2])).mean(), rtol=1e-5)
    np.testing.assert_allclose(slopes["low"]["actor"], (2 * 2 * (2 * 3.0 - reward)).mean(), rtol=1e-5)
    # what a level is paid gets no gradient: of the shared gain only what the actors do with it
    gain = (2 * 1.0 * (2 * 1.0 - 2 * reward[::2])).mean() + (2 * 3.0 * (2 * 3.0 - reward)).mean()
    np.testing.assert_allclose(slopes["gain"], gain, rtol=1e-5)


def test_levels_and_their_rewards_have_keys_of_their_own():
    def drawn(params, slow, batch, key):
        return 0.0, (slow, {"draw": jax.random.uniform(key), "paid": batch.step.reward[0, 0]})

    def noise(params, batch, key):
        return jax.random.uniform(key, batch.step.reward.shape)

    _, (_, metrics) = levels({name: Level(drawn, reward=noise) for name in ("top", "low")})(
        PARAMS, {}, batch(), jax.random.key(0)
    )
    assert len({float(metric) for metric in metrics.values()}) == 4


def test_what_cannot_be_is_refused_in_a_line():
    with pytest.raises(ValueError, match="a system of no levels learns nothing"):
        levels({})
    with pytest.raises(ValueError, match="there is no level 'middle' among gain, top, low"):
        levels({"middle": Level(fit)})(PARAMS, SLOW, batch(), jax.random.key(0))
    with pytest.raises(AssertionError, match="shape"):
        levels({"low": Level(fit, reward=lambda params, batch, key: batch.step.reward[:2])})(
            PARAMS, SLOW, batch(), jax.random.key(0)
        )
