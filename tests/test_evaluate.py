"""Figures of episodes, on rewards that a person can add up."""

import jax
import jax.numpy as jnp
import pytest

from skillhier.train import evaluate
from skillhier.types import Bounds, Env, Policy, Spec, TimeStep, Trajectory


def seen(first, last, reward):
    first, last, reward = (jnp.array(rows).T for rows in (first, last, reward))  # written world by world
    step = TimeStep({}, reward.astype(float), jnp.ones_like(reward, float), first.astype(bool), last.astype(bool))
    return Trajectory(step, jnp.zeros((*first.shape, 1)), {})


def test_an_episode_ends_where_it_says_and_what_follows_is_another():
    told = evaluate.figures(
        seen(
            first=[[1, 0, 0, 1, 0], [1, 0, 0, 0, 0], [1, 0, 1, 0, 0]],  # ended, still running, broken after row 1
            last=[[0, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]],
            reward=[[0, 1, 2, 0, 50], [0, 1, 1, 1, 0.5], [0, 3, 0, 50, 50]],
        ),
        success=1.0,
    )
    assert float(told["return"]) == pytest.approx((3 + 3.5 + 3) / 3)
    assert float(told["length"]) == pytest.approx((2 + 4 + 1) / 3)
    assert float(told["final_reward"]) == pytest.approx((2 + 0.5 + 3) / 3)
    assert float(told["broken"]) == pytest.approx(1 / 3)
    assert float(told["success"]) == pytest.approx(1 / 3)  # the broken world's 3 does not count


def test_success_may_be_what_an_entry_shows_on_the_last_row():
    rows = seen(
        first=[[1, 0, 0], [1, 0, 1], [1, 0, 1]],  # closed in row 2, in row 1, broken after row 1
        last=[[0, 0, 1], [0, 1, 0], [0, 0, 0]],
        reward=[[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    )
    won = jnp.array([[0, 1, 0], [0, 1, 0], [1, 1, 1]]).T.astype(float)  # the first one only for a while
    rows = rows._replace(step=rows.step._replace(obs={"won": won[:, :, None, None]}))
    assert float(evaluate.figures(rows, "won")["success"]) == pytest.approx(1 / 3)


def test_episodes_run_the_policy_with_its_params_to_the_limit():
    spec = Spec({}, Bounds((1,), -1, 1), worlds=2, interval=0.05, limit=4)

    def shown(count, reward):
        return TimeStep({}, reward, jnp.ones(2), jnp.full(2, count == 0), jnp.full(2, count == 4))

    env = Env(
        lambda key: (jnp.int32(0), shown(0, jnp.zeros(2))),
        lambda count, action: (count + 1, shown(count + 1, action[:, 0])),
        spec,
    )
    policy = Policy(lambda worlds: (), lambda params, carry, step, key: (carry, jnp.full((2, 1), params), {}))
    told = evaluate.episodes(env, policy, success=0.5)(jnp.float32(0.5), jax.random.key(0))
    assert {name: float(value) for name, value in told.items()} == {
        "return": 2.0, "length": 4.0, "final_reward": 0.5, "broken": 0.0, "success": 1.0,
    }  # fmt: skip


def test_totals_sum_an_entry_over_the_rows_that_a_reward_would_be_paid_on():
    rows = seen(
        first=[[1, 0, 0, 1], [1, 0, 1, 0]],  # ended in row 2; broken after row 1
        last=[[0, 0, 1, 0], [0, 0, 0, 0]],
        reward=[[0, 0, 0, 0], [0, 0, 0, 0]],
    )
    paid = jnp.array([[9, 1, 2, 50], [9, 4, 50, 50]]).T.astype(float)
    rows = rows._replace(step=rows.step._replace(obs={"staged": paid[:, :, None, None]}))
    assert float(evaluate.figures(rows, totals={"total": "staged"})["total"]) == pytest.approx((3 + 4) / 2)
