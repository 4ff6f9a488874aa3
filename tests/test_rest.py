"""ReST: whose turn it is, what a turn moves and is paid, and a known optimum: apart, then a task by one of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from leftovers import same
from reach_world import reach_world

from skillhier.agents import registry, rest
from skillhier.agents.learner import with_frozen, with_init_params
from skillhier.data import on_policy
from skillhier.rollout import rollout, start
from skillhier.train import checkpoint, evaluate, loop

SKILLS, LIMIT = 3, 12
SMALL = {
    "skills": SKILLS, "turn": 2, "sees": ("place",), "hidden": (16, 16), "novelty_hidden": (8,), "epochs": 1,
    "minibatches": 1, "delay": 1,
}  # fmt: skip


@functools.cache
def begun(**settings):
    """(agent, its first state, what it does next, update)."""
    env = reach_world(4, limit=LIMIT)
    agent = registry.make("rest", env.spec, **{**SMALL, **settings})
    source = on_policy.on_policy(env, agent.explore, unroll_length=LIMIT + 1)
    next_, first = jax.jit(source.next), jax.jit(source.init)(jax.random.key(2))
    update = jax.jit(agent.learner.update)
    state = jax.jit(agent.learner.init)(jax.random.key(1))
    return agent, state, lambda params, key: next_(first, params, key)[1], update


def skill_of(tree, skill):
    return jax.tree.map(lambda x: x[skill], {name: tree[name] for name in rest.STACKED})


def test_skills_take_turns_and_a_turn_moves_one_skill_alone():
    """Two batches each, then the next one, then the first again; networks, statistics and moments of others stay."""
    agent, state, collect, update = begun()
    turns = []
    for i in range(2 * SKILLS + 1):
        before, batch = state, collect(state.params, jax.random.key(i))
        state, metrics = update(state, batch, jax.random.key(i))
        turns.append(int(metrics["skills/turn"]))
        for skill in range(SKILLS):
            stays = same(skill_of(before.params, skill), skill_of(state.params, skill))
            assert stays == (skill != turns[-1])
            assert same(*(jax.tree.map(lambda x: x[skill], one.opt) for one in (before, state))) == stays  # noqa: B023
        own = {name: skill_of(one.params, turns[-1]) for name, one in (("old", before), ("new", state))}
        kinds = [(part, kind) for part in ("control", "novelty") for kind in own["old"][part]]
        still = [kind for part, kind in kinds if same(own["old"][part][kind], own["new"][part][kind])]
        # nothing is paid while there are no others, which is what critics say at first
        assert still == (["critic", "target"] if i < SMALL["turn"] else ["target"])
    assert turns == [0, 0, 1, 1, 2, 2, 0] and state.params["turn"]["batches"].tolist() == [3, 2, 2]
    assert float(state.params["chosen"]) == 0


def errors(params, x):
    """Of all skills' pairs of networks at places x [...], by their weights."""
    both = []
    for skill in range(SKILLS):
        own = skill_of(params, skill)
        seen = own["encoder"]["place"]
        white = np.clip((x[..., None] - np.asarray(seen["mean"])) / np.asarray(seen["std"]), -10, 10)
        out = {}
        for name, layers in own["novelty"].items():
            hidden = np.maximum(white @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"], 0)
            out[name] = np.asarray(hidden @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"])
        both.append(np.square(out["predictor"] - out["target"]).mean(-1))
    return np.stack(both)


def test_it_is_paid_for_places_where_those_that_have_had_a_turn_have_not_been():
    agent, state, collect, update = begun()
    for batches, others in (([0, 0, 0], []), ([2, 0, 0], [0]), ([2, 2, 0], [0, 1]), ([4, 2, 2], [0, 2])):
        params = {**state.params, "turn": {"batches": jnp.array(batches, jnp.float32)}}
        batch = collect(params, jax.random.key(3))
        _, metrics = update(state._replace(params=params), batch, jax.random.key(4))
        place = np.asarray(batch.step.obs["place"])[1:, :, 0, 0]
        strange = errors(params, place)[others]
        expected = -np.log(np.exp(-10 * strange).mean(0)).mean() if others else 0.0
        assert metrics["skills/reward"] == pytest.approx(expected, rel=1e-4), batches
        assert metrics["skills/turn"] == sum(batches) // 2 % SKILLS


def test_in_the_task_the_chosen_skill_learns_as_ppo_does():
    """The same networks, batch and rates: one step of each, with clipping that does not bind."""
    free = {"learning_rate": 1e-3, "max_grad_norm": 1e6}
    agent, state, collect, update = begun(phase="task", actor_learning_rate=1e-3, **free)
    params = {**state.params, "chosen": jnp.float32(2)}
    batch = collect(params, jax.random.key(3))
    after, metrics = update(state._replace(params=params), batch, jax.random.key(4))
    env = reach_world(4, limit=LIMIT)
    names = ("sees", "hidden", "epochs", "minibatches")
    ppo = registry.make("ppo", env.spec, init_stddev=0.6065, **free, **{name: SMALL[name] for name in names})
    own = {name: x for name, x in skill_of(params, 2).items() if name != "novelty"}
    alone, theirs = jax.jit(ppo.learner.update)(ppo.learner.from_params(own), batch, jax.random.key(4))
    ours = skill_of(after.params, 2)
    for name in own:
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), ours[name], alone.params[name])
    assert not same(alone.params["control"]["actor"], own["control"]["actor"])
    for name in ("control/surrogate", "control/value_loss", "control/return"):
        np.testing.assert_allclose(metrics[name], theirs[name], rtol=1e-5, atol=1e-7)
    assert metrics["skills/chosen"] == 2 and same(ours["novelty"], skill_of(params, 2)["novelty"])
    assert all(same(skill_of(after.params, skill), skill_of(params, skill)) for skill in (0, 1))


def test_held_skills_and_the_one_in_force_act_by_their_own_networks():
    agent, state, collect, _ = begun()
    row = jax.tree.map(lambda x: x[0], collect(state.params, jax.random.key(3)).step)
    act = lambda policy, params: policy.act(params, policy.init(4), row, jax.random.key(0))[1]  # noqa: E731
    biased = jax.tree.map(jnp.copy, state.params)
    bias = biased["control"]["actor"]["MLP_0"]["Dense_2"]
    bias["bias"] = jnp.array([[-0.5], [0.0], [0.5]])
    bias["kernel"] = jnp.zeros_like(bias["kernel"])
    for skill, wanted in enumerate((-0.5, 0.0, 0.5)):
        np.testing.assert_allclose(act(agent.hold(skill), biased), wanted)
        now = {**biased, "turn": {"batches": jnp.array([2.0 * skill, 0.0, 0.0])}}
        np.testing.assert_allclose(act(agent.exploit, now), wanted)
        task = begun(phase="task", actor_learning_rate=1e-3, learning_rate=1e-3, max_grad_norm=1e6)[0]
        np.testing.assert_allclose(act(task.exploit, {**biased, "chosen": jnp.float32(skill)}), wanted)


def test_what_is_frozen_stays_and_the_turn_too():
    agent, state, collect, _ = begun()
    batch = collect(state.params, jax.random.key(3))
    for paths, turns in ((("control/actor",), 1.0), (("turn", "encoder"), 0.0)):
        after, _ = jax.jit(with_frozen(agent.learner, paths).update)(state, batch, jax.random.key(4))
        part = lambda params: params["control"]["actor"] if turns else params["encoder"]  # noqa: B023, E731
        assert same(part(after.params), part(state.params))
        assert not same(after.params["novelty"]["predictor"], state.params["novelty"]["predictor"])
        assert float(after.params["turn"]["batches"].sum()) == turns


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"phase": "both"}, "phase 'both' is not known; choose skills or task in agent.phase"),
        ({"skills": 0}, "skills must be >= 1, got 0; set agent.skills"),
        ({"turn": 0}, "turn must be >= 1, got 0; set agent.turn"),
        ({"clip": 2.0}, "clip must lie between 0 and 1, got 2.0; set agent.clip"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        rest.make(reach_world(2).spec, **{**SMALL, **settings})


def test_skills_part_and_one_of_them_then_learns_the_task(tmp_path):
    """Two skills on a line go to its opposite ends; the task pays 14.8 for who goes straight where it should.

    Both also see what the task wants in an episode, and which of them goes to which end may depend on it.
    """
    probe = {"skills": 2, "turn": 5, "hidden": (32, 32), "novelty_hidden": (32, 32), "novelty_scale": 100.0,
             "epochs": 10, "minibatches": 4, "delay": 1, "gamma": 0.9, "learning_rate": 3e-3,
             "actor_learning_rate": 3e-3}  # fmt: skip
    env = reach_world(8, limit=16)
    agent = registry.make("rest", env.spec, **probe)
    source = on_policy.on_policy(env, agent.explore, unroll_length=17)
    run = loop.epoch(agent.learner, source, 10)
    state = loop.start(agent.learner, source, jax.random.key(0))
    for i in range(10):
        if i == 5:
            keeper = checkpoint.Checkpoints(tmp_path)
            keeper.save(50, state)
            blank = jax.tree.map(jnp.zeros_like, loop.start(agent.learner, source, jax.random.key(9)))
            restored = keeper.restore(blank)
            keeper.close()
        state, metrics, _ = run(state)
    for _ in range(5):
        restored, again, _ = run(restored)
    assert same(state, restored) and same(metrics, again) and run._cache_size() == 1
    assert int(state.learner.health.skipped) == 0

    params = state.learner.params
    ends = []
    for skill in range(2):
        rows = rows_of(env, agent.hold(skill), params)
        ends.append(np.asarray(rows.step.obs["place"])[-1, :, 0, 0])
    np.testing.assert_allclose(ends[0], -ends[1], atol=0.5)
    np.testing.assert_allclose(np.abs(ends), 2, atol=0.5)

    task = registry.make("rest", env.spec, **{**probe, "phase": "task", "entropy": 1e-3})
    task = task._replace(learner=with_init_params(task.learner, {**params, "chosen": jnp.float32(1)}))
    source = on_policy.on_policy(env, task.explore, unroll_length=17)
    run = loop.epoch(task.learner, source, 50)
    state = loop.start(task.learner, source, jax.random.key(2))
    for _ in range(8):
        state, _, _ = run(state)
    earned = float(evaluate.episodes(env, task.exploit)(state.learner.params, jax.random.key(3))["return"])
    assert 0.95 * 14.8 < earned < 14.8 + 1e-3, earned


def rows_of(env, policy, params):
    def act(params, key):
        return rollout(env, policy, params, start(env, policy, key), key, env.spec.limit + 1)[1]

    return jax.jit(act)(params, jax.random.key(1))
