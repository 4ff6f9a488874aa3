"""What is LSP's own: skills that are held, seen by the worker alone, planned for and told apart; and its variants."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imagining import SKILLS, system

from skillhier.envs import probe
from skillhier.rollout import rollout, start
from skillhier.types import TimeStep, Trajectory

VARIANTS = ("lsp", "no_mi", "random_skills", "rand_skills_init")
ENV = probe.constant_reward(2, limit=4)


@functools.cache
def made(name, **settings):
    agent = system(name, ENV.spec, **settings)
    return agent, jax.eval_shape(agent.learner.init, jax.random.key(0))


@functools.cache
def params():
    return jax.jit(made("lsp")[0].learner.init)(jax.random.key(0)).params


def play(policy, rows, key=0):
    run = jax.jit(lambda params, key: rollout(ENV, policy, params, start(ENV, policy, key), key, rows)[1])
    return run(params(), jax.random.key(key))


def batch(t=4, b=3):
    shape = lambda *rest: jax.ShapeDtypeStruct((t, b, *rest), jnp.float32)  # noqa: E731
    flag = jax.ShapeDtypeStruct((t, b), bool)
    return Trajectory(TimeStep({"one": shape(1, 1)}, shape(), shape(), flag, flag), shape(1), {})


def metrics(name, **settings):
    """The names of what an update tells; nothing is computed."""
    agent, state = made(name, **settings)
    return set(jax.eval_shape(agent.learner.update, state, batch(), jax.random.key(0))[1])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_has_and_tells_what_it_uses(name):
    _, state = made(name)
    informed, planned = name in ("lsp", "random_skills"), name in ("lsp", "no_mi")
    assert set(state.params) == {"world", "worker"} | ({"skills"} if informed else set())
    logged = metrics(name)
    assert ("skills/information" in logged) == informed and ("skills/gain" in logged) == planned
    assert {"worker/actor_loss", "worker/critic_loss", "world/loss"} <= logged


def test_the_worker_sees_the_skill_and_its_critic_does_not():
    _, state = made("lsp")
    inputs = lambda tree: {x.shape[0] for x in jax.tree.leaves(tree) if x.ndim == 2} - {8}  # noqa: E731
    features = 3 + 8
    assert features + SKILLS["skill"] in inputs(state.params["worker"]["actor"])
    assert inputs(state.params["worker"]["critic"]) == {features}
    assert 3 * features in inputs(state.params["skills"]["predictor"])  # the start and a period of 2
    assert inputs(state.params["skills"]["start_predictor"]) == {features}


@pytest.mark.parametrize(
    "settings",
    [
        {"mi_in_cem": True},
        {"mi_in_cem": True, "mi_subtract_prior": True, "plan_horizon": 8},
        {"mi_subtract_prior": True, "mi_subtract_start": True, "mi_constant": 4.257, "mi_place": "each"},
        {"rewards": "arriving", "mi_in_cem": True},
        {"per_state": False, "plan_action": "mode", "cem_starts": 0, "plan_horizon": 4},
        {"mi_target": 1.0},
        {"plan_horizon": 3},  # two skills, the second of which is held for one row
    ],
)
def test_its_settings_fit_together(settings):
    assert "skills/gain" in metrics("lsp", **settings)


def test_skills_are_held_in_the_world_and_chosen_anew_with_the_episode():
    """Episodes of 5 rows, periods of 2: rows 0, 2, 4, and then 5, 7, 9."""
    rows = play(made("lsp")[0].explore, 10)
    renewed = np.asarray(rows.extras["skill_renewed"])[:, 0]
    assert np.flatnonzero(renewed).tolist() == [0, 2, 4, 5, 7, 9]
    skill = np.asarray(rows.extras["skill"])[:, 0]
    for t in range(1, 10):
        assert (skill[t] == skill[t - 1]).all() == (not renewed[t])
    assert {"belief/stoch", "belief/deter", "skill/mean", "skill/stddev", "skill/gain"} <= set(rows.extras)


def test_one_skill_is_held_throughout():
    agent, _ = made("lsp")
    assert agent.skills == 8
    one, other = (play(agent.hold(i), 6).extras["skill"] for i in (0, 1))
    assert (np.asarray(one) == np.asarray(one[0, 0])).all() and (np.asarray(one) != np.asarray(other)).any()


def test_the_actor_listens_to_its_skill():
    """From the same latent and with the same keys, held skills give other actions."""
    agent, _ = made("lsp")
    one, other = (np.asarray(play(agent.hold(i), 3).action) for i in (0, 1))
    assert (one != other).any()


def test_the_greedy_agent_plans_without_noise():
    rows = play(made("lsp")[0].exploit, 1)
    assert (np.asarray(rows.extras["skill"]) == np.asarray(rows.extras["skill/mean"])).all()
    rows = play(made("lsp")[0].explore, 1)
    assert (np.asarray(rows.extras["skill"]) != np.asarray(rows.extras["skill/mean"])).all()
