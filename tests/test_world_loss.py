"""The loss of a world model: what draws posterior and prior together, and which action a row is observed with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.losses import world
from skillhier.ops import scale
from skillhier.ops.predictions import Prediction
from skillhier.types import TimeStep, Trajectory

T, B = 4, 2


def kl(p, q):
    """Of unit Gaussians, [...]: half the squared distance of their means."""
    return 0.5 * jnp.square(p - q)


def gradients(kl_loss, posterior, prior, state=()):
    f = lambda post, prior: kl_loss.loss(state, kl, post, prior)[0]  # noqa: E731
    return [np.asarray(g) for g in jax.grad(f, (0, 1))(posterior, prior)]


ROWS = jnp.array([[1.0, 3.0], [0.0, 4.0]])  # KLs .5, 4.5, 0, 8: their mean is 3.25


def test_free_nats_on_the_mean():
    """Above the floor all rows learn, in both directions; below it none."""
    above, below = world.mean_kl(3.0), world.mean_kl(3.5)
    assert float(above.loss((), kl, ROWS, jnp.zeros_like(ROWS))[0]) == 3.25
    assert float(below.loss((), kl, ROWS, jnp.zeros_like(ROWS))[0]) == 3.5
    assert float(below.loss((), kl, ROWS, jnp.zeros_like(ROWS))[2]["kl"]) == 3.25
    to_posterior, to_prior = gradients(above, ROWS, jnp.zeros_like(ROWS))
    assert to_posterior == pytest.approx(np.asarray(ROWS) / 4) and to_prior == pytest.approx(-np.asarray(ROWS) / 4)
    assert all((g == 0).all() for g in gradients(below, ROWS, jnp.zeros_like(ROWS)))


def test_free_nats_on_each_row_and_balance():
    loss = world.balanced_kl(0.5, 0.1, 1.0)
    assert float(loss.loss((), kl, ROWS, jnp.zeros_like(ROWS))[0]) == pytest.approx(0.6 * (1 + 4.5 + 1 + 8) / 4)
    to_posterior, to_prior = gradients(loss, ROWS, jnp.zeros_like(ROWS))
    above = np.array([[0.0, 3.0], [0.0, 4.0]]) / 4  # rows below their floor learn nothing
    assert to_posterior == pytest.approx(0.1 * above) and to_prior == pytest.approx(-0.5 * above)


def test_without_free_nats_all_rows_learn():
    loss = world.balanced_kl(0.8, 0.2, 0.0)
    assert float(loss.loss((), kl, ROWS, jnp.zeros_like(ROWS))[0]) == pytest.approx(3.25)
    to_posterior, to_prior = gradients(loss, ROWS, jnp.zeros_like(ROWS))
    assert to_posterior == pytest.approx(0.2 * np.asarray(ROWS) / 4)
    assert to_prior == pytest.approx(-0.8 * np.asarray(ROWS) / 4)


def test_an_adaptive_weight_is_used_after_its_update_and_finds_its_target():
    loss = world.balanced_kl(0.8, 0.2, 0.0, scale.adaptive_weight(3.5))
    low = jnp.full((2, 2), 1.0)  # a KL of .5, below its target
    value, state, metrics = loss.loss(loss.init, kl, low, jnp.zeros_like(low))
    assert float(state) == pytest.approx(1 / 1.1) and float(value) == pytest.approx(0.5 / 1.1)
    assert float(metrics["kl_weight"]) == float(state)
    _, to_prior = gradients(loss, low, jnp.zeros_like(low), jnp.ones(()))
    assert to_prior == pytest.approx(-0.8 / 4 / 1.1)
    assert float(loss.loss(jnp.asarray(0.5), kl, 3 * low, jnp.zeros_like(low))[1]) == pytest.approx(0.55)
    near = jnp.full((2, 2), np.sqrt(7.0))  # 3.5
    assert float(loss.loss(jnp.asarray(0.5), kl, near, jnp.zeros_like(low))[1]) == 0.5


def batch(first, **step):
    count = np.arange(T * B, dtype=np.float32).reshape(T, B)
    fields = {"reward": jnp.asarray(count), "discount": jnp.ones((T, B)), "last": jnp.zeros((T, B), bool)} | step
    obs = {"seen": jnp.asarray(count)[..., None]}
    return Trajectory(TimeStep(obs, first=jnp.asarray(first), **fields), jnp.asarray(1 + count)[..., None], {})


def make(heads=None, targets=None, weights=None, heard=None):
    """A model whose posterior is what it saw, and whose parameters are one number."""

    def observe_rows(params, action, embedding, first, noise):
        if heard is not None:
            heard.update(action=action, first=first, noise=noise)
        return embedding, embedding[..., 0]

    return world.world_loss(
        embed=lambda params, obs: params * obs["seen"],
        observe_rows=observe_rows,
        prior=lambda params, posterior: jnp.zeros(posterior.shape[:-1]),
        feature=lambda posterior: posterior[..., 0],
        kl=kl,
        noise=lambda key, rows: jnp.zeros(rows),
        heads=heads or {},
        targets=targets or (lambda batch: {"action": batch.action}),
        kl_loss=world.mean_kl(0.0),
        weights=weights,
    )


def test_a_row_hears_the_action_of_the_row_before():
    heard, first = {}, np.zeros((T, B), bool)
    first[2, 1] = True
    make(heard=heard)(jnp.ones(()), (), batch(first), jax.random.key(0))
    count = 1 + np.arange(T * B, dtype=np.float32).reshape(T, B, 1)
    assert np.asarray(heard["action"][1:]) == pytest.approx(count[:-1])
    assert (np.asarray(heard["action"][0]) == 0).all()
    assert np.asarray(heard["first"]).tolist() == [[True, True], [False, False], [False, True], [False, False]]
    assert heard["noise"].shape == (T, B)


def test_heads_are_weighted_means_over_all_rows():
    """The squared error of the reward, and of the continuation: its target is what a broken rule of thumb is not."""
    last = np.zeros((T, B), bool)
    last[1, 0] = last[2, 1] = True  # by the task, and by the clock
    discount = np.ones((T, B), np.float32)
    discount[1, 0] = 0.0
    said = lambda params, features: Prediction(features, lambda x: -jnp.square(features - x))  # noqa: E731
    targets = lambda batch: {  # noqa: E731
        "reward": batch.step.reward, "continue": batch.step.discount, "action": batch.action
    }  # fmt: skip
    loss = make({"reward": said, "continue": said}, targets, {"continue": 0.5})
    rows = batch(np.zeros((T, B), bool), last=jnp.asarray(last), discount=jnp.asarray(discount))
    value, (posterior, _, metrics) = loss(jnp.asarray(2.0), (), rows, jax.random.key(0))
    count = np.arange(T * B, dtype=np.float32).reshape(T, B)
    errors = {"reward": (2 * count - count) ** 2, "continue": (2 * count - discount) ** 2}
    assert float(metrics["reward_loss"]) == pytest.approx(errors["reward"].mean())
    assert float(metrics["continue_loss"]) == pytest.approx(errors["continue"].mean())
    nats = (0.5 * (2 * count) ** 2).mean()
    assert float(value) == pytest.approx(nats + errors["reward"].mean() + 0.5 * errors["continue"].mean())
    assert np.asarray(posterior[..., 0]) == pytest.approx(2 * count)


def test_a_broken_worlds_row_is_a_first_row():
    """`first` without `last` before it: nothing of the row before is heard, its action neither."""
    heard, first = {}, np.zeros((T, B), bool)
    first[3, 0] = True
    make(heard=heard)(jnp.ones(()), (), batch(first), jax.random.key(0))
    assert bool(heard["first"][3, 0]) and not bool(heard["first"][3, 1])
