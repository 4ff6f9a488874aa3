"""Every system that learns by MPO: what is frozen and copied, how it acts, that it learns and is exported."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from leftovers import same
from specs import spec_of

from skillhier import rollout
from skillhier.agents import registry
from skillhier.data import online, replay
from skillhier.nets import encoder
from skillhier.nets.actor import Choice
from skillhier.nets.skills import Components
from skillhier.train import loop
from skillhier.types import Bounds, Env, Spec, TimeStep, Trajectory

OBS = {"arm": jax.ShapeDtypeStruct((3, 4), jnp.float32), "things": jax.ShapeDtypeStruct((3, 2), jnp.float32)}
SPEC = spec_of(OBS, 2)
LOW, MID = ("arm",), ("arm", "things")
T, B = 6, 8
FROM_DATA = [name for name in registry.BY_MPO if name != "mpo"]


@functools.cache
def skills(name):
    """Parameters of an offline system, whose statistics are no trivial ones."""
    statistics = {"arm": (np.full(4, 0.1), np.full(4, 2.0)), "things": (np.full(2, -0.1), np.full(2, 0.5))}
    more = {} if name == "bc" else {"latent": 3}
    more |= {"skills": 3} if name.startswith("helms") else {}
    agent = registry.make(name, SPEC, low=LOW, mid=MID, hidden=(16, 16), statistics=statistics, **more)
    return agent, jax.jit(agent.learner.init)(jax.random.key(7)).params


def system(name, source=None, **settings):
    """An online agent of small nets, on skills of `source` (the first kind that it takes, if not given)."""
    entry = registry.entry(name)
    origin = source or next(iter(entry.sources), None)
    own = {"high": MID} if "high" in entry.defaults else {}
    if origin:
        known = {"low": LOW, "mid": MID, "latent": 3, "skills": 3, "hidden": (16, 16), "action_stddev": 0.1}
        own |= entry.settings_of(known | {"name": origin}) | {"source": skills(origin)[1]}
    return registry.make(name, SPEC, **{"critic": MID, "hidden": (16, 16), "samples": 4} | own | settings)


def shown(key, rows=T):
    keys = jax.random.split(key, 4)
    obs = {name: jax.random.normal(k, (rows, B, *s.shape)) for k, (name, s) in zip(keys, OBS.items(), strict=False)}
    last = jnp.zeros((rows, B), bool).at[2, 0].set(True)
    first = jnp.zeros((rows, B), bool).at[3, 0].set(True)
    reward = jax.random.uniform(keys[2], (rows, B))
    return TimeStep(obs, jnp.where(first, 0.0, reward), jnp.ones((rows, B)), first, last)


def done(agent, params, steps, key, policy=None):
    """What the agent does at every row, as its replay would hold it."""
    policy = policy or agent.explore

    def row(carry, seen):
        step, key = seen
        carry, action, notes = policy.act(params, carry, step, key)
        return carry, (action, notes)

    opened = steps._replace(first=steps.first.at[0].set(True))
    _, (action, notes) = jax.lax.scan(row, policy.init(B), (opened, jax.random.split(key, len(steps.first))))
    return Trajectory(steps, action, {name: notes[name] for name in agent.replay_extras}), notes


@functools.cache
def updated(name, source=None, **settings):
    """The states before and after each of three updates on what the agent did, and the last metrics."""
    agent = system(name, source, target_period=2, **settings)

    @jax.jit
    def begin():
        state = agent.learner.init(jax.random.key(0))
        return state, done(agent, state.params, shown(jax.random.key(1)), jax.random.key(2))[0]

    (state, batch), update = begin(), jax.jit(agent.learner.update)
    states = [state]
    for i in range(3):
        state, metrics = update(state, batch, jax.random.key(i))
        states.append(state)
    return states, metrics


def own(state):
    """The parameters of the level."""
    return state.params["control"]


def target(state):
    return state.slow["control"]["target"]


@pytest.mark.parametrize("name", registry.BY_MPO)
def test_what_is_frozen_stays_bit_identical_and_the_rest_learns(name):
    (before, *_, after), metrics = updated(name)
    assert all(np.isfinite(value) for value in metrics.values()) and after.health.skipped == 0
    for part in before.params.keys() & {"encoders", "skills"}:
        assert same(before.params[part], after.params[part]), part
    assert ("skills" in before.params) == (name in FROM_DATA)
    for part in ("actor", "critic", "duals"):
        moved = [
            bool((a != b).any())
            for a, b in zip(*map(jax.tree.leaves, (own(before)[part], own(after)[part])), strict=True)
        ]
        assert all(moved), part


@pytest.mark.parametrize("name", registry.BY_MPO)
def test_targets_are_the_actor_and_critic_of_the_last_copy(name):
    (before, one, two, _), _ = updated(name)
    assert same(target(before), {part: own(before)[part] for part in ("actor", "critic")})
    assert same(one.slow, before.slow)
    assert same(target(two), {part: own(two)[part] for part in ("actor", "critic")})


@pytest.mark.parametrize("name", ["helms_mix", "bc_finetuned"])
def test_while_it_warms_up_only_the_critic_learns(name):
    (before, one, two, after), metrics = updated(name, critic_warmup=2)
    for part in ("actor", "duals"):
        assert same(own(before)[part], own(two)[part]), part
        assert not same(own(two)[part], own(after)[part]), part
    for earlier, later in ((before, one), (one, two), (two, after)):
        assert not same(own(earlier)["critic"], own(later)["critic"])
    assert metrics["control/policy_loss"] != 0


def test_an_actor_has_a_period_of_its_own():
    """The critic is copied after every second update, the actor after every third."""
    (before, one, two, three), _ = updated("bc_finetuned", actor_target_period=3)
    assert same(one.slow, before.slow)
    assert same(target(two), {"actor": own(before)["actor"], "critic": own(two)["critic"]})
    assert same(target(three), {"actor": own(three)["actor"], "critic": own(two)["critic"]})


def first_step(name, **settings):
    """The longest change of a number by the first update, {part: ...}; the parts of the actor by themselves too.

    Adam's first step is its rate long wherever there is a slope, whatever the slope.
    """
    (before, one, *_), _ = updated(name, **settings)
    step = jax.tree.map(jnp.subtract, own(one), own(before))
    parts = step["actor"] | {part: step[part] for part in ("actor", "critic")}
    return {part: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(of)) for part, of in parts.items()}


def test_an_actor_has_a_rate_of_its_own():
    for rates, length in (({"actor_learning_rate": 1e-3}, 1e-3), ({}, 2e-4)):
        step = first_step("bc_finetuned", **rates)
        assert (step["actor"], step["critic"]) == pytest.approx((length, 2e-4), rel=0.01)


def test_a_mid_level_that_learns_on_has_a_rate_of_its_own():
    step = first_step("helms_mix", actor_learning_rate=1e-3, mid_learning_rate=1e-5)
    assert (step["high"], step["mid"], step["critic"]) == pytest.approx((1e-3, 1e-5, 2e-4), rel=0.01)


@pytest.mark.parametrize("name", FROM_DATA)
def test_copied_parts_begin_as_they_were_learned(name):
    source, params = skills(registry.AGENTS[name].sources[0])[1], updated(name)[0][0].params
    statistics = params["skills"]["encoder"]
    assert same(statistics, {part: source["encoder"][part] for part in statistics})
    if name in ("helms_cat", "helms_mix", "npmp_kl"):
        assert same(params["skills"]["low"], source["low"])
    if name in ("helms_cat", "helms_mix"):
        assert same(params["skills"]["mid"], source["mid"])
    if name == "helms_mix":
        assert same(params["control"]["actor"]["mid"], source["mid"])
    if name == "hierarchical_bc_finetuned":
        assert same(params["control"]["actor"]["mid"], source["mid"]) and same(
            params["control"]["actor"]["low"], source["low"]
        )
    if name == "bc_finetuned":
        assert same({layer: params["control"]["actor"][layer] for layer in source["actor"]}, source["actor"])


@pytest.mark.parametrize(("name", "origin"), [("bc_finetuned", "bc"), ("hierarchical_bc_finetuned", "hierarchical_bc")])
def test_a_clone_begins_by_doing_what_it_did(name, origin):
    offline, params = skills(origin)
    agent, steps = system(name), shown(jax.random.key(3))
    begun = jax.jit(agent.learner.init)(jax.random.key(0)).params
    now, _ = done(agent, begun, steps, jax.random.key(4), agent.exploit)
    policy = offline.exploit
    obs = jax.tree.map(lambda x: x[0], steps)._replace(first=jnp.ones(B, bool))
    _, action, _ = policy.act(params, policy.init(B), obs, jax.random.key(5))
    np.testing.assert_allclose(now.action[0], action, atol=1e-6)


@pytest.mark.parametrize("sample", [True, False])
def test_helms_cat_and_mix_begin_by_acting_alike(sample):
    steps, heard = shown(jax.random.key(3)), []
    for name in ("helms_cat", "helms_mix"):
        agent = system(name)
        params = jax.jit(agent.learner.init)(jax.random.key(0)).params
        heard.append(done(agent, params, steps, jax.random.key(4), agent.explore if sample else agent.exploit)[1])
        action = done(agent, params, steps, jax.random.key(4), agent.explore if sample else agent.exploit)[0].action
        heard[-1] = {"action": action, "skill": heard[-1]["skill"], "latent": heard[-1]["latent"]}
    assert same(*heard)


def test_skills_of_a_new_helms_do_what_they_did():
    """With y given, z and a at their means: the offline skill's own action."""
    offline, params = skills("helms")
    agent, steps = system("helms_cat"), shown(jax.random.key(3), rows=1)
    now, notes = done(agent, agent.learner.init(jax.random.key(0)).params, steps, jax.random.key(4), agent.exploit)
    for world in range(B):
        policy = offline.hold(int(notes["skill"][0, world]))
        step = jax.tree.map(lambda x: x[0], steps)._replace(first=jnp.ones(B, bool))
        _, action, _ = policy.act(params, policy.init(B), step, jax.random.key(5))
        np.testing.assert_allclose(now.action[0, world], action[world], atol=1e-6)


def test_the_level_learns_from_its_own_action_not_from_the_worlds():
    agent = system("helms_cat")
    state = jax.jit(agent.learner.init)(jax.random.key(0))
    batch, _ = done(agent, state.params, shown(jax.random.key(1)), jax.random.key(2))
    update = jax.jit(agent.learner.update)
    one, _ = update(state, batch, jax.random.key(3))
    other, _ = update(state, batch._replace(action=batch.action + 1), jax.random.key(3))
    assert same(one, other)
    another = {**batch.extras, "skill": (batch.extras["skill"] + 1) % 3}
    assert not same(one, update(state, batch._replace(extras=another), jax.random.key(3))[0])
    with pytest.raises(ValueError, match="the view of a level needs the note 'skill', got none"):
        agent.learner.update(state, batch._replace(extras={}), jax.random.key(3))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("helms_cat", {"backup": "retrace"}),
        ("helms_mix", {"backup": "retrace", "prior": "transition"}),
        ("helms_cat", {"prior": "transition", "recurrent_critic": True}),
        ("helms_mix", {"repeat_probability": 0.5}),
        ("helms_cat", {"repeat_probability": 0.5, "backup": "retrace"}),
        ("mpo", {"backup": "n_step", "epsilon_penalty": 0.0}),
        ("npmp_kl", {"source": "npmp_ar1", "ar_coefficient": 0.95, "recurrent_critic": True}),
        ("helms_cat", {"source": "helms_discrete", "discrete": True}),
        ("mpo", {"high": ("arm",)}),  # asymmetric: the critic sees more than the actor
    ],
)
def test_every_setting_learns(name, settings):
    (*_, after), metrics = updated(name, **settings)
    assert all(np.isfinite(value) for value in metrics.values()) and after.health.skipped == 0
    assert ("control/multiplier_penalty" in metrics) == (name == "mpo" and "epsilon_penalty" not in settings)


def test_log_prob_of_a_mixture_is_that_of_its_latent():
    """Against a sum by hand over the offline components."""
    agent, steps = system("helms_mix", backup="retrace"), shown(jax.random.key(1), rows=1)
    params = jax.jit(agent.learner.init)(jax.random.key(0)).params
    _, notes = done(agent, params, steps, jax.random.key(2))
    see = encoder.whitened(OBS, MID)
    x = see.apply(skills("helms")[1]["encoder"]["mid"], steps.obs)[0]
    mean, sigma = Components(3, 3, (16, 16)).apply({"params": skills("helms")[1]["mid"]}, x)  # [K, B, Z]
    seen = see.apply(params["encoders"]["actor"], steps.obs)[0]
    share = jax.nn.softmax(Choice(3, (16, 16)).apply({"params": params["control"]["actor"]["high"]}, seen))  # [B, K]
    density = np.exp(-0.5 * ((notes["latent"][0] - mean) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    by_hand = np.log((np.asarray(share).T * np.asarray(density).prod(-1)).sum(0))
    np.testing.assert_allclose(notes["log_prob"][0], by_hand, rtol=1e-4)
    assert "log_prob" in agent.replay_extras and "log_prob" not in system("helms_mix").replay_extras


def test_held_skills_are_kept_by_chance_and_their_likelihood_is_that_of_what_was_done():
    steps = shown(jax.random.key(1), rows=300)
    agent = system("helms_cat", backup="retrace", repeat_probability=0.8)
    params = jax.jit(agent.learner.init)(jax.random.key(0)).params
    _, notes = done(agent, params, steps, jax.random.key(2))
    skill, opens = np.asarray(notes["skill"]), np.asarray(steps.first.at[0].set(True))
    seen = encoder.whitened(OBS, MID).apply(params["encoders"]["actor"], steps.obs)
    share = jax.nn.softmax(Choice(3, (16, 16)).apply({"params": params["control"]["actor"]["high"]}, seen))
    chosen = np.take_along_axis(np.asarray(share), skill[..., None], -1)[..., 0]
    same_one = np.concatenate([np.zeros((1, B), bool), skill[1:] == skill[:-1]])
    by_hand = np.where(opens, chosen, 0.2 * chosen + 0.8 * same_one)
    np.testing.assert_allclose(np.exp(notes["skill/log_prob"]), by_hand, rtol=1e-4)
    kept = same_one[~opens].mean()  # of 2400 rows: .8 held, and of the rest a third
    assert abs(kept - (0.8 + 0.2 / 3)) < 0.03
    greedy = done(agent, params, steps, jax.random.key(2), agent.exploit)[1]["skill"]
    np.testing.assert_array_equal(greedy, share.argmax(-1))  # it is held only to explore


def test_held_skills_ask_for_targets_that_need_no_density_of_latents():
    with pytest.raises(ValueError, match="set agent.repeat_probability=0 or agent.backup"):
        system("helms_mix", backup="retrace", repeat_probability=0.5)


def test_an_asymmetric_actor_does_not_see_what_the_critic_sees():
    agent, steps = system("mpo", high=("arm",)), shown(jax.random.key(3))
    params = jax.jit(agent.learner.init)(jax.random.key(0)).params
    moved = steps._replace(obs={**steps.obs, "things": steps.obs["things"] + 1})
    one, two = (done(agent, params, seen, jax.random.key(4))[0].action for seen in (steps, moved))
    np.testing.assert_array_equal(one, two)
    batch, _ = done(agent, params, steps, jax.random.key(4))
    state = jax.jit(agent.learner.init)(jax.random.key(0))
    update = jax.jit(agent.learner.update)
    metrics = [update(state, b, jax.random.key(1))[1] for b in (batch, batch._replace(step=moved))]
    assert metrics[0]["control/q"] != metrics[1]["control/q"]


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("helms_mix", {"discrete": True}, "choose agent=helms_cat"),
        ("helms_cat", {"prior": "flat"}, "prior 'flat' is not known; choose uniform or transition in agent.prior"),
        ("mpo", {"backup": "tdd"}, "backup 'tdd' is not known; choose td, n_step, retrace in agent.backup"),
        ("helms_cat", {"source": "npmp"}, "skills need the part mid; the source has encoder, high, low"),
        ("helms_cat", {"skill_hidden": (8, 8)}, r"skills/mid/skill_0/Dense_0/(kernel|bias) has shape"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(name, settings, said):
    with pytest.raises(ValueError, match=said) as caught:
        jax.eval_shape(system(name, **settings).learner.init, jax.random.key(0))
    assert len(caught.value.args[0].splitlines()) == 1


def test_a_name_that_is_not_known():
    with pytest.raises(ValueError, match="agent 'helms_kat' is not known; did you mean helms_cat. choose helms,"):
        registry.make("helms_kat", SPEC)


# --- learning in a world with a known best ---


def targets(worlds=16, limit=8):
    """`things` shows a side s in {-1, 1}; an action pays 1 - (a_0 - 0.5 s)^2. The best return is `limit`."""

    def show(state, reward, first):
        key, t = state
        side = jnp.where(jax.vmap(lambda k: jax.random.bernoulli(k))(jax.vmap(jax.random.fold_in)(key, t)), 1.0, -1.0)
        obs = {
            "arm": jnp.zeros((worlds, 3, 4)),
            "things": jnp.broadcast_to(side[:, None, None], (worlds, 3, 2)),
        }
        return TimeStep(obs, reward, jnp.ones(worlds), first, (t % (limit + 1) == limit) & ~first), side

    def reset(key):
        state = jax.random.split(key, worlds), jnp.zeros(worlds, jnp.int32)
        step, _ = show(state, jnp.zeros(worlds), jnp.ones(worlds, bool))
        return state, step

    def step(state, action):
        before, side = show(state, jnp.zeros(worlds), state[1] % (limit + 1) == 0)
        state = (state[0], state[1] + 1)
        first = before.last
        reward = jnp.where(first, 0.0, 1 - (action[:, 0] - 0.5 * side) ** 2)
        return state, show(state, reward, first)[0]

    return Env(reset, step, Spec(OBS, Bounds((2,), -1.0, 1.0), worlds, 0.1, limit))


def source_of(agent, env, **settings):
    memory = replay.make(200, env.spec, extras=agent.replay_extras)
    given = {"unroll_length": 4, "batch_size": 32, "sequence_length": 4, "prefill": 20} | settings
    return online.online(env, agent.explore, memory, first_params=lambda key: agent.learner.init(key).params, **given)


def fast(*names):
    """All systems, of which these are in the fast suite."""
    slow = [pytest.param(name, marks=pytest.mark.slow) for name in registry.BY_MPO if name not in names]
    return pytest.mark.parametrize("name", [*names, *slow])


@fast("helms_cat", "mpo")
def test_it_learns_what_pays(name):
    """The second of two epochs earns more than the first."""
    env = targets()
    fast = {"learning_rate": 3e-3, "dual_learning_rate": 0.05, "target_period": 10, "gamma": 0.5}
    agent = system(name, hidden=(32, 32), epsilon_mean=0.05, epsilon_stddev=1e-3, **fast)
    source = source_of(agent, env)
    run = loop.epoch(agent.learner, source, 300)
    state, told, _ = run(loop.start(agent.learner, source, jax.random.key(0)))
    first = float(told["episodes/return"])
    state, told, _ = run(state)
    assert state.learner.health.skipped == 0
    assert float(told["episodes/return"]) > first


@fast("helms_mix", "mpo")  # a mixture on frozen skills, whose program has the parts of all others; a Gaussian
def test_an_epoch_of_it_exports_for_accelerators(name):
    env, key = targets(worlds=2), jax.random.key(0)
    agent = system(name)
    source = source_of(agent, env, batch_size=4)
    state = loop.RunState(jax.eval_shape(agent.learner.init, key), jax.eval_shape(source.init, key), key)
    exported = jax.export.export(loop.epoch(agent.learner, source, 2), platforms=("cuda", "tpu"))(state)
    assert exported.platforms == ("cuda", "tpu")


def test_seeds_copy_their_targets_in_a_branch():
    """Under vmapped seeds the copy must stay a branch, not become a select of two trees."""
    agent = system("mpo")
    state = jax.eval_shape(jax.vmap(agent.learner.init), jax.random.split(jax.random.key(0), 2))
    one = jax.eval_shape(agent.learner.init, jax.random.key(0))
    batch = jax.eval_shape(lambda: done(agent, agent.learner.init(jax.random.key(0)).params,
                                        shown(jax.random.key(1)), jax.random.key(2))[0])  # fmt: skip
    batches = jax.tree.map(lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), batch)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    program = str(jax.make_jaxpr(jax.vmap(agent.learner.update))(state, batches, keys))
    assert jax.tree.structure(state) == jax.tree.structure(one) and "cond[" in program


def test_a_rollout_of_it_notes_what_its_replay_keeps():
    env = targets(worlds=2)
    for name, backup in itertools.product(registry.BY_MPO, ("td", "retrace")):
        agent = system(name, backup=backup)
        params = jax.eval_shape(agent.learner.init, jax.random.key(0)).params
        actor = jax.eval_shape(lambda key, agent=agent: rollout.start(env, agent.explore, key), jax.random.key(1))
        _, rows = jax.eval_shape(
            lambda params, actor, agent=agent: rollout.rollout(env, agent.explore, params, actor, jax.random.key(2), 3),
            params,
            actor,
        )
        for note, shape in agent.replay_extras.items():
            assert (rows.extras[note].shape, rows.extras[note].dtype) == ((3, 2, *shape.shape), shape.dtype)
