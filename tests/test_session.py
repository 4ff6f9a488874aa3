"""A run in its folder, killed and continued, is the run that was never interrupted: every leaf and every line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from leftovers import leaves, record

from skillhier.train import checkpoint

ROOT = Path(__file__).parent.parent
PARTS = ("learner", "source", "key")

SCRIPT = """
import os, signal, sys
from pathlib import Path
import jax, jax.numpy as jnp, optax
from skillhier.train.evaluate import Evaluation
from skillhier.agents.learner import healthy
from skillhier.train import manifest, metrics, session
from skillhier.types import Learner, LearnerState, Source, TimeStep, Trajectory

folder, budget, die, how = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
tx = optax.adam(0.01)

if how != "in_save":
    log = metrics.logged
    def dying(writers):
        def callback(report):
            log(writers)(report)
            if report.done == die:
                os.kill(os.getpid(), getattr(signal, how))
        return callback
    metrics.logged = dying

def init(key):
    params = {"w": jax.random.normal(key, (8, 8))}
    return LearnerState(params, {}, tx.init(params), jnp.int32(0), healthy())

def update(state, batch, key):
    def loss(params):
        x = batch.step.reward[..., None] * jax.random.normal(key, (8,))
        return jnp.mean((jnp.tanh(x @ params["w"]) - 0.3) ** 2)
    value, gradient = jax.value_and_grad(loss)(state.params)
    change, opt = tx.update(gradient, state.opt)
    params = optax.apply_updates(state.params, change)
    return LearnerState(params, {}, opt, state.steps + 1, state.health), {"loss": value}

def following(state, params, key):
    rows = state["rows"] + jax.random.normal(key, (3, 4))
    flags = jnp.zeros((3, 4), bool)
    return state | {"rows": rows * 0.9}, Trajectory(TimeStep({}, rows, rows, flags, flags), rows, {}), {}

source = Source(lambda key: {"rows": jax.random.normal(key, (3, 4)), "data": jnp.zeros(5)}, following)

def measure(state, batch):
    return {"norm": float(jnp.abs(state.params["w"]).mean())}

if how == "in_save":
    write = manifest.write
    def cut(path, content):
        if content.step == die:
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, content)
    manifest.write = cut

told = session.execute(
    folder, Learner(init, update), source, seed=3, budget=budget, updates=10, save_every=20,
    evaluations=[Evaluation("heldout", 20, measure)], terms=["loss"], left_out=("source/data",), about={"config": "c"},
)
print(told.done, told.stopped and told.stopped.name)
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    file = tmp_path_factory.mktemp("script") / "run.py"
    file.write_text(SCRIPT)
    return file


def spawn(script, folder, budget, die=-1, how="SIGKILL"):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(folder), str(budget), str(die), how]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def whole(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    told = spawn(script, folder, 60)
    assert told.stdout == "60 None\n", told.stderr
    return folder


def test_an_uninterrupted_run_leaves_its_record(whole):
    assert [row["step"] for row in record(whole)] == [10, 20, 30, 40, 50, 60]
    assert [row["step"] for row in record(whole) if "heldout/norm" in row] == [20, 40, 60]
    assert checkpoint.steps(whole / "checkpoints") == [40, 60]


@pytest.mark.parametrize(
    ("die", "how"), [(30, "SIGKILL"), (40, "in_save"), (20, "SIGTERM")], ids=["killed", "killed in a save", "stopped"]
)
def test_killed_and_continued_equals_uninterrupted(script, whole, tmp_path, die, how):
    told = spawn(script, tmp_path, 60, die, how)
    if how == "SIGTERM":
        assert told.stdout == "30 SIGTERM\n" and "SIGTERM: stopping after this epoch" in told.stderr
    else:
        assert told.returncode == -signal.SIGKILL
        assert checkpoint.steps(tmp_path / "checkpoints") == [20]
    told = spawn(script, tmp_path, 60)
    assert told.stdout == "60 None\n", told.stderr
    assert leaves(tmp_path, 60, PARTS) == leaves(whole, 60, PARTS)
    assert record(tmp_path) == record(whole)


def test_a_finished_run_is_left_as_it_is(script, whole):
    before = (whole / "metrics.jsonl").read_bytes()
    told = spawn(script, whole, 60)
    assert told.stdout == "60 None\n" and (whole / "metrics.jsonl").read_bytes() == before


def test_a_longer_budget_goes_on(script, tmp_path, whole):
    spawn(script, tmp_path, 20)
    told = spawn(script, tmp_path, 60)
    assert told.stdout == "60 None\n", told.stderr
    assert leaves(tmp_path, 60, PARTS) == leaves(whole, 60, PARTS) and record(tmp_path) == record(whole)
