"""Dreams: a learned world as an Env, against a scan written by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.policies import imagine
from skillhier.policies.flat import flat
from skillhier.rollout import rollout, start
from skillhier.types import Policy

PARAMS = {"drift": jnp.asarray(0.3), "gain": jnp.asarray(0.5)}
STARTS = {"deter": jnp.arange(6.0).reshape(3, 2), "stoch": jnp.ones((3, 1))}
H = 4


def imagine_row(params, entries, action, key):
    noise = jax.random.normal(key, entries["stoch"].shape)
    deter = jnp.tanh(entries["deter"] + params["drift"] * action)
    return {"deter": deter, "stoch": deter[:, :1] + 0.1 * noise}


def reward(params, entries):
    return params["gain"] * entries["deter"].sum(-1)


def continues(params, entries):
    return jax.nn.sigmoid(entries["stoch"][..., 0])


def choose(params, entries, key):
    action = entries["deter"] + jax.random.normal(key, entries["deter"].shape)
    return action, {"squared": jnp.square(action)}


POLICY = flat(choose)


@functools.cache
def rows():
    def run(params, key):
        return imagine.imagine_rows(imagine.dream(imagine_row)(params, STARTS), POLICY, params, key, H)

    return jax.jit(run)(PARAMS, jax.random.key(0))


def same(one, other):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y), one, other)


def test_a_rollout_in_a_dream_is_a_scan_by_hand():
    env_key, act_key = jax.random.split(jax.random.key(0))

    def by_hand(params):
        def row(carry, key):
            entries, env_key = carry
            action, _ = choose(params, entries, key)
            env_key, sample_key = jax.random.split(env_key)
            return (imagine_row(params, entries, action, sample_key), env_key), (entries, action)

        (last, _), (entries, actions) = jax.lax.scan(row, (STARTS, env_key), jax.random.split(act_key, H))
        return jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), entries, last), actions

    entries, actions = jax.jit(by_hand)(PARAMS)
    same(rows().step.obs, entries)
    same(rows().action[:-1], actions)


def test_the_last_row_is_seen_but_not_acted_on():
    assert rows().step.first.shape == (H + 1, 3)
    same(rows().action[-1], rows().action[-2])
    same(rows().extras["squared"][-1], rows().extras["squared"][-2])
    assert (np.asarray(rows().step.obs["deter"][-1]) != np.asarray(rows().step.obs["deter"][-2])).all()


def test_the_last_row_is_asked_for_where_its_notes_count():
    def run(params, key):
        env = imagine.dream(imagine_row)(params, STARTS)
        return imagine.imagine_rows(env, POLICY, params, key, H, ask_last=True)

    asked = jax.jit(run)(PARAMS, jax.random.key(0))
    same(asked.step, rows().step)
    same(jax.tree.map(lambda x: x[:-1], asked.extras), jax.tree.map(lambda x: x[:-1], rows().extras))
    assert (np.asarray(asked.extras["squared"][-1]) != np.asarray(asked.extras["squared"][-2])).all()
    np.testing.assert_allclose(asked.extras["squared"][-1], np.square(asked.action[-1]), rtol=1e-6)


def test_rows_of_a_dream_have_no_cuts_and_pay_nothing_by_themselves():
    step = rows().step
    assert not np.asarray(step.first).any() and not np.asarray(step.last).any()
    assert (np.asarray(step.reward) == 0).all() and (np.asarray(step.discount) == 1).all()


def test_what_rows_pay_is_computed_for_all_of_them():
    seen = jnp.array([0.0, 1.0, 1.0])
    paid = imagine.paid(PARAMS, rows(), reward, continues, seen).step
    np.testing.assert_allclose(paid.reward, 0.5 * np.asarray(rows().step.obs["deter"]).sum(-1), rtol=1e-5)
    assert (np.asarray(paid.discount[0]) == [0, 1, 1]).all()
    np.testing.assert_allclose(paid.discount[1:], continues({}, jax.tree.map(lambda x: x[1:], rows().step.obs)))
    endless = imagine.paid(PARAMS, rows(), reward).step
    assert (np.asarray(endless.discount) == 1).all()


def test_a_dream_that_pays_row_by_row_pays_the_same():
    def run(params, key):
        shows = {"value": lambda params, entries: 2 * reward(params, entries)}
        env = imagine.dream(imagine_row, reward, continues, shows)
        return imagine.imagine_rows(env(params, STARTS), POLICY, params, key, H)

    judged = jax.jit(run)(PARAMS, jax.random.key(0)).step
    paid = imagine.paid(PARAMS, rows(), reward, continues).step
    np.testing.assert_allclose(judged.reward, paid.reward, rtol=1e-6)
    np.testing.assert_allclose(judged.discount, paid.discount, rtol=1e-6)
    np.testing.assert_allclose(judged.obs["value"], 2 * paid.reward, rtol=1e-6)


def test_gradients_reach_the_policy_through_the_dream_and_the_dream_itself():
    """A dream is as differentiable as the params that it is given: who wants it frozen stops their gradient."""

    def total(params, drift):
        env = imagine.dream(imagine_row)({**PARAMS, "drift": drift}, STARTS)
        policy = flat(lambda p, obs, key: (jnp.full_like(obs["deter"], p), {}))
        return reward(PARAMS, imagine.imagine_rows(env, policy, params, jax.random.key(0), H).step.obs).sum()

    slopes = jax.jit(jax.grad(total, (0, 1)))(jnp.asarray(0.1), jnp.asarray(0.3))
    assert all(abs(float(slope)) > 0.01 for slope in slopes)


def test_a_dream_is_a_world_like_others():
    env = imagine.dream(imagine_row, reward)(PARAMS, STARTS)
    assert env.spec.worlds == 3 and env.spec.obs["deter"].shape == (2,)
    still = Policy(lambda worlds: (), lambda params, carry, step, key: (carry, jnp.zeros((3, 2)), {}))
    actor = start(env, still, jax.random.key(0))
    same(actor.step.obs, STARTS)
    np.testing.assert_allclose(actor.step.reward, reward(PARAMS, STARTS))
    _, seen = rollout(env, still, PARAMS, actor, jax.random.key(1), 2)
    assert seen.step.reward.shape == (2, 3)
