"""DIAYN: what it is paid, who learns from what, and a known optimum: skills apart, then a task by one of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from leftovers import same
from reach_world import reach_world

from skillhier.agents import diayn, registry
from skillhier.agents.learner import with_init_params
from skillhier.data import online, replay
from skillhier.rollout import rollout, start
from skillhier.train import evaluate, loop

SKILLS, LIMIT = 4, 24
SMALL = {"skills": SKILLS, "period": 5, "hidden": (16, 16), "predictor_hidden": (8,), "skill_sees": ("place",)}
PAID = {**SMALL, "gamma": 0.0, "reward_scale": 0.5}  # a target is the reward
# of the probe: much noise and a slow actor, or two skills settle in one corner, where each earns log 2 for ever
PROBE = {
    **SMALL, "period": LIMIT + 1, "hidden": (32, 32), "predictor_hidden": (32, 32), "gamma": 0.9,
    "learning_rate": 3e-3, "actor_learning_rate": 3e-4, "predictor_learning_rate": 3e-3,
    "action_noise": 0.6, "smoothing_stddev": 0.6, "smoothing_clip": 1.0,
}  # fmt: skip


@functools.cache
def begun(**settings):
    """(agent, its first state, rows of two episodes in each of three worlds, update)."""
    env = reach_world(3, limit=12)
    agent = registry.make("diayn", env.spec, **{**PAID, **settings})
    state = jax.jit(agent.learner.init)(jax.random.key(1))
    act = jax.jit(lambda params, key: rollout(env, agent.explore, params, start(env, agent.explore, key), key, 26)[1])
    return agent, state, act(state.params, jax.random.key(2)), jax.jit(agent.learner.update)


def test_a_skill_is_drawn_for_a_while_and_anew_with_an_episode():
    _, _, rows, _ = begun()
    skill, renewed = np.asarray(rows.extras["skill"]), np.asarray(rows.extras["skill_renewed"])
    due = np.isin(np.arange(26), [0, 5, 10, 13, 18, 23])  # an episode has 13 rows
    np.testing.assert_array_equal(renewed, np.repeat(due[:, None], 3, 1))
    np.testing.assert_array_equal(skill[1:][~renewed[1:]], skill[:-1][~renewed[1:]])
    drawn = skill[renewed]
    assert set(drawn) == set(range(SKILLS)) and len(set(skill[0])) > 1  # 18 draws


def told(params, rows):
    """log q of the skill that led to each row but the first, by the predictor's weights, [T - 1, B]."""
    layers = params["skills"]["predictor"]
    x = np.asarray(rows.step.obs["place"])[1:, :, 0]
    hidden = np.maximum(x @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"], 0)
    logits = np.asarray(hidden @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"])
    log_q = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.take_along_axis(log_q, np.asarray(rows.extras["skill"])[:-1, :, None], -1)[..., 0]


def test_it_is_paid_what_the_place_tells_of_the_skill_that_led_there():
    """The row that opens an episode is arrived at by none."""
    _, state, rows, update = begun()
    _, metrics = update(state, rows, jax.random.key(0))
    nats = (told(state.params, rows) + np.log(SKILLS))[np.arange(25) != 12]
    assert metrics["skills/information"] == pytest.approx(nats.mean(), abs=1e-6)
    assert metrics["control/target"] == pytest.approx(0.5 * nats.mean(), abs=1e-6)


def test_in_the_task_the_world_pays_and_one_skill_acts():
    agent, state, rows, update = begun(phase="task")
    assert not rows.extras["skill"].any()
    _, metrics = update(state, rows, jax.random.key(0))
    assert metrics["control/target"] == pytest.approx(0.5 * np.delete(rows.step.reward, [0, 13], 0).mean(), rel=1e-5)
    assert metrics["skills/chosen"] == 0 and "skills/information" not in metrics
    free, row = begun()[0], jax.tree.map(lambda x: x[3], rows.step)
    for skill in range(SKILLS):
        params = {**state.params, "chosen": jnp.float32(skill)}
        held = free.hold(skill)
        one, other = (policy.act(params, policy.init(3), row, jax.random.key(0)) for policy in (agent.exploit, held))
        np.testing.assert_array_equal(one[1], other[1])
        assert (one[2]["skill"] == skill).all()
    assert jax.tree.map(jnp.shape, state.params) == jax.tree.map(jnp.shape, begun()[1].params)


def moved(old, new):
    return {name: not same(old[name], new[name]) for name in old}


def test_who_learns_from_what():
    """phase: encoder, control, skills, chosen. What the predictor learns moves nobody else in the same update."""
    table = {"skills": {"encoder": False, "control": True, "skills": True, "chosen": False},
             "task": {"encoder": False, "control": True, "skills": False, "chosen": False}}  # fmt: skip
    for phase, row in table.items():
        _, state, rows, update = begun(**({} if phase == "skills" else {"phase": phase}))
        after, _ = update(state, rows, jax.random.key(0))
        assert moved(state.params, after.params) == row, phase
        assert moved(state.params["control"], after.params["control"]) == {"actor": True, "critic": True}
    _, state, rows, update = begun()
    one, _ = update(state, rows, jax.random.key(0))
    other, _ = begun(predictor_learning_rate=1.0)[3](state, rows, jax.random.key(0))
    assert same(one.params["control"], other.params["control"])
    assert not same(one.params["skills"], other.params["skills"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"phase": "both"}, "phase 'both' is not known; choose skills or task in agent.phase"),
        ({"skills": 0}, "skills must be >= 1, got 0; set agent.skills"),
        ({"n_step": 0}, "n must be >= 1, got 0; set agent.n_step"),
        ({"delay": 0}, "delay must be >= 1, got 0; set agent.delay"),
        ({"skill_sees": ("nothing",)}, "observation 'nothing' is not known; choose of place, wanted"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(settings, message):
    env = reach_world(2)
    with pytest.raises(ValueError, match=f"^{message}"):
        learner = diayn.make(env.spec, **{**SMALL, **settings}).learner
        jax.eval_shape(learner.update, jax.eval_shape(learner.init, jax.random.key(0)), begun()[2], jax.random.key(0))


def learning(agent, env):
    source = online.online(
        env, agent.explore, replay.make(1000, env.spec, extras=agent.replay_extras), unroll_length=4,
        updates_per_collect=2, batch_size=32, sequence_length=5, prefill=50,
        first_params=lambda key: agent.learner.init(key).params,
    )  # fmt: skip
    return source, loop.epoch(agent.learner, source, 400)


@functools.cache
def learned():
    """(env, the parameters of an agent that has learned skills, the metrics of its last updates)."""
    env = reach_world(16, limit=LIMIT, axes=2)
    agent = registry.make("diayn", env.spec, **PROBE)
    source, run = learning(agent, env)
    state = loop.start(agent.learner, source, jax.random.key(1))
    for _ in range(6):
        state, metrics, _ = run(state)
    assert run._cache_size() == 1 and int(state.learner.health.skipped) == 0
    return env, state.learner.params, metrics


def test_skills_end_in_places_of_their_own():
    """Four of them in a square of side 4. Told apart at every row they are paid log 4: Q = log 4 / (1 - gamma)."""
    env, params, metrics = learned()
    assert metrics["skills/accuracy"] > 0.95
    assert 0.93 * np.log(4) < metrics["skills/information"] < np.log(4)
    assert 0.9 * np.log(4) / 0.1 < metrics["control/q"] < np.log(4) / 0.1


@pytest.mark.slow
def test_one_of_the_skills_then_learns_the_task():
    """To be at a corner of the inner square, +-.8, which takes four steps: .4 + .6 + .8, then 1 for 21 rows."""
    env, params, _ = learned()
    rates = {"learning_rate": 3e-3, "actor_learning_rate": 1e-3}
    noise = {"action_noise": 0.2, "smoothing_stddev": 0.2, "smoothing_clip": 0.3}
    task = registry.make("diayn", env.spec, **{**PROBE, **rates, **noise, "phase": "task"})
    begins = {**params, "control": {"actor": params["control"]["actor"]}, "chosen": jnp.float32(2)}
    task = task._replace(learner=with_init_params(task.learner, begins))
    source, run = learning(task, env)
    state = loop.start(task.learner, source, jax.random.key(2))
    assert same(state.learner.params["control"]["actor"], params["control"]["actor"])
    evaluated = evaluate.episodes(env, task.exploit)
    for _ in range(10):
        state, _, _ = run(state)
    earned = float(evaluated(state.learner.params, jax.random.key(3))["return"])
    assert float(state.learner.params["chosen"]) == 2
    assert 0.95 * 22.8 < earned < 22.8 + 1e-3, earned
