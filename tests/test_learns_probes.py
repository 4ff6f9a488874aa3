"""Every agent that learns by MPO in worlds of known value and optimum: its critic finds one, its policy the other."""

import jax
import jax.numpy as jnp
import pytest

from skillhier.agents import registry
from skillhier.data import online, replay
from skillhier.envs import probe
from skillhier.nets.skills import Components, LatentActor
from skillhier.train import evaluate, loop

FAST = {"dual_learning_rate": 0.05, "epsilon_mean": 0.05, "epsilon_stddev": 1e-3, "learning_rate": 3e-3, "gamma": 0.5}
WORLDS = 16
SHARE = 0.95  # of the return within reach that a policy must earn


def system(name, spec, **settings):
    """An online agent of small nets for worlds of `spec`; its skills, if it has some, are random."""
    entry = registry.entry(name)
    sizes = {"low": (), "mid": (), "latent": 2, "skills": 4, "hidden": (16, 16), "action_stddev": 0.05}
    own = entry.settings_of(sizes | {"name": entry.sources[0]}) if entry.sources else {}
    return registry.make(name, spec, **{"hidden": (32, 32), "samples": 8, "target_period": 10} | own | settings)


def source_of(agent, env):
    memory = replay.make(200, env.spec, extras=agent.replay_extras)
    return online.online(
        env, agent.explore, memory, unroll_length=4, batch_size=32, sequence_length=4, prefill=20,
        first_params=lambda key: agent.learner.init(key).params,
    )  # fmt: skip


def within_reach(name, agent, params, env) -> float:
    """The greedy return that the frozen skills allow: by target the best of K skills, or of 64 latents of the prior."""
    if "skills" not in params or "low" not in params["skills"]:
        return float(env.spec.limit)  # the action is its own
    x = jnp.array([[-0.5], [0.5]])  # both targets, as its encoders see them
    skills = params["skills"]
    if name == "helms_cat":
        z, _ = Components(4, 2, (16, 16)).apply({"params": skills["mid"]}, x)
    else:
        z = jnp.broadcast_to(jax.random.normal(jax.random.key(9), (64, 1, 2)), (64, 2, 2))
    action = LatentActor(1, (16, 16)).apply({"params": skills["low"]}, x, z)[..., 0]
    return env.spec.limit * float((1 - (action - x[:, 0]) ** 2).max(0).mean())


def fast(*names):
    """All of them, of which these are in the fast suite."""
    slow = [pytest.param(name, marks=pytest.mark.slow) for name in registry.BY_MPO if name not in names]
    return pytest.mark.parametrize("name", [*names, *slow])


@fast("helms_mix")
def test_its_critic_finds_the_value(name):
    """1 / (1 - gamma) where every step pays 1 and only the clock cuts episodes."""
    env = probe.constant_reward(WORLDS)
    agent = system(name, env.spec, learning_rate=3e-3, gamma=0.5)
    source = source_of(agent, env)
    run = loop.epoch(agent.learner, source, 300)
    state, _, _ = run(loop.start(agent.learner, source, jax.random.key(0)))
    _, metrics, _ = run(state)
    assert float(metrics["control/q"]) == pytest.approx(2.0, abs=0.01)


@fast("mpo", "helms_cat")
def test_its_policy_comes_near_the_optimum(name):
    """Greedy, it earns nearly what its actions allow; where those are its own, more than a constant action can, 7.5."""
    env = probe.action_reward(WORLDS)
    agent = system(name, env.spec, **FAST)
    source = source_of(agent, env)
    run = loop.epoch(agent.learner, source, 400)
    state = loop.start(agent.learner, source, jax.random.key(0))
    for _ in range(3):
        state, _, _ = run(state)
    params = state.learner.params
    earned = float(evaluate.episodes(env, agent.exploit)(params, jax.random.key(1))["return"])
    reach = within_reach(name, agent, params, env)
    assert state.learner.health.skipped == 0
    assert earned > SHARE * reach, (earned, reach)
    assert earned > 9.0 or "skills" in params
