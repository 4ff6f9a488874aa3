"""Probe worlds: what they promise of a world, and that their values are those that their docstrings state."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier import rollout
from skillhier.data import replay
from skillhier.envs import probe
from skillhier.ops import returns
from skillhier.ops.temporal import acting_on, coarsen, segments
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy
from skillhier.policies.open_loop import constant, uniform
from skillhier.types import Policy

HOLD, WORLDS, ROWS, GAMMA = 4, 16, 61, 0.8
ENVS = {
    "constant": probe.constant_reward(WORLDS, limit=7),
    "observed": probe.observed_reward(WORLDS),
    "delayed": probe.delayed_reward(WORLDS),
    "action": probe.action_reward(WORLDS, limit=7),
    "skill": probe.skill_reward(WORLDS, hold=HOLD, limit=3 * HOLD),
}


def best_hierarchy():
    """Chooses the sign that it is shown, as 0 or 1, and holds it."""
    manager = flat(lambda params, obs, key: ((obs["sign"][:, 0, 0] > 0).astype(jnp.int32), {}))
    worker = flat(lambda params, obs, key: (2.0 * obs["skill"][:, None] - 1.0, {}))
    return hierarchy(manager, worker, HOLD)


BEST = {
    **{
        name: flat(lambda params, obs, key: (jnp.zeros((WORLDS, 1)), {}))
        for name in ("constant", "observed", "delayed")
    },
    "action": flat(lambda params, obs, key: (obs["target"][:, 0], {})),
    "skill": best_hierarchy(),
}
# name: (a row's cell of a table from its observation, its value)
number = lambda entry: lambda obs: obs[entry][..., 0, 0]  # noqa: E731
VALUES = {
    "constant": (lambda obs: 0 * number("one")(obs), lambda obs: 1 / (1 - GAMMA) + 0 * number("one")(obs)),
    "observed": (lambda obs: number("sign")(obs) > 0, number("sign")),
    "delayed": (
        lambda obs: 3 * (number("sign")(obs) > 0) + number("age")(obs),
        lambda obs: number("sign")(obs) * GAMMA ** (1 - number("age")(obs)),
    ),
    "action": (lambda obs: number("target")(obs) > 0, lambda obs: 1 / (1 - GAMMA) + 0 * number("target")(obs)),
    "skill": (
        lambda obs: HOLD * number("phase")(obs),
        lambda obs: GAMMA ** (HOLD - 1 - HOLD * number("phase")(obs)) / (1 - GAMMA**HOLD),
    ),
}


def play(env, policy, rows=ROWS, seed=0):
    start = lambda key: rollout.start(env, policy, key)  # noqa: E731
    act = lambda key: rollout.rollout(env, policy, None, start(key), jax.random.key(1), rows)[1]  # noqa: E731
    return jax.tree.map(np.asarray, jax.jit(act)(jax.random.key(seed)))


@functools.cache
def best_rows(name):
    return play(ENVS[name], BEST[name])


@pytest.mark.parametrize("name", ENVS)
def test_a_probe_keeps_the_promises_of_a_world(name):
    env, traces, policy = ENVS[name], [], uniform(ENVS[name].spec.action)
    counted = env._replace(step=lambda state, action: (traces.append(1), env.step(state, action))[1])
    start = jax.jit(lambda key: rollout.start(env, policy, key))
    go = jax.jit(lambda actor, key: rollout.rollout(counted, policy, None, actor, key, 20))
    actor, rows = go(start(jax.random.key(0)), jax.random.key(1))
    first_traces, step = len(traces), rows.step
    assert {k: (v.shape, v.dtype) for k, v in step.obs.items()} == {
        k: ((20, WORLDS, *v.shape), v.dtype) for k, v in env.spec.obs.items()
    }
    ends = name in ("observed", "delayed")
    closes = np.arange(20) % (env.spec.limit + 1) == env.spec.limit
    np.testing.assert_array_equal(step.last, np.tile(closes[:, None], WORLDS))
    np.testing.assert_array_equal(step.first, np.concatenate([[[True] * WORLDS], step.last[:-1]]))
    np.testing.assert_array_equal(step.discount, np.where(step.last & ends, 0, 1))
    np.testing.assert_array_equal(np.asarray(step.reward)[np.asarray(step.first)], 0)
    again, other = (go(start(jax.random.key(seed)), jax.random.key(1))[1].step for seed in (0, 5))
    jax.tree.map(np.testing.assert_array_equal, step, again)
    assert name == "constant" or any(not np.array_equal(step.obs[k], other.obs[k]) for k in step.obs)
    if name != "constant":  # every world has dice of its own, and every episode
        drawn = np.asarray(next(x for k, x in step.obs.items() if k in ("sign", "target")))[np.asarray(step.first)]
        assert 0.2 < (drawn > 0).mean() < 0.8
        assert all(len(np.unique(np.asarray(step.obs[k]), axis=1)[0]) > 1 for k in ("sign", "target") if k in step.obs)
    go(actor, jax.random.key(2))  # goes on from where it stood, through resets
    assert len(traces) == first_traces and go._cache_size() == start._cache_size() == 1


@pytest.mark.parametrize("name", ENVS)
def test_a_tabular_critic_converges_to_the_stated_value(name):
    """200 sweeps of each target over 60 transitions of 16 worlds, cut by ends, clocks and the window's end."""
    cell_of, value_of = VALUES[name]
    targets = {
        "td": returns.td,
        "n_step": lambda transitions, value: returns.n_step(transitions, value, 3),
        "lambda": lambda transitions, value: returns.lambda_returns(transitions, value, 0.9),
    }

    @jax.jit
    def learned(step):
        cell = cell_of(step.obs).astype(int)
        transitions = returns.transitions(step, GAMMA)
        counts = jnp.zeros(6).at[cell[:-1]].add(transitions.valid)

        def table(target):
            def sweep(_, table):
                goal = jnp.where(transitions.valid, target(transitions, table[cell[1:]]), 0.0)
                return jnp.zeros(6).at[cell[:-1]].add(goal) / jnp.maximum(counts, 1)

            return jax.lax.fori_loop(0, 200, sweep, jnp.zeros(6))

        return {kind: table(target)[cell[:-1]] for kind, target in targets.items()}, transitions.valid

    values, valid = learned(best_rows(name).step)
    expected = value_of(best_rows(name).step.obs)[:-1]
    for kind, value in values.items():
        np.testing.assert_allclose(value[valid], expected[valid], atol=1e-3, err_msg=kind)  # sums of 850 float32


@pytest.mark.parametrize("name", ENVS)
def test_the_stated_value_is_the_sum_of_rewards(name):
    """Over one long episode; what is paid after 80 steps weighs less than 1e-7."""
    long = {"constant": probe.constant_reward, "action": probe.action_reward, "skill": probe.skill_reward}
    env = long[name](WORLDS, limit=80) if name in long else ENVS[name]
    step = play(env, BEST[name], 81).step
    alive = np.cumprod(np.concatenate([np.ones((1, WORLDS)), step.discount[1:-1]]), 0)  # of the first episode
    total = (GAMMA ** np.arange(80)[:, None] * alive * step.reward[1:]).sum(0)
    np.testing.assert_allclose(total, VALUES[name][1](step.obs)[0], rtol=1e-5)


@pytest.mark.parametrize("name", ENVS)
def test_windows_of_a_replay_hold_the_exact_rewards(name):
    """What leads from a row to the next says what it pays; the ring of 40 rows has been round."""
    env, rows = ENVS[name], best_rows(name)
    memory = replay.make(40, env.spec)

    @jax.jit
    def sampled(rows, key):
        state = memory.init()
        for at in (0, 20, 40):
            state = memory.add(state, memory.frames(jax.tree.map(lambda x, at=at: x[at : at + 20], rows)))
        return memory.sample(state, key, batch_size=200, sequence_length=6)

    drawn = jax.tree.map(np.asarray, sampled(rows, jax.random.key(2)))
    obs = {k: v[..., 0, 0] for k, v in drawn.step.obs.items()}
    before, after = ({k: v[part] for k, v in obs.items()} for part in (slice(0, -1), slice(1, None)))
    valid = np.asarray(returns.transitions(drawn.step, GAMMA).valid)
    paid = {
        "constant": lambda: 1 + 0 * before["one"],
        "observed": lambda: before["sign"],
        "delayed": lambda: before["sign"] * (after["age"] == 2),
        "action": lambda: 1 - (drawn.action[:-1, :, 0] - before["target"]) ** 2,
        "skill": lambda: before["phase"] == (HOLD - 1) / HOLD,
    }[name]()
    np.testing.assert_allclose(drawn.step.reward[1:][valid], paid[valid], rtol=1e-6)
    assert 0.4 < valid.mean() < 1 and (drawn.step.reward[drawn.step.first] == 0).all()


# --- optima ---


ACTING = {
    "best": (BEST["action"], 1.0),
    "zero": (constant(jnp.zeros(1)), 3 / 4),
    "uniform": (uniform(ENVS["action"].spec.action), 5 / 12),
}


@pytest.mark.parametrize("policy", ACTING)
def test_actions_that_ignore_the_target_are_paid_less(policy):
    policy, mean = ACTING[policy]
    step = play(ENVS["action"], policy, 800).step
    paid = step.reward[~step.first]
    np.testing.assert_allclose(paid.mean(), mean, atol=4 * max(paid.std(), 1e-6) / len(paid) ** 0.5)
    assert (step.obs["success"][step.last] == (mean == 1.0)).all()


def test_a_block_is_paid_for_its_sign_held_throughout_and_nothing_else():
    """All 16 sequences of four signs, one in each world, until each world has shown both signs.

    So a policy that reads only the present row, whose later actions are the same for both, is paid for one of them.
    """
    actions = jnp.array(list(itertools.product((-0.3, 0.7), repeat=HOLD))).T[..., None]  # [HOLD, 16, 1]

    def act(params, phase, step, key):
        phase = jnp.where(step.first[0], 0, phase)
        return (phase + 1) % HOLD, actions[phase], {}

    step = play(ENVS["skill"], Policy(lambda worlds: jnp.zeros((), jnp.int32), act), 13 * 20).step
    sign = step.obs["sign"][..., 0, 0]
    held = {0: -1, 15: 1}  # the two sequences without a change
    for world in range(16):
        begins = np.flatnonzero(sign[:-HOLD, world] * ~step.last[:-HOLD, world])
        assert set(sign[begins, world]) == {-1, 1}
        paid = step.reward[begins + HOLD, world]
        np.testing.assert_array_equal(paid, sign[begins, world] == held.get(world, 0))
        between = np.setdiff1d(np.arange(len(sign)), begins + HOLD)
        assert (step.reward[between[between < len(sign) - HOLD], world] == 0).all()


def test_success_is_that_every_block_was_paid():
    best, held = best_rows("skill").step, play(ENVS["skill"], constant(jnp.ones(1)), 13 * 40).step
    assert (best.obs["success"][best.last] == 1).all() and ENVS["skill"].spec.success == "success"
    episodes = held.reward.reshape(40, 13, WORLDS).sum(1)
    success = held.obs["success"][..., 0, 0].reshape(40, 13, WORLDS)[:, -1]
    np.testing.assert_array_equal(success, episodes == 3)
    np.testing.assert_allclose(success.mean(), 1 / 8, atol=0.06)
    np.testing.assert_allclose(episodes.mean() / 3, 0.5, atol=0.05)


def test_a_manager_is_worth_one_reward_for_each_choice():
    """Whether its rows are taken by a fixed period, in one long episode, or by its choices, in episodes of 12 steps."""
    long = play(probe.skill_reward(WORLDS, hold=HOLD, limit=60), BEST["skill"], 61)
    views = {"coarsen": (coarsen(HOLD), long), "segments": (segments("skill"), best_rows("skill"))}
    for name, (view, rows) in views.items():
        short = jax.jit(lambda rows, view=view: acting_on("skill")(view(rows)))(rows)
        transitions = jax.tree.map(np.asarray, returns.transitions(short.step, GAMMA))
        assert (transitions.reward[transitions.valid] == 1).all(), name
        sign, choice = np.asarray(short.step.obs["sign"][:-1, :, 0, 0]), np.asarray(short.action[:-1])
        np.testing.assert_array_equal(2 * choice[transitions.valid] - 1, sign[transitions.valid])
        bootstrap = jnp.full_like(short.step.reward[1:], 1 / (1 - GAMMA))
        value = returns.lambda_returns(jax.tree.map(jnp.asarray, transitions), bootstrap, 0.9)
        np.testing.assert_allclose(np.asarray(value)[transitions.valid], 1 / (1 - GAMMA), rtol=1e-5)


def test_errors_are_one_line():
    with pytest.raises(ValueError, match="hold must satisfy 1 <= hold <= limit = 3, got 4"):
        probe.skill_reward(2, hold=4, limit=3)
    with pytest.raises(ValueError, match="worlds must be >= 1, got 0"):
        probe.constant_reward(0)
