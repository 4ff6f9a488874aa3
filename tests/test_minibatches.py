"""Minibatches: every sequence once an epoch, one step for the whole, the learner itself with nothing to cut."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faulty import regression
from leftovers import same

from skillhier.agents.learner import healthy
from skillhier.agents.minibatches import minibatched
from skillhier.types import Learner, LearnerState, TimeStep, Trajectory

T, B = 3, 12


class Log(NamedTuple):
    """What a learner was shown, in order."""

    at: jax.Array
    shown: jax.Array  # [updates, sequences of a minibatch]
    steps: jax.Array  # [updates]
    keys: jax.Array  # [updates, 2]


def batch(bad=None):
    reward = jnp.broadcast_to(jnp.arange(B, dtype=jnp.float32), (T, B))
    reward = reward if bad is None else reward.at[1, bad].set(jnp.nan)
    never = jnp.zeros((T, B), bool)
    return Trajectory(TimeStep({}, reward, jnp.ones((T, B)), never, never), jnp.zeros((T, B, 1)), {})


def logging(updates, size):
    """A learner that writes down what it is shown."""

    def init(key):
        zero = jnp.zeros((), jnp.int32)
        log = Log(zero, jnp.zeros((updates, size)), jnp.zeros(updates, jnp.int32), jnp.zeros((updates, 2), jnp.uint32))
        return LearnerState((), log, (), zero, healthy())

    def update(state, batch, key):
        log = state.slow
        log = Log(
            log.at + 1,
            log.shown.at[log.at].set(batch.step.reward[0]),
            log.steps.at[log.at].set(state.steps),
            log.keys.at[log.at].set(jax.random.key_data(key)),
        )
        return state._replace(slow=log, steps=state.steps + 1), {"first": batch.step.reward[0, 0]}

    return Learner(init, update)


@pytest.mark.parametrize(("epochs", "minibatches"), [(3, 4), (2, 1), (1, 6)])
def test_every_sequence_is_used_once_an_epoch_in_an_order_of_its_own(epochs, minibatches):
    learner = minibatched(logging(2 * epochs * minibatches, B // minibatches), epochs=epochs, minibatches=minibatches)
    state = learner.init(jax.random.key(0))
    means = []
    for key in jax.random.split(jax.random.key(1)):
        state, metrics = jax.jit(learner.update)(state, batch(), key)
        means.append(float(metrics["first"]))
    log = jax.tree.map(np.asarray, state.slow)
    assert log.at == 2 * epochs * minibatches
    orders = log.shown.reshape(2 * epochs, B)
    assert all(sorted(order) == list(range(B)) for order in orders)
    assert len({tuple(order) for order in orders}) == 2 * epochs
    assert len({tuple(key) for key in log.keys}) == len(log.keys)
    assert log.steps.tolist() == [0] * (epochs * minibatches) + [1] * (epochs * minibatches)
    assert int(state.steps) == 2
    np.testing.assert_allclose(means, log.shown.reshape(2, -1, B // minibatches)[:, :, 0].mean(1), rtol=1e-6)


def test_one_epoch_of_one_minibatch_is_the_learner_itself():
    learner = regression()
    once = minibatched(learner, epochs=1, minibatches=1)
    state = learner.init(jax.random.key(0))
    assert same(once.update(state, batch(), jax.random.key(1)), learner.update(state, batch(), jax.random.key(1)))


def test_epochs_are_updates_one_after_another():
    """With one minibatch the order of the sequences means nothing: three epochs are three updates on the batch."""
    learner = regression()
    state = expected = learner.init(jax.random.key(0))
    errors = []
    for _ in range(3):
        expected, metrics = learner.update(expected, batch(), jax.random.key(1))
        errors.append(float(metrics["guess/error"]))
    state, metrics = minibatched(learner, epochs=3, minibatches=1).update(state, batch(), jax.random.key(1))
    np.testing.assert_allclose(state.params["guess"]["mean"], expected.params["guess"]["mean"], rtol=1e-6)
    assert int(state.steps) == 1 and int(expected.steps) == 3
    assert float(metrics["guess/error"]) == pytest.approx(np.mean(errors), rel=1e-5)


def test_health_counts_minibatches():
    learner = minibatched(regression(patience=9), epochs=2, minibatches=4)
    state, metrics = jax.jit(learner.update)(learner.init(jax.random.key(0)), batch(bad=5), jax.random.key(1))
    assert int(state.health.skipped) == 2 and int(state.steps) == 1 and not bool(state.health.stuck)
    assert np.isfinite(state.params["guess"]["mean"]) and np.isnan(metrics["guess/error"])


def test_seeds_side_by_side_are_the_seeds_alone():
    learner = minibatched(regression(), epochs=2, minibatches=3)
    keys = jax.random.split(jax.random.key(3), 2)
    states = jax.vmap(learner.init)(keys)
    together, _ = jax.jit(jax.vmap(learner.update, in_axes=(0, None, 0)))(states, batch(), keys)
    alone, _ = jax.jit(learner.update)(learner.init(keys[1]), batch(), keys[1])
    np.testing.assert_allclose(together.params["guess"]["mean"][1], alone.params["guess"]["mean"], rtol=1e-6)
    assert together.steps.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0, "minibatches": 1}, "epochs must be >= 1, got 0; set agent.epochs"),
        ({"epochs": 1, "minibatches": -2}, "minibatches must be >= 1, got -2; set agent.minibatches"),
        ({"epochs": 1, "minibatches": 5}, "12 sequences are no multiple of 5 minibatches; set agent.minibatches"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        learner = minibatched(regression(), **settings)
        learner.update(learner.init(jax.random.key(0)), batch(), jax.random.key(1))
