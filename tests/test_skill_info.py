"""What a window says of its skill: by hand, where it is paid, and what the predictors learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from skillhier.losses import skill_info
from skillhier.nets import heads
from skillhier.ops import predictions
from skillhier.ops.predictions import Prediction
from skillhier.types import TimeStep, Trajectory

K, N, B, Z = 2, 2, 2, 1  # period, windows, worlds, numbers of a skill
T = N * K + 1
PARAMS = {"predictor": jnp.asarray(0.1), "start_predictor": jnp.asarray(0.3)}
KEY = jax.random.key(0)
X = np.arange(T * B, dtype=np.float32).reshape(T, B)
SKILL = np.array([[1.0, 2.0], [1.0, 2.0], [-1.0, 0.5], [-1.0, 0.5], [7.0, 7.0]], np.float32)  # by row; row 4: of none


def features(entries):
    return entries["x"][..., None]


def predict(params, flat):
    """The sum of what it sees, times a number; minus the squared error as log-probability."""
    mean = params * flat.sum(-1, keepdims=True)
    return Prediction(mean, lambda skill: -jnp.square(mean - skill).sum(-1))


def rows(x=X, skill=SKILL, worlds=B):
    no = jnp.zeros(np.shape(skill), bool)
    step = TimeStep({"x": jnp.asarray(x)}, jnp.zeros(no.shape), jnp.ones(no.shape), no, no)
    notes = {
        "skill": jnp.asarray(skill)[..., None],
        "skill/mean": jnp.asarray(skill)[..., None] - 0.5,
        "skill/stddev": jnp.full((*no.shape, 1), 2.0),
    }
    return Trajectory(step, jnp.zeros((*no.shape, 1)), notes)


def information(**settings):
    reward = skill_info.information_reward(predict, features, period=K, noise=0.0, **settings)
    return np.asarray(reward(PARAMS, rows(), KEY))


# of window n and world b: the predictor sees the row of the choice and the two rows after it
def log_of(seen):
    """[N, B] of what a predictor says where it sees seen(n, b)."""
    return np.array([[-((seen(2 * n, b) - SKILL[2 * n, b]) ** 2) for b in range(B)] for n in range(N)])


LOG_Q = log_of(lambda row, b: 0.1 * X[row : row + 3, b].sum())
LOG_START = log_of(lambda row, b: 0.3 * X[row, b])
LOG_PRIOR = -0.5 * 0.25**2 - np.log(2.0) - 0.5 * np.log(2 * np.pi)


def test_it_is_paid_on_the_last_row_of_a_window():
    known = np.zeros((T, B))
    known[[2, 4]] = LOG_Q
    assert information() == pytest.approx(known, abs=1e-5)


def test_where_the_last_row_pays_nobody_the_row_before_is_paid():
    known = np.zeros((T, B))
    known[[2, 3]] = LOG_Q
    assert information(last_row=T - 2) == pytest.approx(known, abs=1e-5)


def test_it_is_paid_in_equal_shares_on_each_row():
    known = np.zeros((T, B))
    known[1:] = np.repeat(LOG_Q / K, K, axis=0)
    assert information(place="each") == pytest.approx(known, abs=1e-5)


def test_no_share_is_lost_where_the_last_row_pays_nobody():
    known = np.zeros((T, B))
    known[[1, 2]] = LOG_Q[0] / K
    known[3] = LOG_Q[1]
    assert information(place="each", last_row=T - 2) == pytest.approx(known, abs=1e-5)


def test_constants_and_what_is_known_beforehand_are_taken_off():
    assert information(constant=4.0)[[2, 4]] == pytest.approx(LOG_Q + 4.0, abs=1e-5)
    assert information(subtract_start=True)[[2, 4]] == pytest.approx(LOG_Q - LOG_START, abs=1e-5)
    assert information(subtract_prior=True)[[2, 4]] == pytest.approx(LOG_Q - LOG_PRIOR, abs=1e-5)


def test_it_depends_on_the_states_and_pulls_at_all_of_a_window():
    reward = skill_info.information_reward(predict, features, period=K, noise=0.0)
    pull = np.asarray(jax.grad(lambda x: reward(PARAMS, rows(x), KEY)[2].sum())(jnp.asarray(X)))
    assert (pull[:3] != 0).all() and (pull[3:] == 0).all()


def test_noise_is_drawn_for_every_row_and_again_with_every_key():
    reward = skill_info.information_reward(predict, features, period=K, noise=0.3)
    one, other = (np.asarray(reward(PARAMS, rows(), jax.random.key(i)))[[2, 4]] for i in (0, 1))
    assert (one != other).all() and (one != LOG_Q).all()
    flat = rows(np.zeros((T, B), np.float32))
    say = lambda params, x: Prediction(x, lambda z: x)  # noqa: E731
    seen = skill_info.log_q(say, None, skill_info.windows(flat, K, features)[0], None, 0.3, KEY)
    assert seen.shape == (N * B, K + 1) and len(np.unique(np.asarray(seen))) == seen.size


def test_rows_seen():
    assert skill_info.rows_seen(1) == [0, 1]
    assert skill_info.rows_seen(10) == list(range(11))
    assert skill_info.rows_seen(30) == [0, *range(3, 31, 3)]  # as many: weights survive a change of the period
    with pytest.raises(ValueError, match="agent.period"):
        skill_info.rows_seen(15)


def test_a_long_window_shows_its_equally_spaced_rows():
    x = np.arange(31, dtype=np.float32)[:, None]
    seen, skill, _ = skill_info.windows(rows(x, np.full((31, 1), 3.0, np.float32)), 30, features)
    assert seen[:, 0, 0].tolist() == [0, *range(3, 31, 3)] and skill.tolist() == [[3.0]]


def test_windows_are_those_of_a_choice():
    seen, skill, _ = skill_info.windows(rows(), K, features)
    assert seen.shape == (K + 1, N * B, 1)
    assert skill[:, 0].tolist() == [1.0, -1.0, 2.0, 0.5]  # window n of world b is b N + n
    assert seen[:, 1, 0].tolist() == X[2:5, 0].tolist() and seen[:, 2, 0].tolist() == X[:3, 1].tolist()


def test_the_predictors_loss_by_hand_and_its_gradients():
    loss = skill_info.predictor_loss(predict, features, period=K, noise=0.0)
    value, metrics = loss(PARAMS, rows(), KEY)
    assert float(value) == pytest.approx(-(LOG_Q.mean() + LOG_START.mean()), rel=1e-5)
    assert float(metrics["log_q"]) == pytest.approx(LOG_Q.mean(), rel=1e-5)
    assert float(metrics["information"]) == pytest.approx(LOG_Q.mean() - LOG_START.mean(), rel=1e-4)
    assert (np.asarray(jax.grad(lambda x: loss(PARAMS, rows(x), KEY)[0])(jnp.asarray(X))) == 0).all()
    slopes = jax.grad(lambda p: loss(p, rows(), KEY)[0])(PARAMS)
    assert all(abs(float(slope)) > 1e-3 for slope in slopes.values())


@jax.jit
def learned_information(tells):
    """Of predictors that learned from windows whose later rows say the skill, tells = 1, or nothing, 0."""
    head = heads.vector(Z, predictions.clamped_normal(), (16,))
    loss = skill_info.predictor_loss(head.apply, features, period=K, noise=0.1)
    keys = jax.random.split(KEY, 2)
    params = {"predictor": head.init(keys[0], K + 1), "start_predictor": head.init(keys[1], 1)}
    tx = optax.adam(1e-2)

    def batch(key):
        skill_key, noise_key = jax.random.split(key)
        skill = jnp.broadcast_to(jax.random.normal(skill_key, (1, 64)), (K + 1, 64))
        x = jax.random.normal(noise_key, (K + 1, 64)) * 0.1
        return rows(x.at[1:].add(tells * skill[1:]), skill)

    def update(carry, key):
        params, opt = carry
        batch_key, loss_key = jax.random.split(key)
        (_, metrics), slope = jax.value_and_grad(loss, has_aux=True)(params, batch(batch_key), loss_key)
        change, opt = tx.update(slope, opt)
        return (optax.apply_updates(params, change), opt), metrics["information"]

    logged = jax.lax.scan(update, (params, tx.init(params)), jax.random.split(KEY, 300))[1]
    return logged[-100:].mean()


def test_information_is_nothing_where_windows_say_nothing():
    assert float(learned_information(0.0)) == pytest.approx(0.0, abs=0.05)
    assert float(learned_information(1.0)) > 0.8  # nats


def test_it_refuses_another_place():
    with pytest.raises(ValueError, match="agent.mi_place"):
        information(place="first")


def test_one_row_tells_one_of_several_skills_by_hand():
    """Logits (0, x, 2 x): log q + log 3 of skills 0, 1, 2 and 0 at x = 0, 1, -1, 2; an ignorant predictor tells 0."""

    def scores(params, flat):
        return predictions.one_hot().read(params * flat * jnp.arange(3.0), 1)

    x, skill = jnp.array([[0.0, 1.0], [-1.0, 2.0]]), jnp.array([[0, 1], [2, 0]])
    nats = skill_info.told_apart(scores, 1.0, x[..., None], skill, 3)
    e = np.exp
    expected = [[0.0, np.log(3 * e(1) / (1 + e(1) + e(2)))],
                [np.log(3 * e(-2) / (1 + e(-1) + e(-2))), np.log(3 / (1 + e(2) + e(4)))]]  # fmt: skip
    np.testing.assert_allclose(nats, expected, atol=1e-6)
    np.testing.assert_allclose(skill_info.told_apart(scores, 0.0, x[..., None], skill, 3), 0.0, atol=1e-6)
    sure = skill_info.told_apart(scores, 100.0, jnp.full((1, 1, 1), 1.0), jnp.full((1, 1), 2), 3)
    np.testing.assert_allclose(sure, np.log(3), rtol=1e-6)
