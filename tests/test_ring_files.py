"""A replay in checkpoints: a save costs what is new, whatever is restored is bit for bit what was saved."""

import os
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counters import SEEN, counters
from leftovers import same

from skillhier.data import replay
from skillhier.train import checkpoint, ring_files
from skillhier.train.checkpoint import CheckpointError, Checkpoints
from skillhier.train.manifest import MANIFEST
from skillhier.types import TimeStep, Trajectory

ROWS, WORLDS = 40, 3
RINGS = ("source/replay",)
SPEC = counters((1, 2, 9)).spec
MEMORY = replay.make(ROWS, SPEC, extras=SEEN)


def state_of(ring, step=0):
    return {"source": {"replay": ring, "data": jnp.zeros(3)}, "step": jnp.asarray(step, jnp.int32)}


def begin(memory=MEMORY, seeds=0):
    init = jax.vmap(lambda _: memory.init())(jnp.arange(seeds)) if seeds else memory.init()
    return jax.tree.map(jnp.copy, state_of(init))


def chunk(number, length, salt=0.0):
    """Rows that say where they are from: every element of every leaf follows from the row's number and its world."""
    row = (number + np.arange(length)[:, None] + np.arange(WORLDS) / 8 + salt).astype(np.float32)  # [length, B]
    obs = {"count": np.stack([row, -row], -1), "told": row[..., None] + 0.5}
    step = TimeStep(obs, row, row * 2, row.astype(int) % 3 == 0, row.astype(int) % 3 == 2)
    return Trajectory(step, row[..., None] * 3, {"seen": row.astype(np.int32)})


def advance(state, length, skip=0):
    """The state `length` rows later, as `add` makes it; `skip` row numbers are lost before them."""
    ring = state["source"]["replay"]
    head, filled, next_row = (int(np.ravel(x)[0]) for x in (ring.head, ring.filled, ring.next_row))
    size = ring.rows.step.reward.shape[ring.head.ndim]
    places = (head + np.arange(length)) % size

    def write(leaf, *new):
        leaf = np.array(leaf)
        for seed, rows in enumerate(new):
            (leaf[seed] if ring.head.ndim else leaf)[places] = rows
        return jnp.asarray(leaf)

    chunks = [chunk(next_row + skip, length, 100.0 * seed) for seed in range(ring.head.size)]
    counts = ((head + length) % size, min(filled + length, size), next_row + skip + length)
    counts = (jnp.full(ring.head.shape, count, jnp.int32) for count in counts)
    return state_of(replay.ReplayState(jax.tree.map(write, ring.rows, *chunks), *counts), state["step"] + 1)


def test_rows_are_added_as_the_replay_adds_them():
    state, ring, add = begin(), MEMORY.init(), jax.jit(MEMORY.add)
    for _ in range(2):
        state = advance(state, 25)
        ring = add(ring, jax.tree.map(jnp.asarray, chunk(int(ring.next_row), 25)))
    step = state["source"]["replay"].rows.step
    paid = step._replace(reward=jnp.where(step.first, 0, step.reward))  # the replay pays nothing where an episode opens
    assert same(state["source"]["replay"]._replace(rows=state["source"]["replay"].rows._replace(step=paid)), ring)


def segments(folder):
    return {path.name: path.stat().st_size for path in (folder / ring_files.FOLDER).glob("*")}


def restored(folder, template):
    saved = Checkpoints(folder, rings=RINGS)
    state = saved.restore(template)
    saved.close()
    return state


# --- what a save costs ---


def test_a_save_writes_what_is_new(tmp_path):
    memory = replay.make(4096, SPEC, extras=SEEN)
    saved = Checkpoints(tmp_path, rings=RINGS, keep=9)
    row = WORLDS * replay.bytes_per_row(SPEC, SEEN)
    assert row == 90
    state, sizes, before = begin(memory), [], {}
    for step, length in enumerate((1024, 8, 16, 1024), 1):
        state = advance(state, length)
        saved.save(step, state)
        after = segments(tmp_path)
        ((_, size),) = [(name, size) for name, size in after.items() if name not in before]
        assert {name: after[name] for name in before} == before  # no file is written again
        sizes.append(size)
        before = after
    saved.close()
    overhead = sizes[1] - 8 * row  # headers of 8 arrays
    assert 0 < overhead < 3000
    assert [size - overhead for size in sizes] == [1024 * row, 8 * row, 16 * row, 1024 * row]
    rest = sum(file.stat().st_size for file in (tmp_path / "4").rglob("*") if file.is_file())
    assert rest < 4096 * row / 8  # the ring itself is not among Orbax's files
    assert same(restored(tmp_path, begin(memory)), state)


def test_without_rings_a_checkpoint_holds_all(tmp_path):
    saved = Checkpoints(tmp_path)
    state = advance(begin(), 30)
    saved.save(1, state)
    assert not (tmp_path / ring_files.FOLDER).exists()
    assert same(saved.restore(begin()), state)
    saved.close()


# --- what comes back ---


@pytest.mark.parametrize(("seeds", "segment_bytes"), [(0, 2**28), (0, 700), (2, 700)])  # 7 rows, 3 rows of two seeds
@pytest.mark.parametrize(
    "lengths",
    [
        (5, 7, 30, 3),  # round once
        (40, 40, 40),  # all of it each time
        (39, 1, 1, 38, 2),
        (12, 12, 12, 12, 12, 12, 12),
    ],
)
def test_whatever_was_saved_comes_back_to_the_bit(tmp_path, monkeypatch, lengths, segment_bytes, seeds):
    monkeypatch.setattr(ring_files, "SEGMENT_BYTES", segment_bytes)
    saved, state = Checkpoints(tmp_path, rings=RINGS), begin(seeds=seeds)
    for step, length in enumerate(lengths, 1):
        state = advance(state, length)
        saved.save(step, state)
        saved.save(step, state)  # is there already
        if step % 2:  # a process that goes on from there
            saved.close()
            saved = Checkpoints(tmp_path, rings=RINGS)
            copy = saved.restore(begin(seeds=seeds))
            assert same(copy, state)
            state = copy
        else:  # this one goes on
            assert same(restored(tmp_path, begin(seeds=seeds)), state)
    assert same(saved.restore(begin(seeds=seeds)), state)
    assert same(saved.restore(begin(seeds=seeds), step=len(lengths)), state)
    saved.close()
    if not seeds:
        rows = checkpoint.read(tmp_path, "source/replay/rows")
        assert same(rows, jax.tree.map(np.asarray, checkpoint.nested(checkpoint.named(state["source"]["replay"].rows))))
        assert same(
            checkpoint.read(tmp_path, "source/replay/rows/step/reward"), state["source"]["replay"].rows.step.reward
        )
        assert int(checkpoint.read(tmp_path, "source/replay/head")) == sum(lengths) % ROWS


@pytest.mark.parametrize(
    "additions",
    [
        [(20, 0), (4, 3), (4, 40), (40, 0), (2, 36), (40, 40)],
        # counting lost rows as written ones would hold the last three segments for all 40 rows, and lose the first
        [(36, 0), (2, 3), (2, 30), (3, 0)],
    ],
)
def test_rows_that_were_skipped_and_rounds_that_cannot_be_counted_are_written_whole(tmp_path, additions):
    """A head that stands where it stood says nothing: 40 rows may be new, or none after a gap in the numbers."""
    saved, state = Checkpoints(tmp_path, rings=RINGS), begin()
    for step, (length, skip) in enumerate(additions):
        state = advance(state, length, skip=skip)
        saved.save(step, state)
        assert same(saved.restore(begin()), state), (length, skip)
    saved.close()


def test_another_state_than_the_one_that_went_on_is_written_whole(tmp_path):
    """Who opens a folder and does not restore has rows that its segments do not hold."""
    saved = Checkpoints(tmp_path, rings=RINGS)
    saved.save(1, advance(begin(), 8))
    saved.close()
    other = jax.tree.map(lambda x: x * 2 if x.dtype == jnp.float32 else x, advance(advance(begin(), 8), 8))
    again = Checkpoints(tmp_path, rings=RINGS)
    again.save(2, other)
    assert same(again.restore(begin()), other)
    again.close()


def test_leaves_of_every_kind(tmp_path):
    def of(count):
        value = np.arange(6 * 2 * 2).reshape(6, 2, 2) * (np.arange(6) < count)[:, None, None]
        rows = {"empty": jnp.zeros((6, 2, 0)), "flag": jnp.asarray(value > 3), "file": jnp.asarray(value, jnp.int16)}
        rows |= {"half": jnp.asarray(value, jnp.bfloat16), "byte": jnp.asarray(value, jnp.uint8)}
        numbers = {"head": count % 6, "filled": count, "next_row": count}
        return {"ring": {"rows": rows, **{name: jnp.int32(value) for name, value in numbers.items()}}}

    saved = Checkpoints(tmp_path, rings=("ring",))
    for count in (2, 3, 6):
        saved.save(count, of(count))
        assert same(saved.restore(of(0)), of(count))
    saved.close()
    assert len(segments(tmp_path)) == 3


def test_a_ring_that_is_left_out_comes_from_the_template_and_is_whole_when_it_is_saved_again(tmp_path):
    saved, state = Checkpoints(tmp_path, rings=RINGS), advance(begin(), 8)
    saved.save(1, state)
    saved.save(2, advance(state, 8), leave_out=RINGS)
    template = advance(begin(), 5)
    state = saved.restore(jax.tree.map(jnp.copy, template))
    assert same(state["source"]["replay"], template["source"]["replay"]) and int(state["step"]) == 2
    state = advance(state, 8)
    saved.save(3, state)
    assert same(saved.restore(begin()), state)
    saved.close()


def test_seeds_that_do_not_move_together_are_refused(tmp_path):
    saved, state = Checkpoints(tmp_path, rings=RINGS), begin(seeds=2)
    ring = state["source"]["replay"]
    with pytest.raises(ValueError, match=r"the seeds of a replay must move together, head is \[0, 1\]"):
        saved.save(1, state_of(ring._replace(head=jnp.arange(2))))
    saved.close()


# --- what stays on disk ---


def test_only_segments_that_a_checkpoint_needs_stay(tmp_path):
    saved, state, written = Checkpoints(tmp_path, rings=RINGS), begin(), []
    for step in range(1, 9):
        state = advance(state, 12)
        saved.save(step, state)
        names = segments(tmp_path)
        written += [name for name in names if name not in written]
        # 40 rows are the newest 4 segments of 12, and the checkpoint before needs one more
        assert set(names) == set(written[-5:]) and len(written) == step
    saved.close()
    stray = tmp_path / ring_files.FOLDER / "9.part"
    stray.write_bytes(b"half")
    (tmp_path / ring_files.FOLDER / "9-0123.npz").write_bytes(b"whole, of a checkpoint that is not")
    Checkpoints(tmp_path, rings=RINGS).close()
    assert set(segments(tmp_path)) == set(written[-5:])


def test_nothing_is_deleted_while_a_manifest_cannot_be_read(tmp_path):
    saved = Checkpoints(tmp_path, rings=RINGS)
    first = advance(begin(), 8)
    saved.save(1, first)
    saved.save(2, advance(first, 8))
    saved.close()
    manifest = tmp_path / "2" / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:-9])
    before = segments(tmp_path)
    again = Checkpoints(tmp_path, rings=RINGS)
    with pytest.raises(CheckpointError, match=f"{manifest} is damaged; the checkpoint of update 1 is whole: delete"):
        again.restore(begin())
    assert segments(tmp_path) == before
    assert same(again.restore(begin(), 1), first)
    again.close()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_segment_is_refused_and_what_is_whole_is_named(tmp_path, damage):
    saved, state = Checkpoints(tmp_path, rings=RINGS), begin()
    for step in (1, 2):
        state = advance(state, 12)
        saved.save(step, state)
    names = segments(tmp_path)
    assert len(names) == 2
    for name in names:
        file = tmp_path / ring_files.FOLDER / name
        content = file.read_bytes()
        for at in range(0, len(content), len(content) // 7) if damage == "flip" else [0]:
            if damage == "flip":
                file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            elif damage == "cut":
                file.write_bytes(content[:-1])
            else:
                file.unlink()
            whole = "the checkpoint of update 1 is whole" if name.startswith("2-") else "no other checkpoint is whole"
            with pytest.raises(CheckpointError, match=f"^[^\n]*{file} is (damaged|missing)[^\n]*; {whole}[^\n]*$"):
                saved.restore(begin())
            with pytest.raises(CheckpointError, match=f"{file} is (damaged|missing)"):
                checkpoint.read(tmp_path, "source/replay/rows/action")
            assert int(checkpoint.read(tmp_path, "step")) == 2  # needs no segment
            file.write_bytes(content)
    assert same(saved.restore(begin()), state)
    saved.close()


# --- killed at any moment ---

OPERATIONS = ("rename", "replace", "fsync", "unlink", "remove", "rmdir", "mkdir")


class Killed(Exception):
    pass


def dying(monkeypatch, after):
    """From the operation on files of that number on, none is done any more; gives a list that grows by each."""
    done = []

    def guarded(name, operation):
        def call(*arguments, **settings):
            done.append(name)
            if len(done) > after:
                raise Killed(name)
            return operation(*arguments, **settings)

        return call

    for name in OPERATIONS:
        monkeypatch.setattr(os, name, guarded(name, getattr(os, name)))
    return done


def run(folder, until=4):
    """Steps of 20 rows, each saved, from the last checkpoint on."""
    saved, state = Checkpoints(folder, rings=RINGS), begin()
    if saved.latest() is not None:
        state = saved.restore(state)
    while int(state["step"]) < until:
        state = advance(state, 20)
        saved.save(int(state["step"]), state)
    saved.close()
    return state


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Orbax's threads
def test_killed_between_any_two_operations_on_files_it_ends_as_if_it_had_not_been(tmp_path):
    base, whole = tmp_path / "base", tmp_path / "whole"
    run(base, 3)
    (base / "4.part").mkdir()  # remains of a process that was killed, for the next one to clear away
    (base / "4.part" / "half").touch()
    (base / ring_files.FOLDER / "4-00.npz").touch()
    (base / ring_files.FOLDER / "4.part").touch()
    shutil.copytree(base, whole)
    with pytest.MonkeyPatch.context() as patch:
        operations = dying(patch, 10**6)
        state = run(whole)
    # one segment and one checkpoint are written, one of each and the remains are deleted
    assert operations.count("fsync") >= 4 and operations.count("unlink") > 3 and {"rename", "mkdir"} < set(operations)
    assert int(state["source"]["replay"].next_row) == 80 and len(segments(whole)) == 3
    for after in range(len(operations)):
        folder = tmp_path / str(after)
        shutil.copytree(base, folder)
        with pytest.MonkeyPatch.context() as patch:
            dying(patch, after)
            try:
                run(folder)
            except Exception as error:  # Orbax may wrap it in an error of its own
                assert re.search("|".join(OPERATIONS), str(error)), error
            else:  # Orbax writes a file more or less from run to run
                assert after > len(operations) - 5
        # a thread of the killed process may still write what it was about to, under the folder's former name
        folder = folder.rename(tmp_path / f"{after}-survived")
        assert same(run(folder), state), (after, operations[after])
        assert segments(folder) == segments(whole), (after, operations[after])
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["3", "4", "rings"], (after, operations[after])
        shutil.rmtree(folder)
