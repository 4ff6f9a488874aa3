"""One level's actor and critics, by hand on three rows: numbers, gradients, ends and time limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.losses import actor_critic as losses
from skillhier.losses.actor_critic import Entropy, actor_critic, init_slow
from skillhier.ops import action_heads, returns, scale, temporal
from skillhier.ops.predictions import Prediction
from skillhier.types import TimeStep, Trajectory

GAMMA, LAMBDA, A, K, SLOW_K, STDDEV = 0.9, 0.8, 0.3, 0.2, -0.4, 0.5
X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
REWARD = np.array([[9.0, 9.0], [1.0, -1.0], [2.0, 0.5]], np.float32)
DISCOUNT = np.array([[1.0, 0.5], [0.5, 1.0], [1.0, 0.0]], np.float32)
ACTION = np.array([[0.1, 0.7], [1.5, -0.2], [7.0, 7.0]], np.float32)
PARAMS = {"actor": {"a": jnp.asarray(A)}, "critic": {"task": {"k": jnp.asarray(K)}}}
TARGET = {"target": {"critic": {"task": {"k": jnp.asarray(SLOW_K)}}}}
HEAD = action_heads.bounded_normal(1)
KEY = jax.random.key(0)


def actor(params, entries):
    mean = params["a"] * entries["x"][..., None]
    return {"mean": mean, "stddev": jnp.full_like(mean, STDDEV)}


def critic(params, entries):
    mean = params["k"] * entries["x"]
    return Prediction(mean, lambda x: -0.5 * jnp.square(mean - x))


def rows(reward=REWARD, discount=DISCOUNT, last=None, first=None, x=X):
    no = jnp.zeros(X.shape, bool)
    step = TimeStep({"x": jnp.asarray(x)}, reward, jnp.asarray(discount), no if first is None else first,
                    no if last is None else last)  # fmt: skip
    return Trajectory(step, jnp.asarray(ACTION)[..., None], {})


def make(**settings):
    settings = {"rewards": {"task": 1.0}, "gamma": GAMMA, "lambda_": LAMBDA} | settings
    return actor_critic(actor, HEAD, critic, **settings)


def by_hand(k=K, discount=DISCOUNT, reward=REWARD):
    """(returns, values, weights) of rows 0 and 1 in plain numbers; k: of the values that targets take."""
    v = k * X
    later = reward[2] + GAMMA * discount[2] * v[2]
    sooner = reward[1] + GAMMA * discount[1] * ((1 - LAMBDA) * v[1] + LAMBDA * later)
    return np.stack([sooner, later]), v[:2], np.stack([discount[0], discount[0] * GAMMA * discount[1]])


def told(slow=None, batch=None, **settings):
    value, (slow, metrics) = make(**settings)(PARAMS, slow or {}, batch or rows(), KEY)
    return float(value), slow, {name: float(x) for name, x in metrics.items()}


def near(x, rel=1e-5):
    return pytest.approx(x, rel=rel)


def test_the_lambda_return_of_the_fact_sheet_in_both_conventions():
    """lsp.md 7.1: rewards and values of the same four imagined states, and a bootstrap."""
    reward, value = np.array([1.0, 0.5, 0.0, 2.0]), np.array([0.2, 0.4, 0.6, 0.8, 1.0])
    known = [4.040422, 3.211719, 2.851695, 2.990000]
    column = lambda x: jnp.asarray(x, jnp.float32)[:, None]  # noqa: E731

    def trajectory(rewards):
        no = jnp.zeros((len(rewards), 1), bool)
        step = TimeStep({}, column(rewards), jnp.ones((len(rewards), 1)), no, no)
        return Trajectory(step, column(rewards), {})

    # Dreamer's: the start is not counted, row i pays r_i when it is left
    imagined = temporal.leaving()(trajectory([77.0, *reward, 77.0])).step
    moves = returns.transitions(imagined, 0.99)
    left = returns.lambda_returns(moves, column(value[1:]), 0.95)
    assert np.asarray(left[:, 0]) == pytest.approx(known, abs=1e-5)
    # the same numbers paid on arriving, one row later
    moves = returns.transitions(trajectory([77.0, *reward]).step, 0.99)
    arrived = returns.lambda_returns(moves, column(value[1:]), 0.95)
    assert np.asarray(arrived[:, 0]) == pytest.approx(known, abs=1e-5)


def test_returns_weights_and_both_losses():
    target, value, weight = by_hand()
    loss, _, metrics = told()
    assert metrics["critic_loss"] == near((weight * 0.5 * (value - target) ** 2).mean())
    assert metrics["actor_loss"] == near(-(weight * target).mean())
    assert loss == near(metrics["critic_loss"] + metrics["actor_loss"])
    assert metrics["return"] == near(target.mean())
    assert metrics["value_error"] == near(np.abs(value - target).mean())


def test_a_baseline_takes_the_values_off():
    target, value, weight = by_hand()
    assert told(baseline=True)[2]["actor_loss"] == near(-(weight * (target - value)).mean())


def test_the_score_function_is_reinforce():
    """Value, and gradient: the mean of weight x advantage x d log p / d a, the advantage held constant."""
    target, value, weight = by_hand()
    error = (ACTION[:2] - A * X[:2]) / STDDEV
    log_p = -0.5 * error**2 - np.log(STDDEV) - 0.5 * np.log(2 * np.pi)
    assert told(gradient="score")[2]["actor_loss"] == near(-(weight * log_p * (target - value)).mean())
    slope = jax.grad(lambda p: make(gradient="score")(p, {}, rows(), KEY)[0])(PARAMS)
    known = -(weight * (target - value) * error / STDDEV * X[:2]).mean()
    assert float(slope["actor"]["a"]) == near(known)


def test_who_gets_which_gradient():
    """The critic that of its regression alone; the actor none through it; rows that of the actor's loss alone."""
    target, value, weight = by_hand()
    for settings in ({}, {"gradient": "score"}, {"baseline": True}):
        slope = jax.grad(lambda p: make(**settings)(p, {}, rows(), KEY)[0])(PARAMS)  # noqa: B023
        assert float(slope["critic"]["task"]["k"]) == near((weight * (value - target) * X[:2]).mean(), 1e-4)
    assert float(jax.grad(lambda p: make()(p, {}, rows(), KEY)[0])(PARAMS)["actor"]["a"]) == 0.0
    through = jax.grad(lambda r: make()(PARAMS, {}, rows(reward=r), KEY)[0])(jnp.asarray(REWARD))
    known = np.zeros_like(REWARD)
    known[2] -= weight[1] / 4  # the return of row 1
    known[1] -= weight[0] / 4  # of row 0
    known[2] -= weight[0] / 4 * GAMMA * DISCOUNT[1] * LAMBDA
    assert np.asarray(through) == pytest.approx(known, abs=1e-6)
    alone = jax.grad(lambda r: make(train_actor=False)(PARAMS, {}, rows(reward=r), KEY)[0])(jnp.asarray(REWARD))
    assert (np.asarray(alone) == 0).all()
    score = jax.grad(lambda r: make(gradient="score")(PARAMS, {}, rows(reward=r), KEY)[0])(jnp.asarray(REWARD))
    assert (np.asarray(score) == 0).all()


def test_values_carry_the_rows_gradient_to_the_actor_but_not_to_the_critic():
    through = jax.grad(lambda x: make()(PARAMS, {}, rows(x=x), KEY)[0])(jnp.asarray(X))
    _, _, weight = by_hand()
    last = -(weight[1] + weight[0] * GAMMA * DISCOUNT[1] * LAMBDA) * GAMMA * DISCOUNT[2] * K / 4
    assert np.asarray(through[2]) == pytest.approx(last, abs=1e-6)
    assert (np.asarray(through[0]) == 0).all()  # row 0 enters the critic's regression alone


def test_targets_from_a_slow_critic():
    target, value, weight = by_hand(SLOW_K)
    metrics = told(TARGET, bootstrap="slow")[2]
    assert metrics["critic_loss"] == near((weight * 0.5 * (value - target) ** 2).mean())
    metrics = told(TARGET, bootstrap="slow", baseline=True)[2]
    assert metrics["actor_loss"] == near(-(weight * (target - SLOW_K * X[:2])).mean())


def test_a_slow_critic_as_a_second_target():
    target, value, weight = by_hand()
    error = (value - target) ** 2 + 0.7 * (value - SLOW_K * X[:2]) ** 2
    assert told(TARGET, slow_weight=0.7)[2]["critic_loss"] == near((weight * 0.5 * error).mean())


def test_an_end_cuts_a_return_and_a_time_limit_does_not():
    """At row 1 of world 0: the task ends there, or the clock stops it there; nothing of row 2 is counted."""
    last = jnp.zeros(X.shape, bool).at[1, 0].set(True)
    ended, stopped = DISCOUNT.copy(), DISCOUNT.copy()
    ended[1, 0], stopped[1, 0] = 0.0, 1.0
    for discount, known in ((ended, REWARD[1, 0]), (stopped, REWARD[1, 0] + GAMMA * K * X[1, 0])):
        target, value, weight = by_hand(discount=discount)
        target[0, 0], weight[1, 0] = known, 0.0
        metrics = told(batch=rows(discount=discount, last=last))[2]
        assert metrics["critic_loss"] == near((weight * 0.5 * (value - target) ** 2).mean())
        assert metrics["actor_loss"] == near(-(weight * target).mean())


def test_rows_after_the_tasks_end_weigh_nothing_in_a_dream():
    """A dream has no `last`: the discount alone says it."""
    ended = DISCOUNT.copy()
    ended[1, 0] = 0.0
    target, value, weight = by_hand(discount=ended)
    assert weight[1, 0] == 0.0 and target[0, 0] == REWARD[1, 0]
    assert told(batch=rows(discount=ended))[2]["critic_loss"] == near((weight * 0.5 * (value - target) ** 2).mean())


def test_percentiles_scale_the_returns_but_not_the_critics_targets():
    kind = scale.percentiles(0, 100, decay=0.5, least=0.01)
    target, value, weight = by_hand()
    low, high = 0.5 * target.min(), 0.5 * target.max()
    slow = init_slow(HEAD, {"task": 1.0}, kind)
    _, slow, metrics = told(slow, scales=kind, baseline=True)
    assert metrics["actor_loss"] == near(-(weight * (target - value) / (high - low)).mean(), 1e-4)
    assert metrics["critic_loss"] == near((weight * 0.5 * (value - target) ** 2).mean())
    assert metrics["scale"] == near(high - low, 1e-4)
    assert float(slow["scale"]["task"]["low"]) == near(low)
    _, again, _ = told(slow, scales=kind)
    assert float(again["scale"]["task"]["high"]) == near(1.5 * high)
    alone = told(init_slow(HEAD, {"task": 1.0}, kind), scales=kind)[2]["actor_loss"]
    assert alone == near(-(weight * (target - low) / (high - low)).mean(), 1e-4)


def test_the_advantage_is_scaled_after_the_returns():
    returns_scale, advantage_scale = scale.moments(0.9, 0.01, centred=False), scale.moments(0.5)
    target, value, weight = by_hand()
    score = (target - value) / target.std()
    slow = init_slow(HEAD, {"task": 1.0}, returns_scale, advantage_scale)
    settings = {"scales": returns_scale, "advantage": advantage_scale, "baseline": True}
    _, slow, metrics = told(slow, **settings)
    score = (score - score.mean()) / score.std()
    assert metrics["actor_loss"] == near(-(weight * score).mean(), 1e-3)
    assert int(slow["advantage"]["updates"]) == int(slow["scale"]["task"]["updates"]) == 1


def test_entropy_of_a_fixed_weight():
    target, _, weight = by_hand()
    nats = np.log(STDDEV) + 0.5 * np.log(2 * np.pi * np.e)
    metrics = told(entropy=Entropy(0.1))[2]
    assert metrics["actor_loss"] == near(-(weight * (target + 0.1 * nats)).mean())
    low, high = HEAD.entropy_range
    assert metrics["entropy"] == near((nats - low) / (high - low))


def test_entropy_of_an_adaptive_weight_is_used_after_its_update():
    """A share of .80 of its range: above a target of .5 its weight falls, below one of .9 it grows."""
    target, _, weight = by_hand()
    share = 1 + np.log(STDDEV) / (np.log(1.0) - np.log(0.03))
    for aim, factor in ((0.5, 1 / 1.1), (0.9, 1.1)):
        bonus = Entropy(adaptive=scale.adaptive_weight(aim, high=100.0, inverse=True))
        slow = init_slow(HEAD, {"task": 1.0}, entropy=bonus)
        assert slow["entropy"].shape == (1,)
        _, slow, metrics = told(slow, entropy=bonus)
        assert float(slow["entropy"][0]) == near(factor)
        assert metrics["actor_loss"] == near(-(weight * (target + factor * share)).mean())


def test_several_rewards_have_critics_and_scales_of_their_own():
    params = {"actor": PARAMS["actor"], "critic": {"task": {"k": jnp.asarray(K)}, "new": {"k": jnp.asarray(0.05)}}}
    other = -0.5 * REWARD
    batch = rows(reward={"task": jnp.asarray(REWARD), "new": jnp.asarray(other)})
    loss = make(rewards={"task": 1.0, "new": 0.1}, baseline=True)
    _, (_, metrics) = loss(params, {}, batch, KEY)
    target, value, weight = by_hand()
    target2, value2, _ = by_hand(0.05, reward=other)
    gain = (target - value) + 0.1 * (target2 - value2)
    assert float(metrics["actor_loss"]) == near(-(weight * gain).mean())
    assert float(metrics["new_critic_loss"]) == near((weight * 0.5 * (value2 - target2) ** 2).mean())
    slope = jax.grad(lambda p: loss(p, {}, batch, KEY)[0])(params)["critic"]
    assert float(slope["new"]["k"]) == near((weight * (value2 - target2) * X[:2]).mean())


def test_notes_of_the_rows_are_entries():
    batch = rows()
    noted = batch._replace(step=batch.step._replace(obs={}), extras={"x": batch.step.obs["x"]})
    assert told(batch=noted)[2] == told()[2]


def test_it_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="agent.gradient"):
        make(gradient="both")
    for bonus in (Entropy(1.0), Entropy(adaptive=scale.adaptive_weight(0.5))):
        with pytest.raises(ValueError, match="agent.entropy"):
            actor_critic(actor, action_heads.tanh_normal(1), critic, rewards={"task": 1.0}, gamma=GAMMA,
                         lambda_=LAMBDA, entropy=bonus)  # fmt: skip
    assert losses.GRADIENTS == ("dynamics", "score")
