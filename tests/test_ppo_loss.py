"""PPO's loss: numbers by hand, and laws of advantages, ratios and rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.losses import ppo
from skillhier.ops import families, returns
from skillhier.ops.families import Categorical, Gaussian
from skillhier.types import TimeStep, Trajectory

GAMMA, LAMBDA = 0.9, 0.8
# seven rows of one world: row 3 is cut by the clock, row 4 opens an episode, row 6 is a true end
REWARD = np.array([0.0, 1.0, -2.0, 3.0, 0.0, 0.5, -1.0])
FIRST, LAST = np.array([1, 0, 0, 0, 1, 0, 0], bool), np.array([0, 0, 0, 1, 0, 0, 1], bool)
DISCOUNT = np.array([1, 1, 1, 1, 1, 1, 0.0])
X = np.array([0.5, -1.0, 2.0, 1.0, 0.3, 0.8, -0.4])
ACTION = np.array([0.2, -0.4, 0.9, np.nan, 0.1, -0.3, np.nan])  # final rows: their actions mean nothing
VALID = [0, 1, 2, 4, 5]
PARAMS = {"slope": jnp.float32(0.3), "log_scale": jnp.float32(-0.2), "value": jnp.float32(0.7)}


def column(x):
    return jnp.asarray(x)[:, None]


def policy(params, entries):
    mean = params["slope"] * entries["x"][..., None]
    return Gaussian(mean, jnp.broadcast_to(jnp.exp(params["log_scale"]), mean.shape))


def value(params, batch):
    return params["value"] * batch.step.obs["x"]


def log_probs(params=PARAMS):
    """Those of the actions, rows [7]; 0 of final rows."""
    mean, scale = float(params["slope"]) * X, float(jnp.exp(params["log_scale"]))
    log_prob = -0.5 * ((ACTION - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
    return np.nan_to_num(log_prob)


def batch(log_prob=None, **changes):
    fields = {"reward": REWARD, "discount": DISCOUNT, "first": FIRST, "last": LAST} | changes
    step = TimeStep({"x": column(X)}, **{name: column(x) for name, x in fields.items()})
    noted = log_probs() if log_prob is None else log_prob
    extras = {"log_prob": column(noted), "chose": column(np.array([1, 0, 1, 1, 1, 0, 0], bool))}
    return Trajectory(step, column(ACTION)[..., None], extras)


def make(**settings):
    given = {"gamma": GAMMA, "lambda_": LAMBDA, "entropy": 0.0} | settings
    loss = ppo.ppo_loss(families.gaussian(), policy, value, **given)
    return lambda params, rows: loss(params, (), rows, jax.random.key(0))


def advantages():
    """A_t = d_t + gamma lambda A_{t+1} by hand: the clock's cut bootstraps, the true end does not. {row: A}."""
    v = 0.7 * X
    delta = REWARD[1:] + GAMMA * DISCOUNT[1:] * v[1:] - v[:-1]
    decay = GAMMA * LAMBDA
    a = {2: delta[2], 5: delta[5]}
    a[1] = delta[1] + decay * a[2]
    a[0] = delta[0] + decay * a[1]
    a[4] = delta[4] + decay * a[5]
    assert delta[5] == pytest.approx(-1.0 - v[5])  # an end
    assert delta[2] == pytest.approx(3.0 + GAMMA * v[3] - v[2])  # a time limit
    return a


def standardised():
    a = advantages()
    each = np.array([a[row] for row in VALID])
    return dict(zip(VALID, (each - each.mean()) / each.std(), strict=True))


def test_three_rows_and_both_sides_of_the_clip_by_hand():
    """A > 0: gains stop at 1 + eps, below 1 - eps they count; A < 0: they stop at 1 - eps, above 1 + eps they count."""
    ratio = jnp.log(jnp.array([1.5, 0.5, 1.1]))
    np.testing.assert_allclose(ppo.surrogate(ratio, jnp.full(3, 2.0), 0.2), [2.4, 1.0, 2.2], rtol=1e-6)
    np.testing.assert_allclose(ppo.surrogate(ratio, jnp.full(3, -2.0), 0.2), [-3.0, -1.6, -2.2], rtol=1e-6)
    slope = jax.vmap(jax.grad(lambda r, a: ppo.surrogate(r, a, 0.2)), (0, None))
    np.testing.assert_allclose(slope(ratio, 2.0), [0.0, 1.0, 2.2], rtol=1e-6)
    np.testing.assert_allclose(slope(ratio, -2.0), [-3.0, 0.0, -2.2], rtol=1e-6)


def test_generalised_advantages_are_lambda_returns_less_values():
    v = column(0.7 * X)
    moves = returns.transitions(batch().step, GAMMA)
    a = returns.lambda_returns(moves, v[1:], LAMBDA) - v[:-1]
    for row, expected in advantages().items():
        assert float(a[row, 0]) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_an_end_a_time_limit_and_ratios_by_hand():
    moved = np.array([0.3, -0.4, 0.05, 0.0, 0.5, -0.1, 0.0])  # log ratios of the rows
    total, (after, metrics) = make(clip=0.2, value_weight=0.5, entropy=0.1)(PARAMS, batch(log_probs() - moved))
    a, adv = advantages(), standardised()
    ratio = np.exp(moved)
    gains = [min(ratio[t] * adv[t], np.clip(ratio[t], 0.8, 1.2) * adv[t]) for t in VALID]
    value_loss = 0.5 * np.mean([a[t] ** 2 for t in VALID])
    nats = -0.2 + 0.5 * np.log(2 * np.pi * np.e)
    np.testing.assert_allclose(metrics["surrogate"], np.mean(gains), rtol=1e-5)
    np.testing.assert_allclose(metrics["value_loss"], value_loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["entropy"], nats, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], np.mean([ratio[t] - 1 - moved[t] for t in VALID]), rtol=1e-4)
    np.testing.assert_allclose(metrics["clipped"], 3 / 5)  # rows 0, 1 and 4
    np.testing.assert_allclose(total, -np.mean(gains) - 0.1 * nats + 0.5 * value_loss, rtol=1e-5)
    assert after == ()


def test_at_ratio_one_its_gradient_is_the_policy_gradient():
    """That of -mean(log pi(a) A), and of half the squared errors of values; nothing is clipped."""

    def plain(params):
        mean, scale = params["slope"] * X, jnp.exp(params["log_scale"])
        log_prob = -0.5 * ((jnp.nan_to_num(ACTION) - mean) / scale) ** 2 - jnp.log(scale)
        return -jnp.mean(jnp.stack([log_prob[t] * standardised()[t] for t in VALID]))

    ours = jax.grad(lambda p: make()(p, batch())[0])(PARAMS)
    theirs = jax.grad(plain)(PARAMS)
    for name in ("slope", "log_scale"):
        assert ours[name] != 0
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4)
    a = advantages()
    np.testing.assert_allclose(ours["value"], 0.5 * np.mean([-a[t] * X[t] for t in VALID]), rtol=1e-4)
    _, (_, metrics) = make()(PARAMS, batch())
    assert metrics["clipped"] == 0 and abs(metrics["kl"]) < 1e-6 and abs(metrics["surrogate"]) < 1e-6


def test_a_level_that_chose_at_some_rows_learns_at_those_from_their_advantages():
    """Rows 0, 2 and 4 chose (3 too, but it is final); the advantages' mean and scale are those of all rows."""
    total, (_, metrics) = make(decided="chose", value_weight=0.0)(PARAMS, batch())
    adv = standardised()
    expected = np.mean([adv[t] for t in (0, 2, 4)])
    assert abs(expected) > 0.01
    np.testing.assert_allclose(metrics["surrogate"], expected, rtol=1e-4)
    np.testing.assert_allclose(total, -expected, rtol=1e-4)
    weighed, _ = make(decided="chose", value_weight=0.0, policy_weight=0.25)(PARAMS, batch())
    np.testing.assert_allclose(weighed, -0.25 * expected, rtol=1e-4)
    silent = log_probs() + np.where([1, 0, 1, 1, 1, 0, 0], 0, 7.0)  # what was noted elsewhere does not matter
    np.testing.assert_allclose(make(decided="chose", value_weight=0.0)(PARAMS, batch(silent))[0], total, rtol=1e-6)


def test_what_rows_hold_that_begin_no_transition_does_not_matter():
    loss = make(entropy=0.1)
    slopes = lambda rows: jax.grad(lambda p: loss(p, rows)[0])(PARAMS)  # noqa: E731
    spoilt = batch(log_prob=np.where(LAST, np.nan, log_probs()), reward=np.where(FIRST, np.nan, REWARD))
    for a, b in zip(*map(jax.tree.leaves, (slopes(batch()), slopes(spoilt))), strict=True):
        assert np.isfinite(a) and a != 0
        np.testing.assert_array_equal(a, b)


def test_a_world_that_broke_leaves_no_transition():
    """Row 3 leads to an opening row though it was not final: it is lost, and nothing else."""
    broken = make()(PARAMS, batch(last=np.array([0, 0, 0, 0, 0, 0, 1], bool)))
    np.testing.assert_allclose(broken[0], make()(PARAMS, batch())[0], rtol=1e-6)


def test_standardised_advantages_of_the_rows_that_count():
    valid = column(np.array([1, 1, 0, 1], bool))
    a = ppo.standardised(column(np.array([1.0, 2.0, 50.0, 6.0])), valid)[:, 0]
    np.testing.assert_allclose(a, np.array([-2, -1, 0, 3]) / np.sqrt(14 / 3), rtol=1e-6)
    assert not ppo.standardised(jnp.ones((3, 2)), jnp.ones((3, 2), bool)).any()  # and no division by 0


def test_choices_learn_by_it_too():
    """A categorical policy whose choice paid more than another becomes likelier to make it."""
    loss = ppo.ppo_loss(
        families.categorical(),
        lambda params, entries: Categorical(jnp.broadcast_to(params, (*entries["x"].shape, 2))),
        lambda params, batch: jnp.zeros_like(batch.step.reward),
        gamma=0.0,
        lambda_=0.0,
        entropy=0.0,
    )
    choice = column(np.array([0, 1, 1, 0, 1, 0, 0]))
    reward = np.where(np.roll(choice[:, 0], 1) == 1, 1.0, 0.0)
    rows = batch(np.full(7, np.log(0.5)), reward=reward)._replace(action=choice)
    slope = jax.grad(lambda p: loss(p, (), rows, jax.random.key(0))[0])(jnp.zeros(2))
    assert slope[1] < 0 < slope[0]


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_clip_that_is_none_is_refused(clip):
    with pytest.raises(ValueError, match=f"^clip must lie between 0 and 1, got {clip}; set agent.clip$"):
        make(clip=clip)
