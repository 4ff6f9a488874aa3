"""What a run leaves when bad numbers end it, and the command that runs that update again."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import replay_fault
from skillhier.agents import offline
from skillhier.agents.learner import healthy
from skillhier.data import sources, toy
from skillhier.train import faults, loop, run_folder

ROOT = Path(__file__).parent.parent
AGENT = {"agent.name": "bc", "agent.mid": ["arm"], "agent.hidden": [8], "agent.lookahead": 2}


@pytest.fixture(scope="module")
def fault(tmp_path_factory):
    """(file, learner state, batch, key) of a clone that was shown a NaN at row 1 of sequence 2."""
    path, _ = run_folder.open_run(tmp_path_factory.mktemp("run"), "helms_offline", {"seed": 4, **AGENT})
    data = toy.demonstrations({"arm": 3}, steps=30)
    settings = run_folder.nested(AGENT)["agent"]
    obs, action = {"arm": jax.ShapeDtypeStruct((2, 3), jnp.float32)}, jax.ShapeDtypeStruct((5,), jnp.float32)
    system = offline.make(obs, action, **settings)
    source = sources.offline(data, batch_size=4, sequence_length=6, lookahead=2, stack=2)
    _, batch, _ = source.next(source.init(jax.random.key(0)), (), jax.random.key(1))
    batch.step.obs["arm"] = batch.step.obs["arm"].at[1, 2, 0, 0].set(jnp.nan)
    key = jax.random.key(7)
    state, _ = system.learner.update(system.learner.init(jax.random.key(0)), batch, key)
    stuck = loop.NonFiniteError(50, 1, state, loop.RejectedUpdate(batch, key))
    return faults.write(path, stuck), state, batch, key


def test_what_was_written_is_read(fault):
    file, state, batch, key = fault
    box = faults.read(file)
    assert file.name == "fault-50.npz"
    assert (box.run["entry"], box.run["update"], box.run["seed"]) == ("helms_offline", 50, 5)
    assert jax.random.key_data(box.key).tolist() == jax.random.key_data(key).tolist()
    for top, tree in (("learner", state), ("batch", batch)):
        jax.tree.map(np.testing.assert_array_equal, box.fill(top, tree), tree)
    jax.tree.map(np.testing.assert_array_equal, replay_fault.trajectory(box), batch)


def test_the_command_names_the_number_and_the_line(fault):
    told = subprocess.run(
        [sys.executable, "-m", "experiments.replay_fault", f"--file={fault[0]}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0] == "helms_offline, seed 5, update 50, 1 left out in all"
    assert lines[1] == "batch/step/obs/arm [8, 4, 2, 3]: 1 not finite, the first at [1, 2, 0, 0]: nan"
    assert lines[-1] == "left out again; it was given bad numbers"


def test_an_overflow_is_found_where_no_nan_arises():
    data = toy.demonstrations({"arm": 3}, steps=30)
    made = offline.make({"arm": jax.ShapeDtypeStruct((1, 3), jnp.float32)}, jax.ShapeDtypeStruct((5,), jnp.float32),
                        name="bc", mid=("arm",), hidden=(8,), lookahead=2).learner  # fmt: skip
    source = sources.offline(data, batch_size=4, sequence_length=6, lookahead=2)
    _, batch, _ = source.next(source.init(jax.random.key(0)), (), jax.random.key(1))
    huge = batch._replace(action=batch.action.at[0, 0, 0].set(1e30))
    state = made.init(jax.random.key(0))
    told = replay_fault.origin(made, state, huge, jax.random.key(0))
    assert told.startswith("the first bad number arises at skillhier/losses/imitation.py:") and "(inf)" in told
    after, _ = made.update(state._replace(health=healthy()), batch, jax.random.key(0))
    assert int(after.health.skipped) == 0


@pytest.mark.parametrize("content", [b"", b"not a file of ours", None])
def test_a_file_that_is_none_of_ours_is_refused_in_one_line(tmp_path, content, fault):
    file = tmp_path / "fault-1.npz"
    file.write_bytes(fault[0].read_bytes()[:-100] if content is None else content)
    with pytest.raises(run_folder.RunFolderError, match="fault-1.npz is damaged, or not a fault record"):
        faults.read(file)


def test_a_learner_of_other_shapes_is_refused(fault):
    with pytest.raises(
        run_folder.RunFolderError, match=r"the learner needs learner/w as float32 \[2\], the file lacks it"
    ):
        faults.read(fault[0]).fill("learner", {"w": jnp.zeros(2)})
