"""Windows of demonstrations, with counters as observations: row t of episode e holds 1000 e + t in every entry."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from demonstrations import episode, write

from skillhier.data import dataset, sources
from skillhier.data.faults import DataFault

LENGTHS = (25, 31, 40)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "a.h5"
    episodes = [episode(i, steps) for i, steps in enumerate(LENGTHS)]
    episodes[1]["terminations"][-1], episodes[1]["truncations"][-1] = True, False
    write(path, episodes)
    return dataset.load(path)


@pytest.fixture(scope="module")
def drawn(data):
    """4000 windows of 25 steps and 5 of look-ahead, stacks of 3: [T, B, ...]."""
    source = sources.offline(data, batch_size=4000, sequence_length=25, lookahead=5, stack=3)
    state = jax.jit(source.init)(jax.random.key(0))
    return jax.tree.map(np.asarray, jax.jit(source.next)(state, {}, jax.random.key(1))[1])


def place(drawn):
    """Per window: its episode and its first row there."""
    first = drawn.step.obs["grip"][0, :, 0, 0]
    return (first // 1000).astype(int), (first % 1000).astype(int)


def test_shapes(drawn):
    assert drawn.step.obs["arm.angle"].shape == (30, 4000, 3, 2)
    assert drawn.step.obs["object.pose"].shape == (30, 4000, 3, 3)
    assert drawn.action.shape == (30, 4000, 2)
    assert drawn.step.reward.shape == drawn.step.discount.shape == (30, 4000)
    assert drawn.step.first.dtype == drawn.step.last.dtype == bool


def test_a_window_is_consecutive_rows_of_one_episode_and_then_its_last_row(drawn):
    e, t = place(drawn)
    end = np.array(LENGTHS)[e]
    expected = 1000 * e + np.minimum(t + np.arange(30)[:, None], end)
    for name, column in (("grip", 0), ("arm.angle", 1), ("object.pose", 2)):
        np.testing.assert_array_equal(drawn.step.obs[name][:, :, 0, column], expected + 0.25 * column)


def test_every_one_of_the_25_steps_has_its_action(drawn):
    e, t = place(drawn)
    assert (t + 25 <= np.array(LENGTHS)[e]).all()
    np.testing.assert_allclose(drawn.action[:25, :, 0], (t + np.arange(25)[:, None]) / 1000, rtol=1e-6)


def test_a_stack_is_newest_first_and_repeats_the_first_frame_where_an_episode_opens(drawn):
    e, t = place(drawn)
    for age in range(3):
        expected = 1000 * e + np.maximum(t - age, 0)
        np.testing.assert_array_equal(drawn.step.obs["grip"][0, :, age, 0], expected)
        np.testing.assert_array_equal(drawn.step.obs["grip"][2, :, age, 0], 1000 * e + t + 2 - age)
    assert (t == 0).any() and (t == 1).any()


def test_flags_and_rewards_are_those_of_their_rows(drawn):
    e, t = place(drawn)
    row, end = t + np.arange(30)[:, None], np.array(LENGTHS)[e]
    np.testing.assert_array_equal(drawn.step.first, row == 0)
    np.testing.assert_array_equal(drawn.step.last, row >= end)
    np.testing.assert_array_equal(drawn.step.reward, np.where(row <= end, row, 0))  # row t was paid t on arriving
    np.testing.assert_array_equal(drawn.step.discount, np.where((row >= end) & (e == 1), 0, 1))


def test_all_valid_starts_are_drawn_alike(drawn):
    counts = Counter(zip(*map(list, place(drawn)), strict=True))
    valid = {(e, t) for e, steps in enumerate(LENGTHS) for t in range(steps - 25 + 1)}
    assert set(counts) == valid  # 1 + 7 + 16 places
    expected = 4000 / len(valid)
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 50  # chi-squared of 23 degrees, p < 0.001


def test_the_same_key_gives_the_same_windows_and_another_gives_others(data):
    source = sources.offline(data, batch_size=8)
    state = source.init(jax.random.key(0))
    rows = [source.next(state, {}, jax.random.key(k))[1].step.obs["grip"] for k in (1, 1, 2)]
    assert (rows[0] == rows[1]).all() and (rows[0] != rows[2]).any()


def test_the_data_is_an_argument_of_the_program_and_no_constant(data):
    source = sources.offline(data, batch_size=4, lookahead=5)
    state = jax.eval_shape(source.init, jax.random.key(0))
    for function, arguments in ((source.init, ()), (source.next, (state, {}))):
        text = jax.jit(function).lower(*arguments, jax.random.key(0)).as_text()
        assert len(text) < 30_000, "the rows of the data set stand in the program"


def test_one_update_after_another_inside_a_scan(data):
    source = sources.offline(data, batch_size=4, stack=2)

    @jax.jit
    def epoch(state, key):
        def update(state, key):
            state, window, _ = source.next(state, {}, key)
            return state, window.step.obs["grip"].mean()

        return jax.lax.scan(update, state, jax.random.split(key, 3))

    state, means = epoch(source.init(jax.random.key(0)), jax.random.key(1))
    assert means.shape == (3,) and len(set(means.tolist())) == 3
    np.testing.assert_array_equal(state.values, source.init(jax.random.key(0)).values)


@pytest.mark.parametrize("batch", [1, 2, 128])
def test_assessment_windows_follow_each_other_and_are_all_of_one_size(data, batch):
    found = list(sources.windows(data, batch_size=batch, sequence_length=10, lookahead=3, stack=2))
    assert len({window.action.shape for window in found}) == 1
    rows = jnp.concatenate([window.step.obs["grip"][..., 0, 0] for window in found], axis=1)
    starts = [1000 * e + t for e, steps in enumerate(LENGTHS) for t in range(0, steps - 9, 10)]  # 2 + 3 + 4
    kept = len(starts) - len(starts) % len(found)
    assert rows[0].tolist() == starts[:kept]
    assert rows.shape == (13, kept)
    np.testing.assert_array_equal(rows[:10], np.array(starts[:kept]) + np.arange(10)[:, None])


def test_assessment_looks_ahead_as_the_source_does(data):
    (window,) = sources.windows(data, sequence_length=25, lookahead=5, stack=3)
    assert window.step.obs["grip"][:, 0, 0, 0].tolist() == [*range(26), 25, 25, 25, 25]
    assert window.step.obs["grip"][0, 1, :, 0].tolist() == [1000, 1000, 1000]


def test_episodes_shorter_than_the_window_are_refused(data):
    with pytest.raises(DataFault, match="an episode of 25 steps, needs at least 26; set train.sequence_length"):
        sources.offline(data, batch_size=4, sequence_length=26)
    with pytest.raises(DataFault, match="needs at least 26"):
        next(sources.windows(data, sequence_length=26))
