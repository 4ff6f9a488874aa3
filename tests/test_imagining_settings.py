"""Settings of agents that imagine, held by what one update of the whole agent does; and dreams without observations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imagining import LEVEL, SKILLS, SPEC, WORLD, made_up, parts_of

from skillhier.agents import dreamer, world_model

T, B = 6, 4


def parts(name="dreamer", **settings):
    small = {**WORLD, **LEVEL} | (SKILLS if name != "dreamer" else {})
    return parts_of(name, SPEC, **{**small, **settings})


@functools.cache
def params(name="dreamer"):
    return jax.jit(parts(name).init)(jax.random.key(0))


@functools.cache
def metrics_of(name="dreamer", **settings):
    """(params, slow state) -> the metrics of one loss."""
    of = parts(name, **settings)
    metrics = jax.jit(lambda params, slow: of.loss(params, slow, made_up(T, B), jax.random.key(1))[1][1])
    return lambda params, slow=None: jax.device_get(metrics(params, of.slow.init(params) if slow is None else slow))


def differ(one, other):
    """The largest difference of two trees."""
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), one, other)))


# --- training ---


def test_decay_draws_kernels_to_zero_by_rate_times_weight_and_leaves_biases():
    rates = {"world": 0.01, "actor": 0.02, "critic": 0.04}
    named = {"learning_rate": 0.01, "actor_learning_rate": 0.02, "critic_learning_rate": 0.04}
    tx, tree = parts(weight_decay=0.5, **named).tx, params()
    moves = jax.jit(lambda tree: tx.update(jax.tree.map(jnp.zeros_like, tree), tx.init(tree), tree)[0])(tree)
    for (path, move), x in zip(jax.tree_util.tree_leaves_with_path(moves), jax.tree.leaves(tree), strict=True):
        rate = rates[path[0].key if path[0].key == "world" else path[1].key]
        np.testing.assert_allclose(move, -rate * 0.5 * x if x.ndim > 1 else 0 * x, rtol=1e-6)


def test_rates_fall_to_zero_along_a_cosine():
    """With weight decay alone a step is -rate times 0.5 times the kernel: of the rate all, half and nothing is left."""
    tx, tree = parts(weight_decay=0.5, learning_rate=0.01, decay_updates=4).tx, params()
    zeros = jax.tree.map(jnp.zeros_like, tree)
    kernel = next(x for x in jax.tree.leaves(tree["world"]) if x.ndim > 1)
    step, state, left = jax.jit(lambda state: tx.update(zeros, state, tree)), tx.init(tree), []
    for _ in range(6):
        moves, state = step(state)
        move = next(x for x in jax.tree.leaves(moves["world"]) if x.ndim > 1)
        left.append(float(jnp.vdot(move, kernel) / jnp.vdot(kernel, kernel)) / (-0.01 * 0.5))
    np.testing.assert_allclose(left, [1, 0.5 + 0.125**0.5, 0.5, 0.5 - 0.125**0.5, 0, 0], atol=1e-5)


def test_half_precision_is_of_the_products_alone():
    begun = jax.eval_shape(parts(dtype="bfloat16").init, jax.random.key(0))
    assert {x.dtype for x in jax.tree.leaves(begun)} == {jnp.dtype(jnp.float32)}
    full, half = metrics_of()(params()), metrics_of(dtype="bfloat16")(params())
    for name in ("world/loss", "control/actor_loss", "control/critic_loss"):
        assert half[name].dtype == jnp.float32 and half[name] != full[name]
        assert float(half[name]) == pytest.approx(float(full[name]), rel=0.02, abs=0.02)


# --- the slow critic ---


def target(slow):
    return slow["control"]["target"]["critic"]


def moved():
    """Parameters whose critic has moved."""
    control = params()["control"]
    return {**params(), "control": {**control, "critic": jax.tree.map(lambda x: x + 1, control["critic"])}}


def test_a_copy_of_the_critic_is_renewed_every_so_many_updates():
    slow = parts(slow_critic="copy", slow_period=2).slow
    first = slow.init(params())
    assert differ(target(first), params()["control"]["critic"]) == 0
    for updates, apart in ((1, 0), (2, 1), (3, 0)):
        after = slow.follow(first, moved(), jnp.int32(updates))
        assert differ(target(after), target(first)) == pytest.approx(apart)


def test_an_average_of_the_critic_moves_by_its_rate():
    slow = parts(slow_critic="average", slow_rate=0.25).slow
    first = slow.init(params())
    after = slow.follow(first, moved(), jnp.int32(1))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(y - x, 0.25, rtol=1e-5), target(first), target(after))


def test_what_a_slow_critic_says_is_bootstrapped_from_or_is_a_second_target():
    """Of two slow critics: one equal to the critic, one that has moved."""
    kept = parts(slow_critic="copy")
    before, after = kept.slow.init(params()), kept.slow.init(moved())
    losses = {
        name: [metrics_of(slow_critic="copy", **settings)(params(), slow)["control/critic_loss"]
               for slow in (before, after)]
        for name, settings in {"bootstrap": {"bootstrap": "slow"}, "second": {"slow_weight": 1.0}}.items()
    }  # fmt: skip
    own = metrics_of()(params())["control/critic_loss"]
    assert losses["bootstrap"][0] == pytest.approx(own, rel=1e-6) != losses["bootstrap"][1]
    assert own < losses["second"][0] < losses["second"][1]


# --- what a nat is worth ---


def test_with_a_target_the_weight_is_the_slow_one_and_moves_towards_what_holds_it():
    """A predictor that is wrong of all starts leaves windows to say much: more than one target, less than another."""
    tree = params("random_skills")
    wrong = jax.tree.map(lambda x: x + 5.0, tree["skills"]["start_predictor"])
    tree = {**tree, "skills": {**tree["skills"], "start_predictor": wrong}}
    for target, moved in ((1e9, 1.01), (1.0, 1 / 1.01)):
        held = parts("random_skills", mi_target=target, mi_scale=0.4)
        first = held.slow.init(tree)
        assert float(first["skills"]["weight"]) == 1.0  # of mi_scale
        half = {**first, "skills": {"weight": jnp.float32(0.5)}}
        loss = jax.jit(lambda slow, held=held: held.loss(tree, slow, made_up(T, B), jax.random.key(1))[1])
        slow, metrics = jax.device_get(loss(half))
        fixed = metrics_of("random_skills", mi_scale=0.2)(tree)
        assert metrics["worker/actor_loss"] == pytest.approx(fixed["worker/actor_loss"], rel=1e-6)
        assert metrics["skills/weight"] == pytest.approx(0.2)
        assert 1.1 < metrics["skills/information"] < 1e8
        assert slow["skills"]["weight"] == pytest.approx(0.5 * moved, rel=1e-6)
        assert loss(first)[0]["skills"]["weight"] == pytest.approx(min(1.0, moved), rel=1e-6)
    other = metrics_of("random_skills", mi_scale=0.0)(tree)
    assert fixed["worker/actor_loss"] != pytest.approx(other["worker/actor_loss"], rel=1e-3)


def test_a_weight_that_moves_scores_no_plans():
    with pytest.raises(ValueError, match="agent.mi_target=0 or agent.mi_in_cem=false"):
        parts("lsp", mi_target=1.0, mi_in_cem=True)


# --- dreams of what was seen ---


def test_a_dream_of_what_was_seen_follows_its_actions_and_none_of_its_observations():
    settings = world_model.DEFAULTS | WORLD
    model = world_model.make(SPEC, **settings)
    params = model.init(jax.random.key(0))
    dream = jax.jit(lambda rows: model.open_loop(params, rows, 3, jax.random.key(1)))
    rows, at = made_up(T, B), jnp.arange(T)[:, None, None]
    lines = dream(rows)
    assert {name: x.shape for name, x in lines["dream"].items()} == {"state": (T, B, 3), "reward": (T, B, 1)}
    assert (lines["seen"]["state"] == rows.step.obs["state"][:, :, 0]).all()
    assert (lines["seen"]["reward"][..., 0] == rows.step.reward).all()
    assert (lines["dream"]["state"][:3] == lines["belief"]["state"][:3]).all()

    def moved(of, other):
        """The rows of a line that another trajectory changes."""
        return np.flatnonzero((of != other).any((1, 2))).tolist()

    later = {"state": jnp.where(at[..., None] >= 3, 9.0, rows.step.obs["state"])}
    unseen = dream(rows._replace(step=rows.step._replace(obs=later)))
    assert moved(lines["dream"]["state"], unseen["dream"]["state"]) == []
    assert moved(lines["belief"]["state"], unseen["belief"]["state"]) == [3, 4, 5]
    for t, changed in ((3, [4, 5]), (T - 1, [])):  # an action leads to the next row; the last one nowhere
        acted = dream(rows._replace(action=jnp.where(at == t, -rows.action, rows.action)))
        assert moved(lines["dream"]["state"], acted["dream"]["state"]) == changed


def test_the_small_sizes_are_settings_of_the_agents():
    assert set(WORLD) | set(LEVEL) <= set(dreamer.DEFAULTS)
