"""Goals in a world model's memory: how near, of which rows, coded by what; a choice among codes. Numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillhier.losses import goal_coder as losses
from skillhier.losses.goal_coder import Coder
from skillhier.nets import goal_coder
from skillhier.ops import action_heads, goals, latents, scale
from skillhier.ops.temporal import coarsen
from skillhier.types import TimeStep, Trajectory

D, CODES, CLASSES = 4, 2, 3
Z = CODES * CLASSES
KIND = latents.categorical(CODES, CLASSES)
NAMES = ("2", "3")


def coders(context=True):
    return goal_coder.make(NAMES, size=D, code=Z, outputs=Z, hidden=(5, 6), context=context)


def batch(states, first=None):
    rows = states.shape[:2]
    no = jnp.zeros(rows, bool)
    step = TimeStep({"deter": states}, jnp.zeros(rows), jnp.ones(rows), no if first is None else first, no)
    return Trajectory(step, jnp.zeros((*rows, 1)), {})


# --- similarity and pairs ---


@pytest.mark.parametrize(
    ("state", "goal", "near"),
    [((2, 0), (1, 0), 0.5), ((0.5, 0), (1, 0), 0.5), ((1, 0), (1, 0), 1), ((0, 3), (1, 0), 0), ((-1, 0), (1, 0), -1)],
)
def test_cosine_max_of_the_fact_sheet_either_way_round(state, goal, near):
    state, goal = jnp.array(state, float), jnp.array(goal, float)
    assert float(goals.cosine_max(state, goal)) == pytest.approx(near)
    assert float(goals.cosine_max(goal, state)) == pytest.approx(near)


def test_cosine_max_of_two_zeros_is_none_and_has_a_gradient():
    value, slope = jax.value_and_grad(lambda x: goals.cosine_max(x, jnp.zeros(2)))(jnp.ones(2))
    assert float(value) == 0 and np.isfinite(slope).all()


@pytest.mark.parametrize(("own", "near"), [(False, [1, 1, 0, 0, 0.5]), (True, [1, 1, 1, 0, 0])])
def test_a_chunks_last_row_is_near_the_next_goal_or_its_own(own, near):
    """Two chunks of two rows; at rows 2 and 4 a new goal has been chosen."""
    aims = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [2.0, 0.0]])[:, None]
    states = jnp.tile(jnp.array([1.0, 0.0]), (5, 1, 1))
    assert goals.nearness(states, aims, own=own)[:, 0].tolist() == near


@pytest.mark.parametrize(("resolution", "count"), [(8, 57), (16, 49), (32, 33), (64, 1)])
def test_pairs_of_a_chunk_of_64_rows(resolution, count):
    states = jnp.arange(64.0)[:, None, None]
    context, goal, valid = goals.pairs(states, jnp.zeros((64, 1), bool), resolution - 1)
    assert len(context) == count and bool(valid.all())
    assert np.unique(goal - context).tolist() == [resolution - 1]


def test_no_pair_crosses_an_episodes_start():
    """Rows 0 1 2 | 3 4: of pairs two rows apart only 0, 2 is one; a window's first row may be a start too."""
    first = jnp.array([True, False, False, True, False])[:, None]
    _, _, valid = goals.pairs(jnp.zeros((5, 1, D)), first, 2)
    assert valid[:, 0].tolist() == [True, False, False]
    with pytest.raises(ValueError, match="train.sequence_length"):
        goals.pairs(jnp.zeros((5, 1, D)), first, 5)


# --- coders ---


def test_all_coders_at_once_are_each_alone():
    nets = coders()
    params = nets.init(jax.random.key(0))
    draw = lambda seed, width: jax.random.normal(jax.random.key(seed), (7, width))  # noqa: E731
    context, goal, code = draw(1, D), draw(2, D), draw(3, 2 * Z)
    together = nets.encode_all(params, context, goal)
    decoded = nets.decode_all(params, context, code.reshape(7, 2, Z))
    for i in range(2):
        np.testing.assert_allclose(together[:, i], nets.encode(params, context, goal, i), atol=1e-6)
        alone = nets.decode(params, context, code.reshape(7, 2, Z)[:, i], i)
        np.testing.assert_allclose(decoded[:, i], alone, atol=1e-6)
    assert np.abs(together[:, 0] - together[:, 1]).max() > 1e-3


@pytest.mark.parametrize("context", [True, False])
def test_a_context_is_seen_or_not(context):
    nets = coders(context)
    params = nets.init(jax.random.key(0))
    goal, code = jnp.ones((1, D)), jnp.ones((1, Z))
    for move in (lambda c: nets.encode(params, c, goal, 0), lambda c: nets.decode(params, c, code, 0)):
        assert bool((move(jnp.zeros((1, D))) != move(jnp.ones((1, D)))).any()) == context


def test_a_coder_learns_from_its_own_pairs_alone_and_all_share_the_rest():
    nets = coders()
    params = {"coder": nets.init(jax.random.key(0))}
    several = {
        name: Coder(lambda p, c, g, i=i: nets.encode(p, c, g, i), lambda p, c, z, i=i: nets.decode(p, c, z, i), i + 1)
        for i, name in enumerate(NAMES)
    }
    rows = batch(jax.random.normal(jax.random.key(2), (5, 3, D)))
    slopes = {}
    for name in NAMES:
        loss = losses.coder_loss({name: several[name]}, KIND)
        slopes[name] = jax.grad(lambda p: loss(p, {}, rows, jax.random.key(3))[0])(params)["coder"]  # noqa: B023
    size = lambda tree: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree))  # noqa: E731
    for name, other in (NAMES, NAMES[::-1]):
        for part in ("heads", "firsts"):
            assert size(slopes[name][part][name]) > 0 and size(slopes[name][part][other]) == 0
        assert size(slopes[name]["trunk"]) > 0 and size(slopes[name]["rest"]) > 0
    whole = losses.coder_loss(several, KIND)
    metrics = whole(params, {}, rows, jax.random.key(3))[1][1]
    assert float(whole(params, {}, rows, jax.random.key(3))[0]) == pytest.approx(
        sum(float(metrics[f"{n}_error"] + metrics[f"{n}_kl"]) for n in NAMES), rel=1e-6
    )
    through = jax.grad(lambda x: whole(params, {}, batch(x), jax.random.key(3))[0])(rows.step.obs["deter"])
    assert size(through) == 0  # rows get no gradient


def test_the_loss_of_a_coder_by_hand():
    """A sure encoder (the first class of both codes), a decoder that says 1 everywhere; two of three pairs count."""
    logits = jnp.tile(jnp.array([50.0, 0.0, 0.0]), CODES)
    sure = Coder(lambda p, c, g: jnp.broadcast_to(logits, (*g.shape[:-1], Z)), lambda p, c, z: jnp.ones_like(c), 1)
    states = jnp.array([0.0, 1.0, 3.0, 2.0])[:, None, None] * jnp.ones(D)
    first = jnp.array([True, False, True, False])[:, None]  # pairs 0-1, 2-3
    weight = scale.adaptive_weight(1.0)
    slow = losses.init_slow({"sure": sure}, weight)
    value, (slow, metrics) = losses.coder_loss({"sure": sure}, KIND, weight)(
        {"coder": {}}, slow, batch(states, first), jax.random.key(0)
    )
    error, nats = (0 + D) / 2, CODES * np.log(CLASSES)
    assert float(metrics["sure_error"]) == pytest.approx(error) and float(metrics["sure_kl"]) == pytest.approx(nats)
    assert float(slow["weight"]["sure"]) == 1.0  # above its target, and bounded by 1
    assert float(value) == pytest.approx(error + nats, rel=1e-6)
    novelty = losses.decoding_error(sure, KIND, {}, states[:, 0], states[:, 0], jax.random.key(0))
    assert np.asarray(novelty).tolist() == [1.0, 0.0, 4.0, 1.0]


def test_relaxed_codes_sum_to_one_and_sharpen():
    stats = KIND.stats(jax.random.normal(jax.random.key(0), (50, Z)))
    noise = KIND.noise(jax.random.key(1), (50,))
    hard = KIND.sample(stats, noise).reshape(50, CODES, CLASSES)
    for temperature, near in ((0.5, 0.7), (1e-3, 1e-3)):
        soft = latents.relaxed(CODES, CLASSES, temperature).sample(stats, noise).reshape(50, CODES, CLASSES)
        np.testing.assert_allclose(soft.sum(-1), 1, rtol=1e-5)
        assert (soft.argmax(-1) == hard.argmax(-1)).all() and float(jnp.abs(soft - hard).mean()) < near


# --- a choice among codes ---

ONE = action_heads.one_hot(CODES, CLASSES)
CHOICE = action_heads.choice(ONE, 2)


def test_a_choice_counts_its_pick_and_the_code_picked():
    raw = jax.random.normal(jax.random.key(0), (5, CHOICE.outputs))
    stats = CHOICE.stats(raw)
    action = CHOICE.sample(stats, jax.random.key(1))
    codes, pick = action_heads.picked(action, 2)
    assert action.shape == (5, CHOICE.size) and codes.shape == (5, 2, Z)
    np.testing.assert_allclose(pick.sum(-1), 1)
    for row in range(5):
        i = int(pick[row].argmax())
        of_code = ONE.log_prob(ONE.stats(raw[row, i * Z : (i + 1) * Z]), codes[row, i])
        of_pick = action_heads.one_hot(1, 2).stats(raw[row, 2 * Z :])["log_p"][0, i]
        assert float(CHOICE.log_prob(stats, action)[row]) == pytest.approx(float(of_code + of_pick), rel=1e-5)


def test_codes_that_are_not_picked_get_no_gradient():
    raw = jax.random.normal(jax.random.key(0), (CHOICE.outputs,))
    action = CHOICE.sample(CHOICE.stats(raw), jax.random.key(1))
    i = int(action_heads.picked(action, 2)[1].argmax())
    slope = jax.grad(lambda raw: CHOICE.log_prob(CHOICE.stats(raw), action))(raw)
    each, of_pick = slope[: 2 * Z].reshape(2, Z), slope[2 * Z :]
    assert (np.asarray(each[1 - i]) == 0).all() and (np.asarray(each[i]) != 0).any() and (of_pick != 0).any()


def test_entropy_of_a_choice_has_a_part_for_each_code_and_the_pick():
    stats = CHOICE.stats(jnp.zeros(CHOICE.outputs))
    low, high = CHOICE.entropy_range
    np.testing.assert_allclose((CHOICE.entropy(stats) - low) / (high - low), np.ones(2 * CODES + 1), rtol=1e-5)
    assert np.asarray(high).tolist() == pytest.approx([np.log(CLASSES)] * 4 + [np.log(2)])
    plain = action_heads.choice(ONE, 2, pick_entropy=False, masked=True)
    assert plain.entropy(stats).shape == (2 * CODES,) and CHOICE.entropy_counts is None
    action = jnp.concatenate([jnp.zeros(2 * Z), jnp.array([0.0, 1.0])])
    assert plain.entropy_counts(action).tolist() == [0, 0, 1, 1]
    masked = action_heads.choice(ONE, 2, masked=True)
    assert masked.entropy_counts(action).tolist() == [0, 0, 1, 1, 1]


def test_a_chunk_pays_the_mean_of_its_rewards_if_asked():
    reward = jnp.array([9.0, 1.0, 2.0, 3.0, 6.0])[:, None]
    rows = batch(jnp.zeros((5, 1, D)))
    rows = rows._replace(step=rows.step._replace(reward=reward, discount=jnp.full((5, 1), 0.5)))
    summed, mean = (coarsen(2, mean=mean)(rows).step for mean in (False, True))
    assert summed.reward[:, 0].tolist() == [9, 2, 6] and mean.reward[:, 0].tolist() == [9, 1, 3]
    assert (summed.discount == mean.discount).all()
