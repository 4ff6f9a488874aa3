"""TD3: its loss by hand, what each part of it moves, and the parts that let some things move less often than others."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from leftovers import same

from skillhier.agents import slow, td3
from skillhier.agents.learner import learner, loss_every
from skillhier.agents.optimisers import every
from skillhier.losses import td3 as losses
from skillhier.nets.actor import DeterministicActor
from skillhier.nets.critic import TwinCritic
from skillhier.types import TimeStep, Trajectory

GAMMA = 0.9
X = np.array([0.5, -1.0, 2.0, 1.0, 0.0, 0.3])  # what is seen at six rows of one world
ACTION = np.array([0.2, -0.4, 0.9, np.nan, 0.1, np.nan])  # rows 3 and 5 are final: their actions mean nothing
REWARD = np.array([0.0, 1.0, -2.0, 3.0, 0.0, 0.5])
# row 3 is cut by the clock, row 4 opens an episode, row 5 is a true end
FIRST, LAST = np.array([1, 0, 0, 0, 1, 0], bool), np.array([0, 0, 0, 1, 0, 1], bool)
DISCOUNT = np.array([1, 1, 1, 1, 1, 0.0])
PARAMS = {"actor": jnp.float32(0.3), "critic": jnp.array([1.0, 0.5])}
SLOW = {"target": {"actor": jnp.float32(-0.4), "critic": jnp.array([0.8, -0.6])}}


def batch(**changes):
    fields = {"reward": REWARD, "discount": DISCOUNT, "first": FIRST, "last": LAST}
    fields = {name: jnp.asarray(x)[:, None] for name, x in (fields | changes).items()}
    return Trajectory(TimeStep({"x": jnp.asarray(X)[:, None]}, **fields), jnp.asarray(ACTION)[:, None, None], {})


def actor(params, x):
    return params["actor"] * x[..., None]


def critic(params, x, action):
    """Q_i = c_i (x + 2 a)."""
    return jnp.stack([c * (x + 2 * action[..., 0]) for c in params["critic"]])


def see(params, batch):
    return batch.step.obs["x"][:-1], batch.step.obs["x"][1:]


def make(**settings):
    given = {"low": jnp.full(1, -1.0), "high": jnp.full(1, 1.0), "gamma": GAMMA, "smoothing_stddev": 0.0} | settings
    return losses.td3_loss(actor, critic, see, **given)


def by_hand():
    """(critic loss, actor loss) of the transitions 0-1, 1-2, 2-3 (the clock) and 4-5 (an end)."""
    critics, actors = [], []
    for t in (0, 1, 2, 4):
        following = np.clip(-0.4 * X[t + 1], -1, 1)
        value = min(c * (X[t + 1] + 2 * following) for c in (0.8, -0.6))
        target = REWARD[t + 1] + GAMMA * DISCOUNT[t + 1] * value
        errors = [abs(target - c * (X[t] + 2 * ACTION[t])) for c in (1.0, 0.5)]
        critics.append(sum(0.5 * e**2 if e <= 1 else e - 0.5 for e in errors))
        actors.append(-1.0 * (X[t] + 2 * 0.3 * X[t]))
    return np.mean(critics), np.mean(actors)


def test_the_loss_of_an_end_a_time_limit_and_a_row_between_by_hand():
    total, (after, metrics) = make()(PARAMS, SLOW, batch(), jax.random.key(0))
    critic_loss, actor_loss = by_hand()
    np.testing.assert_allclose(metrics["critic_loss"], critic_loss, rtol=1e-6)
    np.testing.assert_allclose(metrics["actor_loss"], actor_loss, rtol=1e-6)
    np.testing.assert_allclose(total, critic_loss + actor_loss, rtol=1e-6)
    assert after is SLOW


def target_by_hand(n_step, renewed=()):
    """The mean target of the four transitions: up to `n_step` rewards, then the value; none beyond a row renewed."""

    def value(row):
        return min(c * (X[row] + 2 * np.clip(-0.4 * X[row], -1, 1)) for c in (0.8, -0.6))

    targets = []
    for t in (0, 1, 2, 4):
        total, weight, row = 0.0, 1.0, t
        for _ in range(n_step):
            row += 1
            total, weight = total + weight * REWARD[row], weight * GAMMA * DISCOUNT[row]
            if LAST[row] or row in renewed:
                break
        targets.append(total + weight * value(row))
    return np.mean(targets)


@pytest.mark.parametrize("n_step", [1, 2, 3, 9])
@pytest.mark.parametrize("renewed", [(), (1,), (2,), (0, 3)])
def test_several_rewards_before_the_value_but_none_beyond_a_cut_or_a_new_choice(n_step, renewed):
    """A row where the choice is renewed closes the returns that reach it: what is paid from there is another's."""
    note = {"skill_renewed": jnp.isin(jnp.arange(6), jnp.array(renewed, jnp.int32))[:, None]} if renewed else {}
    loss = make(n_step=n_step, renewed="skill_renewed" if renewed else "")
    _, (_, metrics) = loss(PARAMS, SLOW, batch()._replace(extras=note), jax.random.key(0))
    np.testing.assert_allclose(metrics["target"], target_by_hand(n_step, renewed), rtol=1e-5)


def test_a_world_that_broke_leaves_no_transition():
    """Rows 3 and 4 with an opening row that follows no final one: only what leads to it is lost."""
    broken = batch(last=np.array([0, 0, 0, 0, 0, 1], bool))
    _, (_, metrics) = make()(PARAMS, SLOW, broken, jax.random.key(0))
    np.testing.assert_allclose(metrics["critic_loss"], by_hand()[0], rtol=1e-6)


def test_each_network_gets_its_own_gradient_alone():
    loss = make(smoothing_stddev=0.2)

    def part(name):
        return jax.grad(lambda p: loss(p, SLOW, batch(), jax.random.key(0))[1][1][name])(PARAMS)

    whole = jax.grad(lambda p: loss(p, SLOW, batch(), jax.random.key(0))[0])(PARAMS)
    critics, actors = part("critic_loss"), part("actor_loss")
    assert critics["actor"] == 0 and not actors["critic"].any()
    np.testing.assert_array_equal(whole["actor"], actors["actor"])
    np.testing.assert_array_equal(whole["critic"], critics["critic"])
    np.testing.assert_allclose(whole["actor"], -2 * X[[0, 1, 2, 4]].mean(), rtol=1e-6)  # d -Q_1 / d a = -2
    assert (critics["critic"] != 0).all()
    still = jax.grad(lambda s: loss(PARAMS, s, batch(), jax.random.key(0))[0])(SLOW)
    assert not any(leaf.any() for leaf in jax.tree.leaves(still))


def test_numbers_that_mean_nothing_do_not_reach_a_gradient():
    """The row that opens an episode belongs to no transition: its reward, and what a final row's action was."""
    loss = make()

    def slopes(rows):
        return jax.grad(lambda p: loss(p, SLOW, rows, jax.random.key(0))[0])(PARAMS)

    spoilt = slopes(batch(reward=np.where(np.arange(6) == 4, np.nan, REWARD)))
    for a, b in zip(*map(jax.tree.leaves, (slopes(batch()), spoilt)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()


def test_huber():
    np.testing.assert_allclose(losses.huber(jnp.array([0.0, 0.5, -1.0, 3.0, -3.0])), [0, 0.125, 0.5, 2.5, 2.5])
    np.testing.assert_allclose(losses.huber(jnp.array([1.0, 3.0]), 2.0), [0.5, 4.0])
    np.testing.assert_allclose(jax.vmap(jax.grad(losses.huber))(jnp.array([0.5, 3.0, -3.0])), [0.5, 1.0, -1.0])


def test_smoothing_is_clipped_in_units_of_half_the_range_and_stays_in_it():
    low, high = jnp.array([-1.0, -10.0, 0.0]), jnp.array([1.0, 10.0, 1.0])
    middle = jnp.broadcast_to(0.5 * (low + high), (20_000, 3))
    noise = (losses.smoothed(middle, jax.random.key(0), low, high) - middle) / (0.5 * (high - low))
    np.testing.assert_allclose(jnp.abs(noise).max(0), 0.5, atol=1e-6)
    np.testing.assert_allclose(noise.std(0), 0.2, atol=0.01)  # few of the draws are beyond 2.5 sigma
    edge = losses.smoothed(jnp.broadcast_to(high, (1000, 3)), jax.random.key(1), low, high)
    assert (edge <= high).all() and (edge < high).any(0).all()
    wild = losses.smoothed(middle, jax.random.key(2), low, high, stddev=100.0, clip=0.25)
    np.testing.assert_allclose(jnp.abs(wild - middle).max(0), 0.25 * 0.5 * (high - low), rtol=1e-5)


def test_target_actions_are_smoothed():
    draws = [
        float(make(smoothing_stddev=0.2)(PARAMS, SLOW, batch(), jax.random.key(i))[1][1]["target"]) for i in (0, 1)
    ]
    assert draws[0] != draws[1]


# --- networks ---


def test_the_action_enters_both_layers_of_two_independent_critics():
    x, action = jax.random.normal(jax.random.key(0), (7, 5)), jax.random.normal(jax.random.key(1), (7, 2))
    net = TwinCritic((8, 6))
    params = net.init(jax.random.key(2), x, action)["params"]
    assert params["first_0"]["kernel"].shape == (7, 8) and params["first_1"]["kernel"].shape == (10, 6)
    for i, name in enumerate(("first", "second")):
        h = jnp.concatenate([x, action], -1)
        for layer in ("0", "1"):
            h = jnp.maximum(h @ params[f"{name}_{layer}"]["kernel"] + params[f"{name}_{layer}"]["bias"], 0)
            h = jnp.concatenate([h, action], -1) if layer == "0" else h
        q = (h @ params[f"{name}_value"]["kernel"])[:, 0]
        np.testing.assert_allclose(net.apply({"params": params}, x, action)[i], q, atol=1e-6)
    slope = jax.grad(lambda p: net.apply({"params": p}, x, action)[0].sum())(params)
    assert all(leaf.any() == name.startswith("first") for name in ("first_0", "second_0") for leaf in
               [slope[name]["kernel"]])  # fmt: skip


def test_initial_weights():
    """U(-1/sqrt(D), 1/sqrt(D)) of D inputs; last layers U(-0.003, 0.003); biases 0."""
    params = DeterministicActor(4, (300, 300)).init(jax.random.key(0), jnp.zeros((1, 25)))["params"]
    for name, bound in (("Dense_0", 1 / 5), ("Dense_1", 1 / 300**0.5), ("Dense_2", 3e-3)):
        kernel = params[name]["kernel"]
        np.testing.assert_allclose([kernel.min(), kernel.max()], [-bound, bound], rtol=0.01)
        np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.05)
        assert not params[name]["bias"].any()
    critic = TwinCritic().init(jax.random.key(0), jnp.zeros((1, 25)), jnp.zeros((1, 4)))["params"]
    assert 2.9e-3 < jnp.abs(critic["second_value"]["kernel"]).max() <= 3e-3


def test_a_controller_acts_and_explores_within_its_range():
    low, high = jnp.array([-2.0, 0.0]), jnp.array([2.0, 1.0])
    one = td3.controller(low, high, (16,))
    x = 100.0 * jax.random.normal(jax.random.key(0), (500, 3))
    params = jax.tree.map(lambda leaf: 1e3 * leaf, one.init(jax.random.key(1), x[:1]))
    action = one.act(params, x)
    np.testing.assert_allclose(action.min(0), low, atol=1e-5)
    np.testing.assert_allclose(action.max(0), high, atol=1e-5)
    assert one.value(params, x, action).shape == (2, 500)
    middle = jnp.broadcast_to(jnp.array([0.0, 0.5]), (20_000, 2))
    noise = one.explore(middle, 0.1, jax.random.key(2)) - middle
    np.testing.assert_allclose(noise.std(0), [0.2, 0.05], rtol=0.03)
    edge = one.explore(jnp.broadcast_to(high, (100, 2)), 0.1, jax.random.key(2))
    assert (edge <= high).all() and (edge < high).any()


# --- less often ---


def test_an_optimiser_at_every_second_update_is_the_optimiser_on_every_second_gradient():
    params = {"w": jnp.array([1.0, -2.0])}
    gradients = [{"w": jax.random.normal(jax.random.key(i), (2,))} for i in range(7)]
    tx, alone = every(2, optax.adam(0.1)), optax.adam(0.1)
    state, own = tx.init(params), alone.init(params)
    expected = params
    for i, gradient in enumerate(gradients):
        change, state = tx.update(gradient, state, params)
        if i % 2 == 1:
            due, own = alone.update(gradient, own, expected)
            expected = optax.apply_updates(expected, due)
        else:
            np.testing.assert_array_equal(change["w"], 0.0)
        params = optax.apply_updates(params, change)
        assert same(params, expected) and same(state.inner_state, own)
    plain = optax.adam(0.1)
    assert every(1, plain) is plain


def test_a_moving_average_with_a_period_moves_then_alone():
    part = slow.moving_averages({"w": 0.25}, period=3)
    state = part.init({"w": jnp.float32(0.0)})
    values = []
    for steps in range(1, 7):
        state = part.follow(state, {"w": jnp.float32(steps)}, jnp.int32(steps))
        values.append(float(state["w"]))
    assert values == [0.0, 0.0, 0.75, 0.75, 0.75, 0.75 * 0.75 + 0.25 * 6]


def counted(period, seeds=False):
    """Losses, metrics and parameters of seven updates of a learner whose loss is due at every period-th."""

    def fit(params, slow_now, batch, key):
        error = jnp.square(params["w"] - 1.0) + 0.0 * batch.step.reward.sum()
        return error, (slow_now, {"error": error})

    tx = every(period, optax.adam(0.1))
    one = learner(lambda key: {"w": jnp.float32(0.0)}, loss_every(period, fit), tx,
                  slow.combined({"updates": slow.counter()}))  # fmt: skip
    init, update = (jax.vmap(one.init), jax.vmap(one.update)) if seeds else (one.init, one.update)
    keys = jax.random.split(jax.random.key(0), 2) if seeds else jax.random.key(0)
    rows = jax.tree.map(lambda x: jnp.stack([x, x]), batch()) if seeds else batch()
    return init(keys), jax.jit(update), rows, keys


def test_a_loss_at_every_third_update_is_measured_and_moves_then_alone():
    state, update, rows, key = counted(3)
    seen = []
    for _ in range(7):
        state, metrics = update(state, rows, key)
        seen.append((float(metrics["error"]), float(metrics["learner/loss"]), float(state.params["w"])))
    error, loss, w = map(np.array, zip(*seen, strict=True))
    due = np.array([0, 0, 1, 0, 0, 1, 0], bool)
    np.testing.assert_array_equal(np.isfinite(error), due)
    np.testing.assert_array_equal(loss != 0, due)
    np.testing.assert_array_equal(np.diff(w, prepend=0.0) != 0, due)
    assert state.health.skipped == 0 and state.slow["updates"] == 7


def test_a_loss_that_is_not_due_costs_nothing_under_seeds_either():
    """The branch stays a branch, and is not turned into a select of both sides."""
    state, update, rows, keys = counted(3, seeds=True)
    assert "cond[" in str(jax.make_jaxpr(update)(state, rows, keys))
    for _ in range(3):
        state, metrics = update(state, rows, keys)
    assert metrics["error"].shape == (2,) and (state.params["w"] > 0).all()


def test_a_skipped_update_keeps_loss_and_optimiser_in_step():
    """An update left out for bad numbers counts for neither, so that the loss is due when its optimiser is."""
    state, update, rows, key = counted(2)
    bad = rows._replace(step=rows.step._replace(reward=jnp.full_like(rows.step.reward, jnp.nan)))
    seen = []
    for given in (rows, bad, rows, rows, rows, rows):
        before = state.params["w"]
        state, metrics = update(state, given, key)
        seen.append((bool(np.isfinite(metrics["error"])), bool(state.params["w"] != before)))
    assert state.health.skipped == 1 and state.slow["updates"] == state.opt.step == 5
    assert seen == [(False, False), (False, False), (True, True), (False, False), (True, True), (False, False)]


@pytest.mark.parametrize("one", [every, loss_every])
def test_a_period_below_one_is_refused(one):
    with pytest.raises(ValueError, match="period of .* must be >= 1, got 0"):
        one(0, None)
    with pytest.raises(ValueError, match="period of a moving average must be >= 1, got 0"):
        slow.moving_averages({"w": 0.1}, period=0)
