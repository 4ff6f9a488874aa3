"""A run in its folder, killed and continued, is the run that was never interrupted: every leaf and every line."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faulty import regression, spoiling
from leftovers import leaves, record

from skillhier.train import checkpoint, metrics, run_folder, session

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


def missing(lines):
    return None


def flipped(lines):
    return [*lines[:2], lines[2].replace('"guess/error": ', '"guess/error": 1'), *lines[3:]]


DAMAGE = {
    "missing": missing,
    "a line lost": lambda lines: [*lines[:1], *lines[2:]],
    "a line cut": lambda lines: [*lines[:1], lines[1][:20] + "\n", *lines[2:]],
    "out of order": lambda lines: [lines[1], lines[0], *lines[2:]],
    "a figure changed": flipped,
    "not text": lambda lines: ["\0\udcff" * 9, *lines[1:]],
    "cut": lambda lines: lines[:2],
    "longer": lambda lines: [*lines, '{"step": 90}\n'],
}


def short(folder, budget=4):
    """A run of a few updates in this process, each with a line and a checkpoint of its own."""
    return session.execute(folder, regression(), spoiling(), seed=0, budget=budget, updates=1, save_every=1)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    folder = tmp_path_factory.mktemp("half")
    short(folder)
    return folder


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_record_is_put_back_from_the_checkpoint(half, tmp_path, how):
    """Also what no reader could tell; and what came after the checkpoint is not in it."""
    shutil.copytree(half, tmp_path / "run")
    file = tmp_path / "run" / "metrics.jsonl"
    before = file.read_text()
    lines = DAMAGE[how](before.splitlines(keepends=True))
    file.unlink() if lines is None else file.write_text("".join(lines), errors="surrogateescape")
    short(tmp_path / "run")
    assert file.read_text() == before


@pytest.mark.parametrize("how", ["a line cut", "out of order", "not text"])
def test_readers_name_the_first_damaged_line(half, tmp_path, how):
    file = tmp_path / "metrics.jsonl"
    lines = DAMAGE[how]((half / "metrics.jsonl").read_text().splitlines(keepends=True))
    file.write_text("".join(lines), errors="surrogateescape")
    line = 1 if how == "not text" else 2
    with pytest.raises(
        metrics.RecordError, match=f"^{file} is damaged in line {line}; the command of its run puts back"
    ):
        metrics.rows(file)


@pytest.mark.parametrize("seeds", [1, 2])
def test_what_says_done_is_written_last(tmp_path, seeds):
    """A page that fails, or a kill while it is written, leaves no summary: the sweep runs the command again."""
    run_folder.open_run(tmp_path, "toy", {"seed": 0, "seeds": seeds})
    for place in run_folder.seed_folders(tmp_path, 0, seeds):
        (place / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    seen = []

    def summarise(rows):
        return {"loss": rows[-1]["loss"]}

    def page(folder, summary):
        seen.append((folder, summary, sorted(path.name for path in tmp_path.rglob("summary.json"))))
        if len(seen) == 2 * seeds:
            raise KeyboardInterrupt

    session.finish(tmp_path, 0, seeds, summarise, page)
    assert len(seen) == seeds and all(one[1:] == ({"loss": 0.5}, []) for one in seen)
    assert (tmp_path / "summary.json").is_file()
    run_folder.open_run(tmp_path, "toy", {"seed": 0, "seeds": seeds})
    with pytest.raises(KeyboardInterrupt):
        session.finish(tmp_path, 0, seeds, summarise, page)
    assert not (tmp_path / "summary.json").exists()
