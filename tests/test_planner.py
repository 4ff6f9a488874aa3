"""Planning skills: in dreams whose best skill is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.ops import returns
from skillhier.policies import imagine, planner
from skillhier.policies.flat import flat
from skillhier.types import TimeStep

SIZE, B = 2, 3
WANTED = jnp.array([[0.8, -0.4], [-1.2, 0.3], [0.0, 0.6]])  # [B, Z] of each start, its own
PARAMS = {"weight": jnp.asarray(1.0)}


def imagine_row(params, entries, action, key):
    """Remembers what was wanted, what was done, and how often."""
    return {**entries, "done": action, "rows": entries["rows"] + 1}


def reward(params, entries):
    """Best is the wanted skill in rows 1 and 2, and its opposite after that."""
    sign = jnp.where(entries["rows"] <= 2, 1.0, -1.0)
    return -params["weight"] * jnp.square(entries["done"] - sign[:, None] * entries["wanted"]).sum(-1)


WORLD = imagine.dream(imagine_row, reward, shows={"value": lambda params, entries: 0.0 * entries["rows"]})
WORKER = flat(lambda params, obs, key: (obs["skill"], {}))


def score(params, rows):
    moves = returns.transitions(rows.step, 1.0)
    return returns.lambda_returns(moves, rows.step.obs["value"][1:], 1.0)[0]


def step(worlds=B):
    obs = {"wanted": WANTED[:worlds], "done": jnp.zeros((worlds, SIZE)), "rows": jnp.zeros(worlds)}
    no = jnp.zeros(worlds, bool)
    return TimeStep(obs, jnp.zeros(worlds), jnp.ones(worlds), no, no)


def make(**settings):
    settings = {
        "size": SIZE, "period": 2, "horizon": 2, "proposals": 48, "elites": 6, "iterations": 8, "mean_noise": 0.0,
    } | settings  # fmt: skip
    return planner.plan(WORLD, WORKER, score, **settings)


@functools.lru_cache(maxsize=16)
def jitted(**settings):
    policy = make(**settings)
    return policy, jax.jit(policy.act)


def play(rows=1, **settings):
    policy, act = jitted(**settings)
    carry, skills, notes = policy.init(B), [], []
    for t in range(rows):
        carry, skill, noted = act(PARAMS, carry, step(), jax.random.key(t))
        skills.append(np.asarray(skill)), notes.append({name: np.asarray(x) for name, x in noted.items()})
    return skills, notes, carry


def test_it_finds_each_starts_own_best_skill():
    (skill,), (notes,), _ = play(sample=False)
    np.testing.assert_allclose(skill, WANTED, atol=0.05)
    assert set(notes) == {"mean", "stddev", "gain"}
    assert (notes["mean"] == skill).all() and (notes["stddev"] < 0.1).all() and (notes["gain"] > 0).all()


def test_a_sample_differs_from_the_mean_by_its_deviation():
    (skill,), (notes,), _ = play(sample=True)
    np.testing.assert_allclose(skill, WANTED, atol=0.1)
    assert (skill != notes["mean"]).all() and (np.abs(skill - notes["mean"]) < 5 * notes["stddev"]).all()


def test_noise_on_the_mean_keeps_skills_apart_and_greed_has_none():
    (_,), (noisy,), _ = play(sample=True, mean_noise=1.0)
    assert np.abs(noisy["mean"] - WANTED).max() > 0.3
    (skill,), _, _ = play(sample=False, mean_noise=1.0)
    np.testing.assert_allclose(skill, WANTED, atol=0.05)


@pytest.mark.parametrize("sample", [True, False])
def test_only_the_first_starts_are_planned_for(sample):
    (skill,), (notes,), _ = play(sample=sample, starts=2)
    np.testing.assert_allclose(skill[:2], WANTED[:2], atol=0.1)
    assert (notes["mean"][2] == 0).all() and (notes["stddev"][2] == 1).all() and notes["gain"][2] == 0
    assert (notes["gain"][:2] > 0).all() and (skill[2] != 0).all()  # drawn from N(0, I), in the greedy policy too


def test_one_gaussian_for_all_is_best_on_average():
    (skill,), (notes,), _ = play(sample=False, shared=True)
    np.testing.assert_allclose(skill, np.broadcast_to(np.asarray(WANTED).mean(0), (B, SIZE)), atol=0.05)


def test_a_plan_of_several_skills_is_followed_in_order_and_then_made_anew():
    settings = {"horizon": 4, "proposals": 192, "elites": 12, "iterations": 12, "sample": False, "follow": True}
    skills, notes, carry = play(rows=3, **settings)
    assert carry.plan.shape == (B, 2, SIZE)
    np.testing.assert_allclose(skills[0], WANTED, atol=0.1)
    np.testing.assert_allclose(skills[1], -np.asarray(WANTED), atol=0.1)  # best after two rows
    np.testing.assert_allclose(skills[2], WANTED, atol=0.1)  # a new plan
    assert (notes[0]["gain"] > 0).all() and (notes[1]["gain"] == 0).all() and (notes[2]["gain"] > 0).all()
    assert (notes[1]["mean"] == skills[1]).all()


def test_without_following_it_plans_at_every_choice():
    skills, notes, carry = play(rows=2, horizon=3, sample=False)
    assert carry.plan.shape == (B, 2, SIZE)  # ceil(3 / 2)
    np.testing.assert_allclose(skills[1], WANTED, atol=0.15)
    assert (notes[1]["gain"] > 0).all()


def test_parameters_and_observations_get_no_gradient():
    policy = make(proposals=4, elites=2, iterations=2, sample=True)  # the gain is that of the second iteration

    def total(params, wanted):
        now = step()
        obs = {**now.obs, "wanted": wanted}
        _, skill, notes = policy.act(params, policy.init(B), now._replace(obs=obs), jax.random.key(0))
        return skill.sum() + notes["mean"].sum() + notes["gain"].sum()

    slopes = jax.jit(jax.grad(total, (0, 1)))(PARAMS, WANTED)
    assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(slopes))


def test_the_search_keeps_no_latents():
    """Its compiled program holds no array of horizon x latents: what the score does not read is never stored."""
    wide, horizon = 1013, 7
    grow = imagine.dream(
        lambda params, entries, action, key: {"deter": jnp.tanh(entries["deter"] + action[:, :1])},
        lambda params, entries: entries["deter"].sum(-1),
        shows={"value": lambda params, entries: entries["deter"].sum(-1)},
    )
    policy = planner.plan(grow, WORKER, score, size=SIZE, period=horizon, horizon=horizon, proposals=4, elites=2,
                          iterations=2)  # fmt: skip
    now = step()._replace(obs={"deter": jnp.ones((B, wide))})
    text = jax.jit(policy.act).lower(PARAMS, policy.init(B), now, jax.random.key(0)).compile().as_text()
    assert f",{wide}]" in text
    for rows in (horizon, horizon + 1):
        assert f"[{rows},{4 * B},{wide}]" not in text and f"[{rows},{4 * B * wide}]" not in text


def test_the_prior_draws_from_the_unit_gaussian_and_says_so():
    prior = planner.prior(SIZE)
    many = step()._replace(first=jnp.zeros(4000, bool))
    _, skill, notes = prior.act(None, prior.init(4000), many, jax.random.key(0))
    assert skill.shape == (4000, SIZE) and (np.asarray(notes["mean"]) == 0).all() and (notes["stddev"] == 1).all()
    np.testing.assert_allclose([skill.mean(), skill.std()], [0, 1], atol=0.05)
