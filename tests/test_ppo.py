"""PPO and HiPPO whole: what they note, what each level learns from, one program, going on, known optima."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from leftovers import same
from specs import spec_of

from skillhier.agents import hippo, registry, running
from skillhier.agents.learner import learner, with_frozen
from skillhier.agents.optimisers import adam
from skillhier.data import on_policy
from skillhier.envs import probe
from skillhier.train import checkpoint, evaluate, loop
from skillhier.types import Agent, LearnerState, TimeStep, Trajectory

PLATFORMS = ("cuda", "tpu")
SMALL = {"hidden": (16, 16), "epochs": 4, "minibatches": 2, "learning_rate": 0.01, "gamma": 0.5, "reward_scale": 1.0}
ONCE = {**SMALL, "epochs": 1, "minibatches": 1}
KINDS = {
    "ppo": ("ppo", {}),
    "hippo": ("hippo", {"skills": 3, "period": (2, 4)}),
    "hippo with a baseline": ("hippo", {"skills": 3, "period": (2, 4), "skill_baseline": True}),
}
LEVELS = {"ppo": ("control",), "hippo": ("manager", "worker")}


@functools.cache
def made(kind):
    """(env, agent, source, epoch of 15 updates), made once."""
    name, settings = KINDS[kind]
    env = probe.action_reward(8)
    agent = registry.make(name, env.spec, **{**SMALL, **settings})
    source = on_policy.on_policy(env, agent.explore, unroll_length=16)
    return env, agent, source, loop.epoch(agent.learner, source, 15)


class Begun(NamedTuple):
    """An agent before its first update, and functions compiled once."""

    agent: Agent
    state: LearnerState
    batch: Trajectory  # what it does in eight worlds
    collect: Callable[[Any, jax.Array], Trajectory]  # what it does with other parameters
    update: Callable[[LearnerState, Trajectory], tuple[LearnerState, dict]]


@functools.cache
def begun(name, **settings):
    env = probe.action_reward(8, limit=7)
    agent = registry.make(name, env.spec, **{**ONCE, **settings})
    source = on_policy.on_policy(env, agent.explore, unroll_length=40)
    next_, first = jax.jit(source.next), jax.jit(source.init)(jax.random.key(2))
    collect = lambda params, key: next_(first, params, key)[1]  # noqa: E731
    update = jax.jit(lambda state, batch: agent.learner.update(state, batch, jax.random.key(0)))
    state = jax.jit(agent.learner.init)(jax.random.key(1))
    return Begun(agent, state, collect(state.params, jax.random.key(3)), collect, update)


def hippo_begun(skills=3, fewest=2, most=4, **settings):
    return begun("hippo", skills=skills, period=(fewest, most), **settings)


@pytest.mark.parametrize(
    "kind", ["ppo", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "ppo")]
)
def test_an_epoch_is_one_program_goes_on_from_a_checkpoint_and_comes_near_the_optimum(kind, tmp_path):
    """Every target is met, 10 an episode, where a constant action earns 7.5. All parameters move."""
    env, agent, source, run = made(kind)
    state = loop.start(agent.learner, source, jax.random.key(0))
    before = jax.device_get(state.learner.params)
    state, metrics, _ = run(state)
    assert all(np.isfinite(float(x)) for x in metrics.values()) and int(state.learner.health.skipped) == 0
    moved = jax.tree.map(lambda x, y: bool((x != np.asarray(y)).any()), before, state.learner.params)
    assert all(map(any, map(jax.tree.leaves, moved.values()))), moved
    assert moved["encoder"]["target"] == {"mean": True, "rows": True, "std": True}
    keeper = checkpoint.Checkpoints(tmp_path)
    keeper.save(15, state)
    restored = keeper.restore(jax.tree.map(jnp.zeros_like, loop.start(agent.learner, source, jax.random.key(9))))
    keeper.close()
    state, one, _ = run(state)
    other, two, _ = run(restored)
    assert same(state, other) and same(one, two)
    assert run._cache_size() == 1
    earned = float(evaluate.episodes(env, agent.exploit)(state.learner.params, jax.random.key(1))["return"])
    assert earned > 9.5, earned


@pytest.mark.parametrize("kind", ["ppo", "hippo with a baseline"])
def test_an_epoch_exports_for_accelerators(kind):
    _, agent, source, run = made(kind)
    state = jax.eval_shape(lambda: loop.start(agent.learner, source, jax.random.key(0)))
    assert jax.export.export(run, platforms=PLATFORMS)(state).platforms == PLATFORMS


@pytest.mark.parametrize("name", LEVELS)
def test_what_was_noted_is_what_the_learner_finds(name):
    """Before the first step every ratio is 1, of all levels: both see the same, in the same numbers."""
    one = begun("ppo") if name == "ppo" else hippo_begun()
    second, _ = one.update(one.state, one.batch)  # statistics and networks have moved
    for given, rows in ((one.state, one.batch), (second, one.collect(second.params, jax.random.key(4)))):
        _, metrics = one.update(given, rows)
        for level in LEVELS[name]:
            assert float(metrics[f"{level}/clipped"]) == 0.0
            assert abs(float(metrics[f"{level}/kl"])) < 1e-9
    _, stale = one.update(second, one.batch)
    assert all(float(stale[f"{level}/kl"]) > 1e-7 for level in LEVELS[name])


# HiPPO


def test_choices_last_a_random_while_that_both_levels_see():
    batch = hippo_begun().batch
    left, renewed = np.asarray(batch.extras["time_remaining"])[:-1] * 4, np.asarray(batch.extras["skill_renewed"])[:-1]
    period, skill = np.asarray(batch.extras["skill/period"])[:-1], np.asarray(batch.extras["skill"])[:-1]
    np.testing.assert_allclose(left[renewed], period[renewed])
    np.testing.assert_allclose(left[1:][~renewed[1:]], left[:-1][~renewed[1:]] - 1)
    assert set(period[renewed]) == {2, 3, 4} and set(skill[renewed]) == {0, 1, 2}
    np.testing.assert_array_equal(skill[1:][~renewed[1:]], skill[:-1][~renewed[1:]])
    assert renewed[np.asarray(batch.step.first)[:-1]].all()
    noted = np.asarray(batch.extras["skill/log_prob"])[:-1]
    assert (noted[renewed] < 0).all() and not noted[~renewed].any()


def test_the_managers_loss_is_over_the_mean_period_and_counts_its_decisions_alone():
    """One batch, the same networks, two distributions of periods with the same longest one: means 3 and 4."""
    _, state, batch, _, update = hippo_begun()
    losses = {}
    for fewest, learn in ((4, hippo_begun(fewest=4).update), (2, update)):
        after, metrics = learn(state, batch)
        losses[fewest] = float(metrics["learner/loss"])
    mean = lambda name: float(metrics[f"manager/{name}"])  # noqa: E731
    policy = -(mean("surrogate") + 0.01 * mean("entropy"))
    assert abs(policy) > 1e-3
    assert losses[2] - losses[4] == pytest.approx(policy / 3 - policy / 4, rel=1e-3)
    held = ~batch.extras["skill_renewed"]
    other = {**batch.extras, "skill/log_prob": jnp.where(held, 9.0, batch.extras["skill/log_prob"])}
    changed, _ = update(state, batch._replace(extras=other))
    assert same(changed.params, after.params)
    other["skill/log_prob"] = batch.extras["skill/log_prob"] + 0.05
    changed, _ = update(state, batch._replace(extras=other))
    assert not same(changed.params["manager"], after.params["manager"])


def test_with_one_sub_policy_that_ignores_choice_and_clock_the_workers_loss_is_that_of_ppo():
    _, state, batch, _, update = hippo_begun(skills=1, clip=0.2)
    flat_state, update_flat = begun("ppo").state, begun("ppo").update
    control = flat_state.params["control"]
    first = state.params["worker"]["actor"]["MLP_0"]["Dense_0"]["kernel"]
    seen = control["actor"]["MLP_0"]["Dense_0"]["kernel"]
    assert first.shape == (2 * (len(seen) + 1) + 1, 16)  # what it sees and the clock, the code, and the products
    actor = jax.tree.map(jnp.copy, control["actor"])
    actor["MLP_0"]["Dense_0"]["kernel"] = jnp.zeros_like(first).at[: len(seen)].set(seen)
    params = {**state.params, "worker": {"actor": actor}, "critic": control["critic"]}
    noise = 0.2 * jax.random.normal(jax.random.key(6), batch.step.reward.shape)
    batch = batch._replace(extras={**batch.extras, "log_prob": batch.extras["log_prob"] + noise})
    _, ours = update(state._replace(params=params), batch)
    _, theirs = update_flat(flat_state, batch)
    for name in ("surrogate", "entropy", "value_loss", "kl", "clipped", "return"):
        np.testing.assert_allclose(ours[f"worker/{name}"], theirs[f"control/{name}"], rtol=1e-5, atol=1e-7)
    assert float(theirs["control/clipped"]) > 0.1 and float(theirs["control/surrogate"]) != 0


def test_each_sub_policy_has_weights_of_its_own():
    """A weight of the products with choice 1 moves what is done under choice 1, and nothing else."""
    agent, state, batch, *_ = hippo_begun()
    features = 1 + 1  # target, clock
    kernel = state.params["worker"]["actor"]["MLP_0"]["Dense_0"]["kernel"]
    assert len(kernel) == features + 3 + 3 * features
    own = jax.tree.map(jnp.copy, state.params)
    own["worker"]["actor"]["MLP_0"]["Dense_0"]["kernel"] = kernel.at[features + 3 + 1 * features].add(5.0)
    rows = jax.tree.map(lambda x: x[0], batch.step)
    actions = []
    for params in (state.params, own):
        chosen = []
        for choice in range(3):
            manager = jax.tree.map(jnp.zeros_like, params["manager"])
            manager["actor"]["Dense_2"]["bias"] = 9.0 * jax.nn.one_hot(choice, 3)
            _, action, notes = agent.exploit.act(
                {**params, "manager": manager}, agent.exploit.init(8), rows, jax.random.key(0)
            )
            assert (notes["skill"] == choice).all()
            chosen.append(np.asarray(action))
        actions.append(chosen)
    differs = [bool((one != other).any()) for one, other in zip(*actions, strict=True)]
    assert differs == [False, True, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"period": (3,)}, "period must be two numbers of rows, 1 <= fewest <= most, got 3; set agent.period"),
        ({"period": (0, 3)}, "period must be two numbers of rows, 1 <= fewest <= most, got 0, 3; set agent.period"),
        ({"skills": 0}, "skills must be >= 1, got 0; set agent.skills"),
        ({"clip": 2.0}, "clip must lie between 0 and 1, got 2.0; set agent.clip"),
        ({"sees": ("nothing",)}, "observation 'nothing' is not known; choose of target"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        hippo.make(spec_of({"target": (1, 1)}), **settings).learner.init(jax.random.key(0))


@pytest.mark.slow
def test_a_hierarchy_earns_what_no_policy_without_memory_can():
    """Blocks of four rows whose sign shows in the first alone: 4 an episode, where flat policies reach 2."""
    env = probe.skill_reward(32)
    settings = {"skills": 2, "period": (4, 4), "minibatches": 4, "gamma": 0.8, "learning_rate": 3e-3, "clip": 0.2}
    agent = registry.make("hippo", env.spec, **{**SMALL, **settings})
    source = on_policy.on_policy(env, agent.explore, unroll_length=64)
    run = loop.epoch(agent.learner, source, 50)
    state = loop.start(agent.learner, source, jax.random.key(0))
    for _ in range(6):
        state, _, _ = run(state)
    earned = float(evaluate.episodes(env, agent.exploit)(state.learner.params, jax.random.key(1))["return"])
    assert earned > 3.5, earned


# running statistics


def whitening():
    """A learner that regresses a reward beside statistics of `x`."""

    def loss(params, slow, batch, key):
        value = jnp.square(batch.step.reward - params["guess"]).mean() + 0.0 * params["encoder"]["x"]["mean"].sum()
        return value, (slow, {})

    one = running.begun({"x": {"mean": jnp.zeros(2), "std": jnp.ones(2)}})
    fit = learner(lambda key: {"encoder": one, "guess": jnp.zeros(())}, loss, adam({"encoder": None, "guess": 0.1}))
    return running.with_running_statistics(fit)


def observed(key, bad=False):
    x = jnp.array([1.0, 1e-5]) * (3.0 + jax.random.normal(key, (5, 4, 1, 2)))
    no = jnp.zeros((5, 4), bool)
    reward = jnp.full((5, 4), jnp.nan if bad else 1.0)
    return Trajectory(TimeStep({"x": x}, reward, jnp.ones((5, 4)), no, no), jnp.zeros((5, 4, 1)), {})


def test_statistics_are_those_of_all_rows_but_bootstrap_rows():
    one = whitening()
    state, rows = one.init(jax.random.key(0)), []
    for key in jax.random.split(jax.random.key(1), 6):
        state, _ = one.update(state, observed(key), key)
        rows.append(np.asarray(observed(key).step.obs["x"])[:-1].reshape(-1, 2))
        rows_now = np.concatenate(rows)
        statistics = state.params["encoder"]["x"]
        np.testing.assert_allclose(statistics["mean"], rows_now.mean(0), rtol=1e-5)
        np.testing.assert_allclose(statistics["std"], [rows_now[:, 0].std(), 1e-3], rtol=1e-4)  # the floor
        assert float(statistics["rows"]) == len(rows_now)


def test_statistics_stay_where_an_update_was_left_out_and_where_they_are_frozen():
    one = whitening()
    state, _ = one.update(one.init(jax.random.key(0)), observed(jax.random.key(1)), jax.random.key(2))
    after, _ = one.update(state, observed(jax.random.key(3), bad=True), jax.random.key(2))
    assert int(after.health.skipped) == 1 and same(after.params, state.params)
    held, free = with_frozen(one, ("encoder",)), with_frozen(one, ("guess",))
    after, _ = held.update(state, observed(jax.random.key(3)), jax.random.key(2))
    assert same(after.params["encoder"], state.params["encoder"]) and after.params["guess"] != state.params["guess"]
    after, _ = free.update(state, observed(jax.random.key(3)), jax.random.key(2))
    assert not same(after.params["encoder"], state.params["encoder"]) and after.params["guess"] == state.params["guess"]
