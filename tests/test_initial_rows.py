"""A replay that begins filled: rows of data and of other rings in columns, and no transition that nobody made."""

import jax
import numpy as np
import pytest
from counters import NOISE, SEEN, STACK, counters
from faulty import regression
from leftovers import same

from skillhier import rollout
from skillhier.data import dataset, initial_rows, online, replay
from skillhier.data.dataset import Dataset
from skillhier.data.faults import DataFault
from skillhier.train import checkpoint, loop
from skillhier.types import Bounds, Trajectory

LENGTHS = (1, 2, 9)
EPISODES = (3, 1, 7, 2, 12, 5)  # steps


def data(lengths=EPISODES, *, terminated=()) -> Dataset:
    """Episodes whose entry `count` holds (100 * episode + row, episode), for worlds of `counters`."""
    episode = np.repeat(np.arange(len(lengths)), np.array(lengths) + 1)
    row = np.concatenate([np.arange(steps + 1) for steps in lengths])
    number = 100 * episode + row
    return Dataset(
        {"count": np.stack([number, episode], 1).astype(np.float32), "told": (episode[:, None] % 2).astype(np.float32)},
        (number[:, None] / 1000).astype(np.float32),
        np.where(row == 0, 99, number).astype(np.float32),  # what a first row says of a reward must not be believed
        np.concatenate([[0], np.cumsum(np.array(lengths) + 1)[:-1]]),
        np.array(lengths),
        {"terminated": np.isin(np.arange(len(lengths)), terminated)},
    )


def number(rows: Trajectory) -> np.ndarray:
    return np.asarray(rows.step.obs["count"][..., 0]).astype(int)


def follows(rows: Trajectory) -> np.ndarray:
    """[n - 1, C] whether a learner takes row t + 1 for what row t's action led to."""
    return ~np.asarray(rows.step.last)[:-1] & ~np.asarray(rows.step.first)[1:]


# --- rows ---


def test_a_data_set_is_a_column_of_episodes():
    rows = initial_rows.of_dataset(data(terminated=(2,)))
    starts = np.cumsum([0, *(np.array(EPISODES) + 1)])
    assert rows.step.first.shape == (starts[-1], 1)
    np.testing.assert_array_equal(np.flatnonzero(rows.step.first[:, 0]), starts[:-1])
    np.testing.assert_array_equal(np.flatnonzero(rows.step.last[:, 0]), starts[1:] - 1)
    np.testing.assert_array_equal(np.flatnonzero(rows.step.discount[:, 0] == 0), [starts[3] - 1])  # a true end, one
    np.testing.assert_array_equal(rows.step.reward[:, 0], np.where(rows.step.first[:, 0], 0, number(rows)[:, 0]))


@pytest.mark.parametrize("worlds", [1, 2, 3, 5, 8, 36])
def test_packed_episodes_lead_only_from_a_row_to_the_next_of_its_episode(worlds):
    whole = initial_rows.of_dataset(data())
    rows = initial_rows.packed(whole, worlds, 1000)
    many = len(whole.step.first)
    assert rows.step.first.shape == (many // worlds, worlds)
    ids = number(rows)
    assert set(ids.ravel()) == set(number(whole).ravel()[many % worlds :])  # all but the oldest of the remainder
    np.testing.assert_array_equal(np.diff(ids, axis=0)[follows(rows)], 1)
    inner = follows(rows).sum()
    assert inner >= sum(EPISODES) - many % worlds - (worlds - 1)  # a cut costs one transition at most


def test_of_more_rows_than_fit_the_newest_are_kept():
    whole = initial_rows.of_dataset(data())
    rows = initial_rows.packed(whole, 2, 5)
    np.testing.assert_array_equal(number(rows).T.ravel(), number(whole)[-10:, 0])
    assert initial_rows.packed(whole, 2, 0).step.first.shape == (0, 2)
    assert initial_rows.packed(whole, 99, 1000).step.first.shape == (0, 99)  # fewer rows than worlds


def collected(lengths, count, key=4):
    env = counters(lengths, breaks=((1, 13),))
    actor = rollout.start(env, NOISE, jax.random.key(3))
    seen = jax.jit(lambda actor: rollout.rollout(env, NOISE, None, actor, jax.random.key(key), count))(actor)[1]
    memory = replay.make(23, env.spec, extras=SEEN)
    kept = memory.init()
    for at in range(0, count, 7):
        kept = memory.add(kept, memory.frames(jax.tree.map(lambda x: x[at : at + 7], seen)))  # noqa: B023
    return jax.tree.map(np.asarray, seen), checkpoint.nested(checkpoint.named(kept))


@pytest.mark.parametrize("count", [14, 49])
def test_the_rows_of_a_ring_come_oldest_first(count):
    """The ring of 23 rows is not yet full, or has been round twice."""
    seen, ring = collected(LENGTHS, count)
    rows = initial_rows.of_ring(ring)
    kept = min(count, 23)
    np.testing.assert_array_equal(number(rows), np.arange(count - kept, count)[:, None] + np.zeros((1, 3)))
    for name in ("reward", "discount", "first", "last"):
        np.testing.assert_array_equal(getattr(rows.step, name), getattr(seen.step, name)[-kept:])
    np.testing.assert_array_equal(rows.action, seen.action[-kept:])
    np.testing.assert_array_equal(rows.extras["seen"], seen.extras["seen"][-kept:])


@pytest.mark.parametrize(("worlds", "room"), [(1, 100), (2, 100), (2, 20), (4, 100), (5, 6), (7, 100)])
def test_a_ring_of_other_worlds_is_cut_anew_and_no_transition_leads_across(worlds, room):
    rows = initial_rows.of_ring(collected(LENGTHS, 49)[1])
    new = initial_rows.packed(rows, worlds, room)
    kept = min(23, room * worlds // 3)
    assert new.step.first.shape == (kept * 3 // worlds, worlds) and len(new.step.first) <= room
    row, world = number(new), np.asarray(new.step.obs["count"][..., 1]).astype(int)
    assert row.min() >= 49 - kept  # the newest
    assert len(set(zip(row.ravel(), world.ravel(), strict=True))) == row.size
    inside = follows(new)
    assert (np.diff(world, axis=0)[inside] == 0).all() and (np.diff(row, axis=0)[inside] == 1).all()
    assert (np.asarray(new.step.reward)[np.asarray(new.step.first)] == 0).all()


def test_a_ring_of_as_many_worlds_stays_as_it_is():
    rows = initial_rows.of_ring(collected(LENGTHS, 49)[1])
    assert same(initial_rows.packed(rows, 3, 100), rows)
    assert same(initial_rows.packed(rows, 3, 10), jax.tree.map(lambda x: x[13:], rows))


def test_what_a_replay_stores_is_chosen_and_what_is_missing_is_named():
    spec = counters(LENGTHS).spec
    rows = initial_rows.of_dataset(data())
    more = rows._replace(step=rows.step._replace(obs={"junk": rows.step.reward, **rows.step.obs}))
    assert list(initial_rows.fitted(more, spec, {}, "data").step.obs) == ["count", "told"]

    def said(spec, extras=SEEN, rows=rows):
        with pytest.raises(DataFault, match="^[^\n]*$") as caught:
            initial_rows.fitted(rows, spec, extras, "RUN")
        return str(caught.value)

    shapes = {**spec.obs, "pose": spec.obs["told"], "grip": spec.obs["told"]}
    assert said(spec._replace(obs=shapes)) == "RUN lacks the entries pose, grip; it has count, told"
    assert said(spec).startswith("RUN lacks the notes of the policy that this agent learns from: seen; it has none")
    wide = {**spec.obs, "count": jax.ShapeDtypeStruct((STACK, 4), np.float32)}
    assert said(spec._replace(obs=wide), {}).startswith("RUN has count as float32[2], these worlds as float32[4]")
    assert said(spec._replace(action=Bounds((3,), -1, 1)), {}).startswith("RUN has action as float32[1], these worlds")
    parts = {"move": spec.action, "pick": spec.action}
    assert said(spec._replace(action=parts), {}).startswith("RUN has actions of other parts than these worlds")
    uint8 = {**spec.obs, "told": jax.ShapeDtypeStruct((1, 1), np.uint8)}
    assert said(spec._replace(obs=uint8), {}).startswith("RUN has told as float32[1], these worlds as uint8[1]")


# --- in a source ---


def source(*each: Trajectory, rows=60, **settings):
    env = counters(LENGTHS)
    memory = replay.make(rows, env.spec)
    settings = {"unroll_length": 4, "batch_size": 64, "sequence_length": 3, "prefill": 0, **settings}
    return online.online(env, NOISE, memory, initial_rows=each, **settings)


def columns(**changes) -> Trajectory:
    return initial_rows.packed(initial_rows.of_dataset(data(**changes)), 3, 1000)  # 12 rows of 3 worlds


def test_the_ring_holds_the_rows_before_the_first_of_its_own_and_nothing_counts_them():
    given = source(columns(), prefill=8)
    state = jax.jit(given.init)(jax.random.key(0), given.given)
    plain = source(prefill=8)
    bare = jax.jit(plain.init)(jax.random.key(0))
    assert same(given.init(jax.random.key(0)), state)  # who gives nothing gets the rows all the same
    assert int(state.replay.filled) == 12 + 8 and int(state.replay.next_row) == 8
    assert same(jax.tree.map(lambda x: x[:12], state.replay.rows), columns())
    assert same(jax.tree.map(lambda x: x[12:20], state.replay.rows), jax.tree.map(lambda x: x[:8], bare.replay.rows))
    assert same(state.stats, bare.stats) and same(state.actor, bare.actor)
    assert np.asarray(state.replay.rows.step.first[12]).all()
    _, _, metrics = jax.jit(given.next)(state, (), jax.random.key(1))
    assert int(metrics["total/env_steps"]) == 3 * (8 + 4)


def test_pretraining_serves_the_rows_before_the_first_step_in_a_world():
    given = source(columns(), pretrain=2)
    state = jax.jit(given.init)(jax.random.key(0))
    assert int(state.replay.next_row) == 0  # the world's rows count from there
    ids = number(columns())
    step = jax.jit(given.next)
    for key in jax.random.split(jax.random.key(1), 2):
        state, batch, metrics = step(state, (), key)
        assert int(metrics["total/env_steps"]) == 0
        newest = np.asarray(batch.step.obs["count"][:, :, 0, 0]).astype(int)
        assert np.isin(newest, ids[STACK - 1 :]).all()
        np.testing.assert_array_equal(np.diff(newest, axis=0)[follows(batch)], 1)
    state, batch, metrics = step(state, (), jax.random.key(2))
    assert int(metrics["total/env_steps"]) == 12 and int(state.replay.filled) == 16


def test_stacks_of_data_are_those_that_worlds_would_have_shown():
    """A row's older frames are those before it in its episode; the first frame stands for those before it."""
    given = source(columns(), pretrain=1, batch_size=2000)
    _, batch, _ = jax.jit(given.next)(jax.jit(given.init)(jax.random.key(0)), (), jax.random.key(1))
    frames = np.asarray(batch.step.obs["count"][..., 0]).astype(int)  # [L, B, S]
    newest, episode = frames[..., 0], frames[..., 0] // 100
    expected = np.maximum(newest[..., None] - np.arange(STACK), 100 * episode[..., None])
    np.testing.assert_array_equal(frames, expected)


def test_windows_reach_from_the_rows_into_the_worlds_and_say_so():
    given = source(columns(), prefill=8, pretrain=1, batch_size=2000, sequence_length=6)
    state = jax.jit(given.init)(jax.random.key(0))
    batch = jax.jit(given.next)(state, (), jax.random.key(1))[1]
    first = np.asarray(batch.step.first)
    ids = np.asarray(batch.step.obs["count"][:, :, 0, 0])
    own = np.abs(1000 * np.asarray(batch.action)[..., 0] - ids) > 1e-2  # the actions of data are their rows' numbers
    crossed = own[1:] & ~own[:-1]
    assert crossed.any() and first[1:][crossed].all()


def test_each_seed_begins_with_its_own_rows():
    one, other = columns(), columns(lengths=tuple(reversed(EPISODES)))
    given = source(one, other, prefill=8)
    keys = jax.vmap(jax.random.key)(np.arange(2))
    state = loop.start(regression(), given, keys)
    for seed, rows in enumerate((one, other)):
        assert same(jax.tree.map(lambda x: x[seed, :12], state.source.replay.rows), rows)  # noqa: B023
    shared = loop.start(regression(), source(one, prefill=8), keys).source.replay.rows
    assert same(jax.tree.map(lambda x: x[0, :12], shared), one)
    assert same(jax.tree.map(lambda x: x[1, :12], shared), one)
    assert not same(jax.tree.map(lambda x: x[0, 12:20], shared), jax.tree.map(lambda x: x[1, 12:20], shared))


@pytest.mark.parametrize("seeds", [0, 2])
@pytest.mark.parametrize("rows", [17, 60])
def test_saved_and_restored_it_goes_on_as_if_it_had_not_been(tmp_path, seeds, rows):
    """Also where the ring goes round, over the rows that it began with."""
    given = source(columns(), rows=rows, prefill=4, updates_per_collect=2, pretrain=3)
    learner, many = regression(), seeds > 0
    key = jax.vmap(jax.random.key)(np.arange(seeds)) if many else jax.random.key(0)
    begin = lambda: loop.start(learner, given, key)  # noqa: E731
    run_epoch = loop.epoch(learner, given, 3, many)
    state, unbroken = begin(), []
    saved = checkpoint.Checkpoints(tmp_path / "checkpoints", rings=("source/replay",))
    for epoch in range(4):
        if epoch in (1, 2):
            saved.save(3 * epoch, state)
        state, metrics, _ = run_epoch(state)
        unbroken.append(jax.device_get(metrics))
    restored = checkpoint.Checkpoints(tmp_path / "checkpoints", rings=("source/replay",)).restore(begin())
    for epoch in (2, 3):
        restored, metrics, _ = run_epoch(restored)
        assert same(jax.device_get(metrics), unbroken[epoch])
    assert same(restored, state)


def test_without_its_replay_in_the_checkpoint_it_begins_with_the_rows_again(tmp_path):
    given = source(columns(), prefill=4)
    state = loop.start(regression(), given, jax.random.key(0))
    run_epoch = loop.epoch(regression(), given, 3)
    state, _, _ = run_epoch(state)
    saved = checkpoint.Checkpoints(tmp_path / "checkpoints")
    saved.save(3, state, leave_out=("source/replay",))
    restored = saved.restore(loop.start(regression(), given, jax.random.key(0)))
    assert int(restored.source.replay.filled) == 16 and int(restored.source.stats.rows) == 16
    restored, _, _ = run_epoch(restored)
    rows = restored.source.replay.rows
    assert same(jax.tree.map(lambda x: x[:12], rows), columns()) and np.asarray(rows.step.first[16]).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rows": 13, "prefill": 4}, "12 initial rows and a prefill of 4 do not fit into a replay of 13 rows"),
        ({"sequence_length": 30, "rows": 99}, "a prefill of 0 rows after 12 initial rows holds no window of 32 rows"),
        ({"sequence_length": 11, "pretrain": 1}, "after 12 initial rows holds no window of 13 rows to pretrain on"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(settings, said):
    with pytest.raises(ValueError, match="^[^\n]*$") as caught:
        source(columns(), **settings)
    assert said in str(caught.value)


def test_a_digest_tells_data_apart_and_rewards_only_where_they_are_learned_from():
    one = data()
    paid = one._replace(reward=one.reward + 1)
    assert dataset.digest(one) == dataset.digest(paid) != dataset.digest(one._replace(action=one.action + 1))
    assert dataset.digest(one, rewards=True) != dataset.digest(paid, rewards=True)
