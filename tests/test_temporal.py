"""Views of a trajectory: their laws, hand-worked windows with ends, time limits and breaks, and a slow reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counters import counters

from skillhier import rollout
from skillhier.ops import returns
from skillhier.ops.temporal import acting_on, coarsen, segments, split
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy, uniform_period
from skillhier.types import TimeStep, Trajectory


def same(one, other, **close):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    compare = np.testing.assert_allclose if close else np.testing.assert_array_equal
    jax.tree.map(lambda x, y: compare(x, y, **close), one, other)


def random_rows(length, worlds=3, flags=0.0, seed=0):
    """Rows with random rewards and continuations; each flag is set with probability `flags`."""
    keys = jax.random.split(jax.random.key(seed), 5)
    shape = (length, worlds)
    number = jnp.arange(length * worlds, dtype=jnp.float32).reshape(shape)
    first, last = (jax.random.bernoulli(key, flags, shape) for key in keys[:2])
    step = TimeStep(
        {"x": number[..., None]}, jax.random.normal(keys[2], shape), jax.random.uniform(keys[3], shape), first, last
    )
    return Trajectory(step, {"arm": -number[..., None]}, {"skill": number.astype(int), "goal": number[..., None] + 0.5})


def window(first=(0,), last=(), ends=(), renewed=(0, 2, 4)):
    """Six rows of one world with rewards 0 1 2 3 4 5 (0 where first); the choice at a row is the row's number."""
    mark = lambda rows: jnp.zeros(6, bool).at[jnp.array(rows, int)].set(True)  # noqa: E731
    row = jnp.arange(6.0)
    reward, discount = jnp.where(mark(first), 0, row), jnp.where(mark(ends), 0.0, 1.0)
    step = TimeStep({"x": row}, reward, discount, mark(first), mark(last))
    return jax.tree.map(lambda x: x[:, None], Trajectory(step, row, {"skill": row, "skill_renewed": mark(renewed)}))


# --- acting on a note ---


def test_a_level_acts_on_what_was_noted():
    rows = random_rows(4)
    same(acting_on("skill")(rows), rows._replace(action=rows.extras["skill"]))
    with pytest.raises(ValueError, match="needs the note 'latent', got goal, skill; add it to the replay's extras"):
        acting_on("latent")(rows)


# --- coarsen ---


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_coarsen_by_one_is_the_identity(gamma):
    rows = random_rows(7, flags=0.3)
    same(coarsen(1, gamma)(rows), rows)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize(("inner", "outer"), [(2, 3), (4, 3), (12, 1)])
def test_coarsen_twice_is_coarsen_by_the_product(inner, outer, gamma):
    rows = random_rows(25, flags=0.1)
    twice = jax.jit(lambda rows: coarsen(outer, gamma)(coarsen(inner, gamma)(rows)))(rows)
    same(twice, jax.jit(coarsen(inner * outer, gamma))(rows), rtol=1e-5, atol=1e-6)


def test_coarsen_by_hand():
    """Seven rows in chunks of three; gamma 1/2. Row 2 is reached with continuation 1/4, row 4 with 0."""
    reward, discount = jnp.array([9.0, 1, 2, 4, 8, 16, 32]), jnp.array([0.7, 1, 0.25, 1, 0, 1, 1])
    no = jnp.zeros((7, 1), bool)
    step = TimeStep({"x": jnp.arange(7)[:, None]}, reward[:, None], discount[:, None], no, no)
    coarse = coarsen(3)(Trajectory(step, step.obs["x"], {})).step
    np.testing.assert_array_equal(coarse.obs["x"][:, 0], [0, 3, 6])
    np.testing.assert_allclose(coarse.reward[:, 0], [9, 1 + 2 + 4 / 4, 8])
    np.testing.assert_allclose(coarse.discount[:, 0], np.array([0.7, 0.25, 0]).astype(np.float32))
    coarse = coarsen(3, 0.5)(Trajectory(step, step.obs["x"], {})).step
    np.testing.assert_allclose(coarse.reward[:, 0], [9, 1 + 2 / 2 + 4 / 16, 8])
    np.testing.assert_allclose(coarse.discount[:, 0], np.array([0.7, 0.25 / 4, 0]).astype(np.float32))


@pytest.mark.parametrize("k", [2, 6])
def test_returns_of_coarse_rows_are_returns_of_all_rows(k):
    """At lambda 1: without discounts, with continuations, and with a gamma that view and loss share."""
    rows, value = random_rows(13), jax.random.normal(jax.random.key(1), (13, 3))
    undiscounted = rows._replace(step=rows.step._replace(discount=jnp.ones((13, 3))))
    worth = jax.jit(lambda step, value, gamma: returns.lambda_returns(returns.transitions(step, gamma), value, 1.0))
    for batch, gamma in ((undiscounted, 1.0), (rows, 1.0), (rows, 0.8)):
        full = worth(batch.step, value[1:], gamma)
        coarse = worth(jax.jit(coarsen(k, gamma))(batch).step, value[::k][1:], gamma)
        np.testing.assert_allclose(coarse, full[::k], rtol=1e-5, atol=1e-5)


def test_a_chunk_in_which_an_episode_opens_is_no_transition():
    """Chunks of three; the clock runs out one row before row 4, 5 or 6: rows 3 to 6 are none, those around them are."""
    rows = random_rows(10, worlds=3)
    opens = jnp.array([4, 5, 6]), jnp.arange(3)
    first, last = rows.step.first.at[opens].set(True), rows.step.last.at[opens[0] - 1, opens[1]].set(True)
    step = coarsen(3)(rows._replace(step=rows.step._replace(first=first, last=last))).step
    np.testing.assert_array_equal(returns.transitions(step, 1.0).valid, [[True] * 3, [False] * 3, [True] * 3])


def test_gradients_reach_every_reward_and_continuation():
    rows = random_rows(7)

    def worth(reward, discount):
        step = coarsen(3)(rows._replace(step=rows.step._replace(reward=reward, discount=discount))).step
        return returns.lambda_returns(returns.transitions(step, 0.9), jnp.ones((2, 3)), 1.0)[0].sum()

    by_reward, by_discount = jax.grad(worth, (0, 1))(rows.step.reward, rows.step.discount)
    assert (by_reward[1:] != 0).all() and (by_discount[1:] != 0).all()
    assert np.isfinite(jax.grad(worth, 1)(rows.step.reward, rows.step.discount.at[2].set(0.0))).all()


# --- split ---


def join(chunks: Trajectory, k: int, worlds: int) -> Trajectory:
    """What split(k) took apart."""

    def whole(x):
        x = x.reshape(k + 1, worlds, -1, *x.shape[2:])
        rows = x[:-1].swapaxes(1, 2).swapaxes(0, 1).reshape(-1, worlds, *x.shape[3:])
        return jnp.concatenate([rows, x[-1:, :, -1]])

    return jax.tree.map(whole, chunks)


@pytest.mark.parametrize("k", [1, 4, 12])
def test_what_is_split_and_joined_is_as_it_was(k):
    rows = random_rows(13, flags=0.3)
    chunks = jax.jit(split(k))(rows)
    assert chunks.step.obs["x"].shape == (k + 1, 3 * 12 // k, 1)
    same(jax.jit(join, static_argnums=(1, 2))(chunks, k, 3), rows)
    for leaf in jax.tree.leaves(chunks):  # the last row of a chunk is the first one of the next, world by world
        by_world = leaf.reshape(k + 1, 3, 12 // k, -1)
        np.testing.assert_array_equal(by_world[-1, :, :-1], by_world[0, :, 1:])


def test_returns_of_chunks_bootstrap_at_their_last_row_and_stop_at_an_end():
    """Rows 0 to 4 in chunks of two, rewards 0 1 2 4 8, values 10 20 30 40 50, gamma 1/2, lambda 1.

    Rows 0 and 1: 1 + (2 + 30/2) / 2 = 9.5 and 2 + 30/2 = 17. Rows 2 and 3: 4 + (8 + 50/2) / 2 = 20.5 and 8 + 50/2 = 33.
    If the task ends on arriving at row 3, row 2 is worth 4 and row 3 begins nothing.
    """
    no = jnp.zeros((5, 1), bool)
    reward, value = jnp.array([[0.0], [1], [2], [4], [8]]), jnp.array([[10.0], [20], [30], [40], [50]])
    step = TimeStep({"value": value}, reward, jnp.ones((5, 1)), no, no)

    def worth(step):
        chunks = split(2)(Trajectory(step, value, {})).step
        transitions = returns.transitions(chunks, 0.5)
        return returns.lambda_returns(transitions, chunks.obs["value"][1:], 1.0), transitions.valid

    worth = jax.jit(worth)
    target, valid = worth(step)
    np.testing.assert_allclose(target, [[9.5, 20.5], [17, 33]])
    assert valid.all()
    ended = step._replace(discount=step.discount.at[3].set(0.0), last=no.at[3].set(True), first=no.at[4].set(True))
    target, valid = worth(ended)
    np.testing.assert_allclose(target[0], [9.5, 4])
    np.testing.assert_array_equal(valid, [[True, True], [True, False]])
    imagined, _ = worth(step._replace(discount=step.discount.at[3].set(0.0)))  # a dream has no flags
    np.testing.assert_allclose(imagined[0], [9.5, 4])


def test_a_chunk_is_judged_by_its_own_choice_to_the_end():
    rows = random_rows(7, worlds=1)
    chunks = split(3, held=("skill",))(rows)
    np.testing.assert_array_equal(chunks.extras["skill"].T, [[0, 1, 2, 2], [3, 4, 5, 5]])
    np.testing.assert_array_equal(chunks.extras["goal"][..., 0].T, [[0.5, 1.5, 2.5, 3.5], [3.5, 4.5, 5.5, 6.5]])
    with pytest.raises(ValueError, match="needs the note 'latent'"):
        split(3, held=("latent",))(rows)


# --- segments ---

# name: (window, rows that are taken, rewards, discounts, valid transitions) at gamma 1/2; rows after those are padding.
CASES = {
    # Choices at rows 0, 2, 4; row 5 belongs to a segment whose outcome is unknown. 1 + 2/2, 3 + 4/2; gamma^1.
    "no cut": (window(), [0, 2, 4], [0, 2, 5], [1, 0.5, 0.5], [1, 1, 0, 0, 0]),
    # The task ends on arriving at row 3, one row after a choice; row 4 opens an episode.
    "an end": (
        window(first=(0, 4), last=(3,), ends=(3,)),
        [0, 2, 3, 4],
        [0, 2, 3, 0],
        [1, 0.5, 0, 1],
        [1, 1, 0, 0, 0],
    ),
    # The clock runs out at row 3: the same cut, but the segment has a value to bootstrap from.
    "a time limit": (
        window(first=(0, 4), last=(3,)),
        [0, 2, 3, 4],
        [0, 2, 3, 0],
        [1, 0.5, 1, 1],
        [1, 1, 0, 0, 0],
    ),
    # The clock at row 1, in the middle of a choice; then an end at row 5, three rows after the choice at row 2.
    "both": (
        window(first=(0, 2), last=(1, 5), ends=(5,), renewed=(0, 2)),
        [0, 1, 2, 5],
        [0, 1, 0, 3 + 4 / 2 + 5 / 4],
        [1, 1, 1, 0],
        [1, 0, 1, 0, 0],
    ),
    # The world broke after row 2: row 3 opens an episode, and no row before it closes one.
    "a broken world": (
        window(first=(0, 3), renewed=(0, 2, 3, 5)),
        [0, 2, 3, 5],
        [0, 2, 0, 4 + 5 / 2],
        [1, 0.5, 1, 0.5],
        [1, 0, 1, 0, 0],
    ),
    # A replay cuts at row 3, in the middle of the choice of row 2: that one's outcome is unknown, up to row 5.
    "an artificial cut": (
        window(first=(0, 3), renewed=(0, 2, 5)),
        [0, 2, 5],
        [0, 2, None],
        [1, 0.5, None],
        [1, 0, 0, 0, 0],
    ),
    # A sampled window begins in the middle of a choice; row 1 closes the episode.
    "a window's middle": (
        window(first=(2,), last=(1,), renewed=(2, 4)),
        [1, 2, 4],
        [None, 0, 3 + 4 / 2],
        [None, 1, 0.5],
        [0, 1, 0, 0, 0],
    ),
}


BY_HAND = jax.jit(segments("skill", 0.5))


@pytest.mark.parametrize("case", CASES)
def test_segments_by_hand(case):
    rows, chosen, reward, discount, valid = CASES[case]
    short = BY_HAND(rows)
    count = len(chosen)
    np.testing.assert_array_equal(short.step.obs["x"][:, 0], chosen + [5] * (6 - count))
    np.testing.assert_array_equal(short.extras["skill"], short.step.obs["x"])
    np.testing.assert_array_equal(short.action, short.step.obs["x"])
    for i in range(count):
        if reward[i] is not None:
            assert short.step.reward[i, 0] == reward[i] and short.step.discount[i, 0] == discount[i], i
    transitions = returns.transitions(short.step, 0.5)
    np.testing.assert_array_equal(transitions.valid[:, 0], valid)
    np.testing.assert_array_equal(short.step.last[:count], rows.step.last[jnp.array(chosen)])
    assert short.step.last[count:].all() and short.step.first[count:].all()
    np.testing.assert_array_equal(short.step.reward[count:], 0)
    np.testing.assert_array_equal(short.step.discount[count:], 1)


def test_an_end_is_worth_nothing_and_a_time_limit_its_value():
    """Gamma 1/2 in view and loss, values 10 x. Row 0: 1 + (2 + 20/2) / 2; row 2: 3 and no value, or 3 + 30/2."""
    for case, worth in (("an end", 3.0), ("a time limit", 18.0)):
        step = BY_HAND(CASES[case][0]).step
        target = returns.td(returns.transitions(step, 0.5), 10 * step.obs["x"][1:])
        np.testing.assert_allclose(target[:2, 0], [1 + (2 + 20 / 2) / 2, worth])


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("k", [1, 3])
def test_segments_of_one_period_are_coarse_rows(k, gamma):
    rows = random_rows(13)
    renewed = jnp.broadcast_to((jnp.arange(13) % k == 0)[:, None], (13, 3))
    rows = rows._replace(extras={**rows.extras, "skill_renewed": renewed})
    coarse = jax.jit(coarsen(k, gamma))(rows)
    same(jax.jit(segments("skill", gamma, rows=12 // k + 1))(rows), coarse, rtol=1e-5, atol=1e-6)
    whole = jax.jit(segments("skill", gamma))(rows)
    same(jax.tree.map(lambda x: x[: 12 // k + 1], whole), coarse, rtol=1e-5, atol=1e-6)
    assert returns.transitions(whole.step, gamma).valid.sum() == 3 * 12 // k


def reference(rows, gamma, world):
    """Complete segments of one world: (row of the choice, reward, gamma^n product of discounts, row reached)."""
    step, renewed = rows.step, rows.extras["skill_renewed"]
    result = []
    for begin in range(len(renewed)):
        if not renewed[begin, world] or step.last[begin, world]:
            continue
        reward, weight = 0.0, 1.0
        for t in range(begin + 1, len(renewed)):
            if step.first[t, world]:
                break  # the world broke: no outcome
            reward, weight = reward + weight * step.reward[t, world], weight * gamma * step.discount[t, world]
            if renewed[t, world] or step.last[t, world]:
                result.append((begin, reward, weight, t))
                break
    return result


def test_segments_of_worlds_with_ends_breaks_and_drawn_periods():
    """Against a loop over rows, on the first 200 rows of three worlds and on a window cut out of their middle."""
    gamma = 0.9
    env = counters((5, 7, 23), breaks=((2, 51), (2, 72), (0, 80)), ends=1)
    manager = flat(lambda params, obs, key: (jax.random.randint(key, (3,), 0, 5), {}))
    worker = flat(lambda params, obs, key: (jnp.zeros((3, 1)), {}))
    policy = hierarchy(manager, worker, uniform_period(1, 4))
    actor = rollout.start(env, policy, jax.random.key(0))
    rows = jax.jit(lambda: rollout.rollout(env, policy, None, actor, jax.random.key(1), 200)[1])()
    for part in (rows, jax.tree.map(lambda x: x[13:90], rows)):
        short = jax.jit(segments("skill", gamma))(part)
        transitions = jax.tree.map(np.asarray, returns.transitions(short.step, gamma))
        part, short = jax.tree.map(np.asarray, (part, short))
        at = short.step.obs["count"][:, :, 0, 0].astype(int) - int(part.step.obs["count"][0, 0, 0, 0])
        for world in range(3):
            expected = reference(part, gamma, world)
            (here,) = np.nonzero(transitions.valid[:, world])
            assert at[here, world].tolist() == [begin for begin, *_ in expected] and len(expected) > 20
            assert at[here + 1, world].tolist() == [end for *_, end in expected]
            np.testing.assert_allclose(transitions.reward[here, world], [r for _, r, _, _ in expected], rtol=1e-5)
            np.testing.assert_allclose(
                transitions.discount[here, world], [w for _, _, w, _ in expected], rtol=1e-5, atol=1e-7
            )
            skill = part.extras["skill"][at[here, world], world]
            np.testing.assert_array_equal(short.extras["skill"][here, world], skill)


def test_few_rows_hold_the_first_segments():
    rows = CASES["both"][0]
    whole, few, many = (jax.jit(segments("skill", rows=count))(rows) for count in (None, 3, 60))
    same(few, jax.tree.map(lambda x: x[:3], whole))
    same(many, whole)


# --- what is refused ---


def test_errors_name_the_setting():
    rows = random_rows(16)
    for view in (coarsen(4), split(4)):
        with pytest.raises(ValueError, match="horizon must be a multiple of the period 4, got 15; set agent.horizon"):
            view(rows)
        with pytest.raises(ValueError, match="got 0; set agent.horizon"):
            view(random_rows(1))
    for make in (coarsen, split):
        with pytest.raises(ValueError, match="the period of a view must be >= 1, got 0; set agent.period"):
            make(0)
    with pytest.raises(ValueError, match="needs the note 'skill_renewed', got goal, skill"):
        segments("skill")(rows)
