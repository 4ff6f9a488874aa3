"""Checkpoints: what comes back is what went in, to the bit, and a damaged one is refused by name."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
from leftovers import same

from skillhier import files
from skillhier.agents.learner import healthy
from skillhier.train import checkpoint, loop, manifest
from skillhier.types import LearnerState


class Noted(NamedTuple):
    count: jax.Array
    nothing: jax.Array


def state(seed: int) -> loop.RunState:
    """A run state with every kind of leaf that has ever made trouble."""
    key = jax.random.key(seed)
    high = jax.random.normal(key, (5,)).astype(jnp.bfloat16)
    params = {"low": {"kernel": jax.random.normal(key, (4, 3))}, "high": high}
    tx = optax.multi_transform({"move": optax.adam(1e-3), "stay": optax.set_to_zero()}, {"low": "move", "high": "stay"})
    learner = LearnerState(params, Noted(jnp.int32(seed), jnp.zeros((2, 0))), tx.init(params), jnp.int32(7), healthy())
    data, keys = {"rows": jnp.full((6,), float(seed))}, jax.random.split(key, 3)
    source = {"data": data, "keys": keys, "first": jnp.array([True, False])}
    return loop.RunState(learner, source, key)


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of updates 10 and 20 in a folder."""
    notes = tmp_path / "notes"
    kept = checkpoint.Checkpoints(tmp_path / "checkpoints", about={"config": "abc"}, beside={"notes": notes})
    notes.write_text("one\n")
    kept.save(10, state(1))
    notes.write_text("one\ntwo\n")
    kept.save(20, state(2))
    yield kept
    kept.close()


def test_every_leaf_comes_back_to_the_bit(saved):
    assert saved.latest() == 20
    assert same(saved.restore(state(0)), state(2))
    assert same(saved.restore(state(0), 10), state(1))
    assert jax.tree.structure(saved.restore(state(0))) == jax.tree.structure(state(2))


def test_what_is_left_out_comes_from_the_template(saved):
    saved.save(30, state(3), leave_out=("source/data",))
    restored = saved.restore(state(0))
    assert restored.source["data"]["rows"].tolist() == [0.0] * 6
    assert same(restored.learner, state(3).learner) and same(restored.source["keys"], state(3).source["keys"])


def test_only_the_last_ones_are_kept(saved):
    saved.save(30, state(3))
    assert checkpoint.steps(saved.folder) == [20, 30]


def test_a_restored_state_runs_on_in_the_program_that_is_compiled(saved):
    fresh = jax.jit(lambda: jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=leaf.dtype), state(0)))()
    step = jax.jit(lambda run: jax.tree.map(lambda leaf: leaf, run))
    step(fresh), step(saved.restore(fresh))
    assert step._cache_size() == 1


def test_a_named_subtree_is_read_without_the_rest(saved, tmp_path):
    for folder in (tmp_path, saved.folder):
        tree = checkpoint.read(folder, "learner/params")
        assert same(tree, state(2).learner.params) and set(tree) == {"low", "high"}
    assert same(checkpoint.read(tmp_path, "learner/params/low/kernel", 10), state(1).learner.params["low"]["kernel"])
    assert same(checkpoint.read(tmp_path, "source/keys"), state(2).source["keys"])
    assert checkpoint.read(tmp_path, "learner/slow")["nothing"].shape == (2, 0)


def test_a_subtree_that_is_not_there_is_refused(saved, tmp_path):
    with pytest.raises(
        checkpoint.CheckpointError, match="nothing named 'learner/parms'; it holds .*learner/params/low"
    ):
        checkpoint.read(tmp_path, "learner/parms")
    with pytest.raises(checkpoint.CheckpointError, match="holds no complete checkpoint"):
        checkpoint.read(tmp_path / "elsewhere", "learner")


def names_of_files(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_to_any_file_is_refused_and_the_whole_one_named(saved, tmp_path, damage):
    names = names_of_files(saved.folder / "20")
    assert len(names) > 6 and manifest.MANIFEST in names and "beside/notes" in names
    for name in names:
        file = saved.folder / "20" / name
        content = file.read_bytes()
        if damage == "flip":
            middle = len(content) // 2
            file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        elif damage == "cut":
            file.write_bytes(content[:-1])
        else:
            file.unlink()
        with pytest.raises(checkpoint.CheckpointError) as refusal:
            saved.restore(state(0))
        assert name in str(refusal.value) and "\n" not in str(refusal.value)
        assert f"update 10 is whole: delete {saved.folder / '20'}" in str(refusal.value)
        with pytest.raises(checkpoint.CheckpointError):
            checkpoint.read(tmp_path, "key")
        file.write_bytes(content)
    assert same(saved.restore(state(0)), state(2))


def test_half_a_checkpoint_is_ignored_and_cleaned(saved, tmp_path):
    (saved.folder / "20").rename(saved.folder / "20.part")
    assert same(checkpoint.read(tmp_path, "key"), state(1).key)  # a reader leaves it alone
    assert (saved.folder / "20.part").is_dir()
    again = checkpoint.Checkpoints(saved.folder, about={"config": "abc"})
    assert sorted(entry.name for entry in saved.folder.iterdir()) == ["10"]
    assert again.latest() == 10 and same(again.restore(state(0)), state(1))
    again.close()


def test_what_grows_beside_the_state_is_put_back_with_it(saved):
    notes = saved.beside["notes"]
    notes.write_text("one\ntwo, and what came after the checkpoint")
    saved.restore(state(0))
    assert notes.read_text() == "one\ntwo\n"
    notes.unlink()
    saved.restore(state(0), 10)
    assert notes.read_text() == "one\n"


def test_a_checkpoint_is_on_disk_before_it_has_its_name(saved, tmp_path, monkeypatch):
    """Of every file and folder that a checkpoint needs the last change is synced before it counts."""
    synced, checked = {}, []
    fsync, rename = os.fsync, os.rename

    def syncing(handle):
        fsync(handle)
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        synced[path.stat().st_ino] = path.stat().st_mtime_ns

    def renaming(old, new):
        if Path(new).name == "30":
            for path in [Path(old), *Path(old).rglob("*"), *(saved.folder / "rings").rglob("*")]:
                assert synced.get(path.stat().st_ino) == path.stat().st_mtime_ns, path
                checked.append(path.name)
        rename(old, new)
        if Path(new).name == "30":
            synced.pop(saved.folder.stat().st_ino, None)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "rename", renaming)
    saved.save(30, state(3))
    assert {"30.part", manifest.MANIFEST, "default", "_METADATA", "beside", "notes"} <= set(checked)
    assert saved.folder.stat().st_ino in synced  # and its name before `save` returns
    assert same(checkpoint.read(tmp_path, "key"), state(3).key)


def test_a_checkpoint_of_another_config_is_refused(saved):
    other = checkpoint.Checkpoints(saved.folder, about={"config": "abd"})
    with pytest.raises(checkpoint.CheckpointError, match="written with another config than this run has"):
        other.restore(state(0))
    other.close()


def test_a_state_of_another_form_is_refused_by_the_name_of_the_leaf(saved):
    template = state(0)
    wider = template._replace(source={**template.source, "first": jnp.zeros((3,), bool)})
    with pytest.raises(
        checkpoint.CheckpointError, match=r"holds source/first as \[2\] bool, this run needs \[3\] bool"
    ):
        saved.restore(wider)
    fewer = template._replace(source={name: leaf for name, leaf in template.source.items() if name != "first"})
    with pytest.raises(checkpoint.CheckpointError, match="holds source/first, which this run does not know"):
        saved.restore(fewer)
    more = template._replace(source={**template.source, "extra": jnp.zeros(1)})
    with pytest.raises(checkpoint.CheckpointError, match="lacks source/extra"):
        saved.restore(more)


def test_a_checkpoint_of_another_format_is_refused(saved):
    path = saved.folder / "20" / manifest.MANIFEST
    files.write_sealed(path, files.unseal(path.read_bytes()) | {"format": 3})
    expected = "^[^\\n]* has format 3, this version of skillhier reads format 2; [^\\n]*$"
    with pytest.raises(checkpoint.CheckpointError, match=expected):
        saved.restore(state(0))


def test_an_empty_folder_says_so(tmp_path):
    kept = checkpoint.Checkpoints(tmp_path / "none")
    assert kept.latest() is None
    with pytest.raises(checkpoint.CheckpointError, match="no complete checkpoint"):
        kept.restore(state(0))
    kept.close()
    shutil.rmtree(tmp_path / "none")
