"""What a run leaves when bad numbers end it, and the command that runs that update again."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import spec_of

from experiments import replay_fault
from experiments.shared import cli, online_run, warm_start
from skillhier import files
from skillhier.agents import registry
from skillhier.agents.learner import healthy
from skillhier.data import sources, toy
from skillhier.train import faults, loop, run_folder
from skillhier.types import TimeStep, Trajectory

ROOT = Path(__file__).parent.parent
AGENT = {"agent.name": "bc", "agent.mid": ["arm"], "agent.hidden": [8], "agent.lookahead": 2}


@pytest.fixture(scope="module")
def fault(tmp_path_factory):
    """(file, learner state, batch, key) of a clone that was shown a NaN at row 1 of sequence 2."""
    path, _ = run_folder.open_run(tmp_path_factory.mktemp("run"), "helms_offline", {"seed": 4, **AGENT})
    data = toy.demonstrations({"arm": 3}, steps=30)
    settings = run_folder.nested(AGENT)["agent"]
    system = registry.make(**settings, spec=spec_of({"arm": (2, 3)}, 5))
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


ENTRIES = [
    *(("helms_offline", name) for name in registry.OFFLINE),
    *(("imitate", name) for name in ("bc", "hierarchical_bc")),
    *(("helms_transfer", name) for name in registry.BY_MPO),
    *(("lsp", name) for name in registry.IMAGINING),
]


def left_by(path: Path, entry: str, name: str, init=None) -> tuple[Path, tuple, Trajectory]:
    """(file, learner state, batch) of a fault of the agent of an entry point, at its debug preset.

    init: the first state of a learner, or None for numbers in its form. The rewards and observations are no numbers.
    """
    config, _ = cli.load_config(f"{ROOT}/experiments/configs/{entry}.py:debug,agent={name}")
    if "env" in config:
        spec = online_run.make_worlds(config.env, 1).spec
        skills = warm_start.start(cli.Run(entry, config, None)).skills if "source" in config else {}
        agent = online_run.make_agent(config, spec, **skills)
    else:
        spec = spec_of(dict.fromkeys(config.agent.mid, (config.data.stack, 2)), 5)
        skills, agent = {}, registry.make(**config.agent, spec=spec)
    path, _ = run_folder.open_run(path, entry, cli.flat(config))
    files.write_sealed(path / run_folder.ORIGIN, skills)
    rows = lambda shape, dtype, value=0: np.full((8, 3, *shape), value, dtype)  # noqa: E731
    obs = {entry: rows(x.shape, x.dtype, np.nan) for entry, x in spec.obs.items()}
    step = TimeStep(obs, rows((), "f4", np.nan), rows((), "f4", 1), rows((), bool), rows((), bool))
    extras = {note: rows(x.shape, x.dtype) for note, x in agent.replay_extras.items()}
    batch, key = Trajectory(step, rows(spec.action.shape, "f4"), extras), jax.random.key(0)
    template = jax.eval_shape(agent.learner.init, key)
    state = init(agent.learner) if init else jax.tree.map(lambda x: np.full(x.shape, 3, x.dtype), template)
    return faults.write(path, loop.NonFiniteError(10, 0, state, loop.RejectedUpdate(batch, key))), state, batch


@pytest.mark.parametrize(("entry", "name"), ENTRIES)
def test_the_learner_of_every_agent_of_every_entry_point_is_made_again(tmp_path, entry, name):
    """From its config, how its skills were made, and the batch: every array has its place, and the batch fits."""
    file, state, batch = left_by(tmp_path / "run", entry, name)
    record = faults.read(file)
    learner = replay_fault.rebuilt(record, replay_fault.trajectory(record))
    template = jax.eval_shape(learner.init, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, record.fill("learner", template), state)
    updated, _ = jax.eval_shape(learner.update, template, batch, jax.random.key(0))
    assert jax.tree.structure(updated) == jax.tree.structure(template)


FAST = (("helms_transfer", "helms_cat"),)  # the command runs an update of these in the fast suite, of all in the slow


@pytest.mark.parametrize(
    ("entry", "name"),
    [case if case in FAST else pytest.param(*case, marks=pytest.mark.slow) for case in ENTRIES],
)
def test_the_command_runs_the_update_of_every_agent_again(tmp_path, capsys, entry, name):
    file, _, _ = left_by(tmp_path / "run", entry, name, lambda learner: jax.jit(learner.init)(jax.random.key(0)))
    with pytest.raises(SystemExit) as ended:
        cli.run(replay_fault.main, needs_config=False, argv=["replay_fault", f"--file={file}"])
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    assert out.startswith(f"{entry}, seed 0, update 10,") and "batch/step/reward [8, 3]: 24 not finite" in out
    assert out.splitlines()[-1] == "left out again; it was given bad numbers"


def test_an_overflow_is_found_where_no_nan_arises():
    data = toy.demonstrations({"arm": 3}, steps=30)
    made = registry.make("bc", spec_of({"arm": (1, 3)}, 5), mid=("arm",), hidden=(8,), lookahead=2).learner
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
