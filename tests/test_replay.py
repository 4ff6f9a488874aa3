"""The replay gives back what was put in: every row, every stack, from all places alike and never across its head."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counters import NOISE, SEEN, STACK, counters
from leftovers import same

from skillhier import rollout
from skillhier.data import replay

LENGTHS = (1, 2, 9)  # steps of an episode: shorter than a stack, as long, longer than a window


def collected(env, rows=100, policy=NOISE):
    """Rows as the env showed them, [rows, B, ...]."""
    actor = rollout.start(env, policy, jax.random.key(3))
    run = jax.jit(lambda actor: rollout.rollout(env, policy, None, actor, jax.random.key(4), rows))
    return run(actor)[1]


def filled(memory, seen, chunk, upto):
    """The replay after the first `upto` rows in chunks of that size."""
    add = jax.jit(lambda kept, rows: memory.add(kept, memory.frames(rows)), donate_argnums=0)
    kept = jax.jit(memory.init)()
    for at in range(0, upto, chunk):
        kept = add(kept, part(seen, at, at + chunk))
    return kept


def part(seen, begin, end):
    return jax.tree.map(lambda x: x[begin:end], seen)


def draw(memory, kept, key=5, batch_size=3000, **window):
    asked = {"batch_size": batch_size, "sequence_length": 5, "lookahead": 2} | window
    return jax.tree.map(
        np.asarray, jax.jit(lambda kept, key: memory.sample(kept, key, **asked))(kept, jax.random.key(key))
    )


def places(drawn):
    """[L, batch] the row and the world each sampled row says it is from."""
    newest = drawn.step.obs["count"][:, :, 0]
    return newest[..., 0].astype(int), newest[..., 1].astype(int)


@pytest.fixture(scope="module")
def seen():
    return jax.tree.map(np.asarray, collected(counters(LENGTHS, breaks=((2, 51), (2, 72), (0, 80)), ends=1)))


@pytest.fixture(scope="module")
def memory():
    return replay.make(37, counters(LENGTHS).spec, extras=SEEN)


@pytest.fixture(scope="module")
def kept(memory, seen):
    return filled(memory, seen, 8, 88)  # the ring of 37 has been round twice; its head is in the middle


def test_every_sampled_row_is_the_row_that_the_worlds_showed(memory, kept, seen):
    drawn = draw(memory, kept)
    row, world = places(drawn)
    assert drawn.step.obs["count"].shape == (7, 3000, STACK, 2) and drawn.step.obs["told"].shape == (7, 3000, 1, 1)
    assert set(drawn.extras) == {"seen"} and drawn.extras["seen"].dtype == np.int32
    for name in ("count", "told"):
        np.testing.assert_array_equal(drawn.step.obs[name], seen.step.obs[name][row, world], name)
    for name in ("reward", "discount", "first", "last"):
        np.testing.assert_array_equal(getattr(drawn.step, name), getattr(seen.step, name)[row, world], name)
    np.testing.assert_array_equal(drawn.action, seen.action[row, world])
    np.testing.assert_array_equal(drawn.extras["seen"], seen.extras["seen"][row, world])
    assert drawn.step.first.any() and (drawn.step.discount == 0).any()


def test_windows_are_rows_one_after_another_of_one_world_and_end_before_the_head(memory, kept):
    row, world = places(draw(memory, kept))
    np.testing.assert_array_equal(row, row[0] + np.arange(7)[:, None])
    assert (world == world[0]).all()
    assert row.max() == 87 and row.min() == 88 - 37 + STACK - 1


def test_all_windows_are_drawn_alike(memory, kept):
    row, world = places(draw(memory, kept))
    counts = Counter(zip(row[0].tolist(), world[0].tolist(), strict=True))
    expected = {(t, w) for t in range(53, 82) for w in range(3)}
    assert set(counts) == expected
    mean = 3000 / len(expected)
    assert sum((n - mean) ** 2 / mean for n in counts.values()) < 130  # chi-squared of 86 degrees, p < 0.002


def test_a_broken_world_shows_as_types_says_and_its_stacks_begin_anew(memory, kept):
    drawn = draw(memory, kept)
    row, world = places(drawn)
    at = (row == 72) & (world == 2)
    assert drawn.step.first[at].all() and not drawn.step.last[(row == 71) & (world == 2)].any()
    assert (drawn.step.obs["count"][at][:, :, 0] == 72).all()
    assert (drawn.step.obs["count"][(row == 73) & (world == 2)][:, :, 0] == [73, 72, 72]).all()


@pytest.mark.parametrize("upto", [7, 12, 36, 37, 38, 48, 99])
@pytest.mark.parametrize("chunk", [1, 4, 37])
def test_whatever_the_chunks_the_newest_rows_are_there(memory, seen, chunk, upto):
    upto -= upto % chunk
    kept = filled(memory, seen, chunk, upto)
    assert int(kept.filled) == min(upto, 37) and int(kept.next_row) == upto and int(kept.head) == upto % 37
    if upto >= 9:  # there is a window
        row, _ = places(draw(memory, kept, batch_size=400))
        assert row.max() == upto - 1 and row.min() == max(upto - 37, 0) + 2
    order = (int(kept.head) - int(kept.filled) + np.arange(int(kept.filled))) % 37
    found = jax.tree.map(lambda ring: np.asarray(ring)[order], kept.rows)
    assert same(found, part(memory.frames(seen), max(upto - 37, 0), upto))


def test_windows_that_stay_in_an_episode_repeat_its_last_row(memory, kept, seen):
    crossing, drawn = draw(memory, kept), draw(memory, kept, crossing=False)
    row, world = places(crossing)
    ends = seen.step.last | np.concatenate([seen.step.first[1:], np.zeros((1, 3), bool)])  # closed, or broke after it
    stop = np.array([next((t for t in range(7) if ends[row[t, b], world[t, b]]), 6) for b in range(3000)])
    at = row[0] + np.minimum(np.arange(7)[:, None], stop)
    past = np.arange(7)[:, None] > stop
    np.testing.assert_array_equal(places(drawn)[0], at)
    np.testing.assert_array_equal(drawn.step.obs["count"], seen.step.obs["count"][at, world])
    np.testing.assert_array_equal(drawn.action, seen.action[at, world])
    np.testing.assert_array_equal(drawn.step.reward, np.where(past, 0, seen.step.reward[at, world]))
    np.testing.assert_array_equal(drawn.step.discount, seen.step.discount[at, world])
    np.testing.assert_array_equal(drawn.step.first, seen.step.first[at, world] & ~past)
    known = np.minimum(at + 1, row[-1]) > at  # whether the world breaks after a window's last row cannot be known in it
    np.testing.assert_array_equal(drawn.step.last[known], ends[at, world][known])
    broke = (places(drawn)[0] == 71) & (world == 2)
    assert drawn.step.last[:-1][broke[:-1]].all()  # its action led into the break and teaches nothing


def test_nothing_is_added_while_it_is_not_due(memory, kept, seen):
    chunk = memory.frames(part(seen, 88, 96))
    assert same(memory.add(kept, chunk, due=jnp.bool_(False)), kept)
    assert same(memory.add(kept, chunk, due=jnp.bool_(True)), memory.add(kept, chunk))


def test_rows_that_do_not_follow_on_open_an_episode(memory, kept, seen):
    chunk = memory.frames(part(seen, 92, 100))
    after = memory.add(kept, chunk, jnp.int32(92))
    assert int(after.next_row) == 100
    drawn = draw(memory, after)
    row, world = places(drawn)
    at = row == 92
    assert drawn.step.first[at].all() and (drawn.step.reward[at] == 0).all()
    assert (drawn.step.obs["count"][at][:, :, 0] == 92).all()  # no frame from before the gap
    assert (np.diff(row, axis=0) == np.where(row[:-1] == 87, 5, 1)).all()


def test_adding_and_sampling_never_copy_the_ring():
    env = counters((9,) * 8)
    memory = replay.make(20_000, env.spec, extras=SEEN)
    chunk = jax.eval_shape(lambda: memory.frames(collected(env, 8)))
    ring = 20_000 * 8 * replay.bytes_per_row(env.spec, SEEN)

    def epoch(kept, chunk, key):
        def update(kept, key):
            kept = memory.add(kept, chunk, due=jax.random.bernoulli(key))
            return kept, memory.sample(kept, key, batch_size=16, sequence_length=5).step.reward.mean()

        return jax.lax.scan(update, kept, jax.random.split(key, 4))

    compiled = jax.jit(epoch, donate_argnums=0).lower(jax.eval_shape(memory.init), chunk, jax.random.key(0)).compile()
    used = compiled.memory_analysis()
    assert used.alias_size_in_bytes > ring and used.temp_size_in_bytes < 0.05 * ring


def test_a_row_takes_the_bytes_that_it_holds():
    env = counters(LENGTHS)
    assert replay.bytes_per_row(env.spec) == 4 * (2 + 1) + 4 + 4 + 1 + 1 + 4  # frames, reward, discount, flags, action
    assert replay.bytes_per_row(env.spec, SEEN) == replay.bytes_per_row(env.spec) + 4
    kept = replay.make(10, env.spec, extras=SEEN).init()
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(kept.rows)) == 10 * 3 * replay.bytes_per_row(env.spec, SEEN)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rows": 0}, "replay.rows must be >= 1, got 0; set replay.rows"),
        (
            {"rows": 1000, "max_bytes": 5000},
            "takes .* GiB .26 bytes a row and world., its limit is .*; set replay.rows to at most 64$",
        ),
        (
            {"rows": 1000, "max_bytes": 5000, "copies": 4},
            "in 3 worlds of 4 seeds takes .*; set replay.rows to at most 16$",
        ),
        ({"rows": 2**50}, "set replay.rows to at most"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(settings, said):
    with pytest.raises(ValueError, match="^[^\n]*$") as caught:
        replay.make(spec=counters(LENGTHS).spec, **settings)
    assert caught.match(said)


def test_what_does_not_fit_the_ring_is_refused(memory, seen):
    with pytest.raises(ValueError, match="a chunk of 100 rows does not fit into a replay of 37; set replay.rows"):
        memory.add(memory.init(), memory.frames(seen))
    with pytest.raises(ValueError, match="the policy notes no 'sen'; it notes junk, seen"):
        replay.make(9, counters(LENGTHS).spec, extras={"sen": SEEN["seen"]}).frames(seen)
    few = part(seen, 0, 4)
    wide = memory.frames(few._replace(action=few.action.astype(np.float16)))
    with pytest.raises(ValueError, match=r"the replay stores float32\(3, 1\), the chunk has float16\(3, 1\)"):
        memory.add(memory.init(), wide)
