"""The online source: when it collects, what it counts, and that a saved and restored one goes on as if nothing were."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counters import NOISE, SEEN, counters
from leftovers import same

from skillhier import rollout
from skillhier.data import episode_stats, online, replay
from skillhier.train import checkpoint, loop
from skillhier.types import Health, Learner, LearnerState, Policy, TimeStep

LENGTHS = (1, 2, 9)


def source(env=None, policy=NOISE, *, rows=40, **settings):
    env = counters(LENGTHS) if env is None else env
    memory = replay.make(rows, env.spec, extras=SEEN)
    settings = {"unroll_length": 4, "batch_size": 16, "sequence_length": 3, "prefill": 12, **settings}
    return online.online(env, policy, memory, **settings)


def batches(given, state, count, key=0):
    """(the state after, batches and metrics one after the other)."""
    step = jax.jit(given.next)
    found = []
    for k in jax.random.split(jax.random.key(key), count):
        state, batch, told = step(state, (), k)
        found.append((batch, told, state))
    return state, found


def rows_of(batch):
    return np.asarray(batch.step.obs["count"][:, :, 0, 0]).astype(int)


# --- when it collects ---


@pytest.mark.parametrize("draws", [1, 2, 3])
def test_so_many_rows_are_collected_before_so_many_batches(draws):
    given = source(updates_per_collect=draws, rows=300, prefill=10)
    state = jax.jit(given.init)(jax.random.key(1))
    assert int(state.stats.rows) == int(state.replay.filled) == 12  # whole chunks of 4
    _, found = batches(given, state, 7)
    collected = [int(state.stats.rows) for _, _, state in found]
    assert collected == [12 + 4 * (1 + i // draws) for i in range(7)]
    assert [int(told["total/env_steps"]) for _, told, _ in found] == [3 * rows for rows in collected]
    assert all(told["total/env_steps"].dtype == jnp.int32 for _, told, _ in found)
    for batch, _, state in found:
        assert rows_of(batch).min() >= 2 and rows_of(batch).max() < int(state.stats.rows)
        assert int(state.replay.next_row) == int(state.stats.rows)


def test_what_is_collected_is_what_the_policy_does_in_the_worlds():
    env = counters(LENGTHS)
    given = source(env, updates_per_collect=2, rows=300)
    state, _ = batches(given, jax.jit(given.init)(jax.random.key(1)), 9)
    count = int(state.replay.filled)
    assert count == 12 + 5 * 4
    row = np.arange(count)
    np.testing.assert_array_equal(state.replay.rows.step.obs["count"][:count, :, 0], row[:, None] + np.zeros(3))
    np.testing.assert_array_equal(
        state.replay.rows.extras["seen"][:count], row[:, None] + np.zeros(3)
    )  # never restarted
    assert int(state.actor.env.row[0]) == count  # the row that comes next
    assert len(np.unique(state.replay.rows.action[:count])) == 3 * count  # every row had a key of its own


def test_a_prefill_policy_fills_the_replay_and_then_the_worlds_are_reset():
    still = Policy(
        lambda worlds: (),
        lambda params, carry, step, key: (carry, jnp.full((3, 1), params), {"seen": jnp.full(3, -7, jnp.int32)}),
    )
    given = source(prefill_policy=still, first_params=lambda key: jnp.float32(0.25), rows=300)
    state, found = batches(given, jax.jit(given.init)(jax.random.key(1)), 2)
    rows = state.replay.rows
    assert (rows.action[:12] == 0.25).all() and (rows.extras["seen"][:12] == -7).all()
    assert rows.step.first[12].all() and rows.extras["seen"][12:20, 0].tolist() == list(range(8))
    assert float(found[0][1]["episodes/broken"]) == 0.0  # leaving them was nobody's fault
    assert int(state.stats.rows) == 20


def test_batches_come_with_what_the_policy_was_given():
    params = jnp.float32(0.5)
    given = source(policy=Policy(NOISE.init, lambda params, carry, step, key: (
        carry, jnp.full((3, 1), params), {"seen": carry}
    )), first_params=lambda key: jnp.float32(-1))  # fmt: skip
    state, _, _ = jax.jit(given.next)(jax.jit(given.init)(jax.random.key(0)), params, jax.random.key(1))
    assert (state.replay.rows.action[:12] == -1).all() and (state.replay.rows.action[12:16] == 0.5).all()


@pytest.mark.parametrize("draws", [1, 2, 3])
@pytest.mark.parametrize("pretrain", [1, 5])
def test_pretraining_serves_the_prefill_and_then_all_is_as_without_it(draws, pretrain):
    settings = {"updates_per_collect": draws, "rows": 300, "prefill": 12}
    plain, pretrained = source(**settings), source(pretrain=pretrain, **settings)
    begin = jax.jit(plain.init)(jax.random.key(1))
    state = jax.jit(pretrained.init)(jax.random.key(1))
    assert int(state.since_collect) == -pretrain and same(state._replace(since_collect=begin.since_collect), begin)
    state, early = batches(pretrained, state, pretrain, key=2)
    assert [int(metrics["total/env_steps"]) for _, metrics, _ in early] == [3 * 12] * pretrain
    assert all(rows_of(batch).max() < 12 for batch, _, _ in early)
    assert len({rows_of(batch).tobytes() for batch, _, _ in early}) == pretrain  # each is drawn for itself
    assert same(state, begin)
    state, late = batches(pretrained, state, 7, key=3)
    end, expected = batches(plain, begin, 7, key=3)
    assert same(state, end) and same(late, expected)
    assert [int(metrics["total/env_steps"]) for _, metrics, _ in late] == [
        3 * (16 + 4 * (i // draws)) for i in range(7)
    ]


# --- what it counts ---


def stats_of(first, last, reward, told=None, chunk=None):
    """The statistics after rows written world by world."""
    first, last = (jnp.array(rows, bool).T for rows in (first, last))
    reward = jnp.array(reward, jnp.float32).T
    told = jnp.zeros(first.shape) if told is None else jnp.array(told, jnp.float32).T
    steps = TimeStep({"won": told[:, :, None, None]}, reward, jnp.ones_like(reward), first, last)
    stats = episode_stats.init(first.shape[1])
    for at in range(0, len(first), chunk or len(first)):
        rows = jax.tree.map(lambda x: x[at : at + (chunk or len(first))], steps)  # noqa: B023
        stats = episode_stats.update(stats, rows, "won")
    return stats


FIRST = [[1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0]]  # closes at row 2; breaks after row 3; runs on
LAST = [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
REWARD = [[0, 1, 2, 0, 50, 50], [0, 0.5, 0.5, 0.5, 0, 50], [0, 9, 9, 9, 9, 9]]


@pytest.mark.parametrize("chunk", [None, 1, 2, 3])
def test_figures_are_those_of_the_latest_finished_episodes_however_they_are_cut(chunk):
    won = [[0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1]]
    stats = stats_of(FIRST, LAST, REWARD, won, chunk)
    told = {name: float(value) for name, value in episode_stats.metrics(stats, "won").items()}
    assert told == {
        "episodes/return": (3 + 1.5) / 2, "episodes/length": (2 + 3) / 2, "episodes/success": 0.5,
        "episodes/broken": 0.5, "total/env_steps": 18, "total/episodes": 2,
    }  # fmt: skip
    assert int(stats.finished) == 2 and int(stats.rows) == 6
    assert stats.total.tolist() == [100.0, 50.0, 45.0] and stats.steps.tolist() == [2, 1, 5]


def test_before_an_episode_has_finished_there_are_no_figures():
    metrics = episode_stats.metrics(stats_of([[1, 0]], [[0, 0]], [[0, 3]]))
    assert int(metrics.pop("total/env_steps")) == 2 and int(metrics.pop("total/episodes")) == 0
    assert set(metrics) == {"episodes/return", "episodes/length", "episodes/broken"}
    assert all(np.isnan(float(value)) for value in metrics.values())


def test_the_metrics_of_a_source_add_up():
    given = source(
        counters(LENGTHS, breaks=((2, 21),)),
        success="told",
        prefill=0,
        rows=100,
        updates_per_collect=2,
        unroll_length=10,
    )
    state, found = batches(given, jax.jit(given.init)(jax.random.key(1)), 6)
    assert int(state.stats.rows) == 30
    # world 0 closes every 2 rows, world 1 every 3, world 2 at row 9 (of 10), broken at row 21 of the one from 20 on
    assert [int(told["total/episodes"]) for _, told, _ in found] == [9, 9, 9 + 9, 9 + 9, 9 + 9 + 10, 9 + 9 + 10]
    last = found[-1][1]
    # returns: world 0 has 1 step of 1, world 1 steps of 1, 2 and an eighth each; the broken one had 1 row, no step
    assert float(last["episodes/return"]) == pytest.approx((1.0 + (3.0 + 2 / 8) + (1 + 2 / 8) * 0) / 3)
    assert float(last["episodes/length"]) == pytest.approx((1 + 2 + 0) / 3)
    assert float(last["episodes/broken"]) == pytest.approx(1 / 3)
    # odd episodes succeed: the 15th of world 0 is number 14, the 10th of world 1 is number 9
    assert float(last["episodes/success"]) == pytest.approx(1 / 3)
    named = counters(LENGTHS)
    silent = named._replace(spec=named.spec._replace(success=None))
    for which, expected in ((silent, False), (named, True)):
        key = jax.random.key(0)
        *_, metrics = jax.eval_shape(source(which).next, jax.eval_shape(source(which).init, key), (), key)
        assert ("episodes/success" in metrics) == expected  # by default what the spec says


# --- in a run ---


def learner():
    """Moves a number towards the rewards it sees."""

    def init(key):
        zero = jnp.zeros((), jnp.int32)
        return LearnerState({"w": jax.random.normal(key)}, (), (), zero, Health(zero, zero, zero > 0))

    def update(state, batch, key):
        w = state.params["w"] + 0.1 * (batch.step.reward.mean() + batch.action.mean() - state.params["w"])
        return state._replace(params={"w": w}, steps=state.steps + 1), {"loss": w}

    return Learner(init, update)


SETTINGS = {"updates_per_collect": 2, "prefill": 5}


@pytest.mark.parametrize("after", [1, 2])
def test_saved_and_restored_it_goes_on_as_if_it_had_not_been(tmp_path, after):
    given = source(**SETTINGS)
    run_epoch = loop.epoch(learner(), given, 3)  # an epoch may end between two collections
    begin = lambda: loop.start(learner(), given, jax.random.key(0))  # noqa: E731
    state, unbroken = begin(), []
    for epoch in range(4):
        if epoch == after:
            saved = checkpoint.Checkpoints(tmp_path / "checkpoints", rings=("source/replay",))
            saved.save(3 * epoch, state)
        state, metrics, _ = run_epoch(state)
        unbroken.append(jax.device_get(metrics))
    restored = saved.restore(begin())
    for epoch in range(after, 4):
        restored, metrics, _ = run_epoch(restored)
        assert same(jax.device_get(metrics), unbroken[epoch])
    assert same(restored, state)


def test_without_its_replay_it_goes_on_from_the_prefill_and_no_transition_leads_over_the_gap(tmp_path):
    given = source(**SETTINGS, rows=60)
    run_epoch = loop.epoch(learner(), given, 3)
    state = loop.start(learner(), given, jax.random.key(0))
    for _ in range(3):
        state, _, _ = run_epoch(state)
    saved = checkpoint.Checkpoints(tmp_path / "checkpoints")
    saved.save(9, state, leave_out=("source/replay",))
    rows = int(state.source.stats.rows)
    restored = saved.restore(loop.start(learner(), given, jax.random.key(0)))
    assert int(restored.source.replay.filled) == 8 and rows == 8 + 5 * 4
    restored, _, _ = run_epoch(restored)
    kept = restored.source.replay
    assert kept.rows.step.obs["count"][: int(kept.filled), 0, 0].tolist() == [*range(8), *range(rows, rows + 4)]
    assert kept.rows.step.first[8].all() and int(kept.next_row) == int(restored.source.stats.rows) == rows + 4


def test_without_its_replay_or_a_prefill_it_collects_before_it_is_time():
    given = source(prefill=0, updates_per_collect=3, sequence_length=2)
    state, _ = batches(given, jax.jit(given.init)(jax.random.key(0)), 2)
    assert int(state.since_collect) == 2
    blank = state._replace(replay=jax.jit(given.init)(jax.random.key(0)).replay)
    state, ((batch, _, _),) = batches(given, blank, 1)
    assert int(state.replay.filled) == 4 and set(rows_of(batch).ravel()) == {6, 7}


def test_an_epoch_is_one_program_and_a_second_epoch_compiles_nothing():
    traced = []
    given = source(counters(LENGTHS, traced=traced), updates_per_collect=2)
    state = loop.start(learner(), given, jax.random.key(0))
    run_epoch = loop.epoch(learner(), given, 4)
    traced.clear()
    state, _, _ = run_epoch(state)
    many = len(traced)
    state, _, _ = run_epoch(state)
    assert many and len(traced) == many and run_epoch._cache_size() == 1


def test_an_epoch_exports_for_accelerators():
    given = source(updates_per_collect=2)
    state = loop.start(learner(), given, jax.random.key(0))
    exported = jax.export.export(loop.epoch(learner(), given, 4), platforms=("cuda", "tpu"))(state)
    assert exported.platforms == ("cuda", "tpu")


def test_seeds_side_by_side_are_the_seeds_alone():
    given = source(updates_per_collect=2)
    keys = jax.random.split(jax.random.key(7), 3)
    together = jax.jit(jax.vmap(given.init))(keys)
    step = jax.jit(jax.vmap(lambda state, key: given.next(state, (), key)))
    for _ in range(3):
        together, batch, told = step(together, keys)
    alone = jax.jit(given.init)(keys[1])
    for _ in range(3):
        alone, batch_alone, told_alone = jax.jit(given.next)(alone, (), keys[1])
    pick = lambda tree: jax.tree.map(lambda x: x[1], tree)  # noqa: E731
    assert same(pick(together), alone) and same(pick(batch), batch_alone)
    assert jax.tree.map(float, pick(told)) == pytest.approx(jax.tree.map(float, told_alone), nan_ok=True)


def test_seeds_side_by_side_collect_only_when_it_is_time():
    """Collecting once in eight batches takes an eighth of the time, for several seeds too (architecture 3.17, 1)."""

    def seconds(draws):
        given = source(counters(LENGTHS, flops=160), updates_per_collect=draws, batch_size=1, rows=64, unroll_length=8)
        keys = jax.random.split(jax.random.key(0), 2)

        @jax.jit
        def sixteen(state):
            def update(state, key):
                return jax.vmap(lambda state: given.next(state, (), key)[0])(state), None

            return jax.lax.scan(update, state, jax.random.split(keys[0], 16))[0]

        state = jax.jit(jax.vmap(given.init))(keys)
        jax.block_until_ready(sixteen(state))
        times = []
        for _ in range(5):
            began = time.perf_counter()
            jax.block_until_ready(sixteen(state))
            times.append(time.perf_counter() - began)
        return min(times)

    assert seconds(8) < 0.5 * seconds(1)


# --- what it refuses ---


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"unroll_length": 0}, "unroll_length must be >= 1, got 0; set train.unroll_length"),
        ({"updates_per_collect": 0}, "updates_per_collect must be >= 1, got 0; set train.updates_per_collect"),
        ({"prefill": 0, "sequence_length": 9}, "a prefill of 0 rows holds no window of 11 rows; set replay.prefill"),
        ({"pretrain": -1}, "pretrain must be >= 0, got -1; set train.pretrain"),
        (
            {"prefill": 8, "sequence_length": 9, "pretrain": 3},
            "a prefill of 8 rows holds no window of 11 rows to pretrain on (pretrain=3); set replay.prefill",
        ),
        (
            {"rows": 8, "sequence_length": 9},
            "a replay of 8 rows holds no window of 11 rows and no chunk of 4; set replay.rows",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(settings, said):
    with pytest.raises(ValueError, match="^[^\n]*$") as caught:
        source(**settings)
    assert said in str(caught.value)


def test_a_broken_world_reaches_no_learner_that_asks_for_windows_of_one_episode():
    given = source(counters((9, 9, 9), breaks=((1, 7),)), crossing=False, prefill=8, sequence_length=5, batch_size=400)
    state, found = batches(given, jax.jit(given.init)(jax.random.key(0)), 2)
    for batch, _, _ in found:
        row, world = rows_of(batch), np.asarray(batch.step.obs["count"][:, :, 0, 1]).astype(int)
        assert ((row == 6) & (world == 1)).any() and ((row == 7) & (world == 1)).any()
        led_nowhere = (row[:-1] == 6) & (world[:-1] == 1)
        assert np.asarray(batch.step.last)[:-1][led_nowhere].all()
        assert not np.asarray(batch.step.first)[1:].any()  # nothing follows an end, so nothing opens inside


def test_rollout_and_source_agree_on_every_row():
    """The source's rows are those of one long rollout with the same keys."""
    env = counters(LENGTHS)
    given = source(env, rows=12, prefill=12)
    state = jax.jit(given.init)(jax.random.key(9))
    k_worlds, _, k_rows, _ = jax.random.split(jax.random.key(9), 4)
    actor = rollout.start(env, NOISE, k_worlds)
    for at, key in enumerate(jax.random.split(k_rows, 3)):
        actor, chunk = rollout.rollout(env, NOISE, (), actor, key, 4)
        np.testing.assert_array_equal(state.replay.rows.action[4 * at : 4 * at + 4], chunk.action)
        np.testing.assert_array_equal(state.replay.rows.step.reward[4 * at : 4 * at + 4], chunk.step.reward)
    assert same(state.actor, actor)
