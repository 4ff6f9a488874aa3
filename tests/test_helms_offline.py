"""Skills from demonstrations by the real command: what it refuses, what it leaves, and that a kill changes nothing."""

import json
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import h5py
import jax
import jax.numpy as jnp
import kills
import numpy as np
import pytest
from kills import recorded, struck, survive
from leftovers import record

from experiments import helms_offline
from experiments.configs import helms_offline as systems
from experiments.shared import cli
from skillhier.agents.registry import OFFLINE as SYSTEMS
from skillhier.data import toy
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO
from skillhier.train import checkpoint, run_folder
from skillhier.types import TimeStep, Trajectory

ROOT = Path(__file__).parent.parent
FILE = ROOT / "experiments" / "configs" / "helms_offline.py"
PRESETS = tuple(systems.PRESETS)
DEBUG = (f"--config={FILE}:debug", "--config.train.save_every=10")
ONE_EPOCH = ("train.updates=10", "train.eval_every=10", "train.save_every=10")


def command(*arguments) -> list[str]:
    return kills.entry("helms_offline", *arguments)


def run(*arguments) -> subprocess.CompletedProcess:
    return kills.run(command(*arguments))


def asked(folder: Path, *changes: str, preset: str = "debug", init_from: str | None = None) -> cli.Run:
    """The command line as `main` gets it."""
    config, module = cli.load_config(f"{FILE}:{preset}", [tuple(change.split("=")) for change in changes])
    return cli.Run("helms_offline", config, folder, module.FREE, init_from)


# --- the config ---


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("agent", SYSTEMS)
def test_every_preset_of_every_agent_is_valid(preset, agent):
    for task in ("red_on_blue", "all_pairs"):
        config, _ = cli.load_config(f"{FILE}:{preset},agent={agent},task={task}")
        assert config.agent.name == agent and config.task == task


def test_every_number_has_its_limits_and_every_limit_its_setting():
    settings = {}
    for agent in SYSTEMS:
        config, module = cli.load_config(f"{FILE}:paper,agent={agent}")
        settings |= cli.flat(config)
    numbers = {
        name
        for name, value in settings.items()
        if isinstance(value, int | float) or (isinstance(value, tuple) and isinstance((*value, "")[0], int))
    }
    assert numbers - {name for name, value in settings.items() if isinstance(value, bool)} <= set(module.LIMITS)
    assert set(module.LIMITS) <= set(settings) and set(module.FREE) <= set(settings)


def test_the_paper_preset_is_table_5():
    for task, skills, beta_z in (("red_on_blue", 5, 0.0), ("all_pairs", 10, 0.1)):
        config, _ = cli.load_config(f"{FILE}:paper,task={task}")
        assert (config.agent.skills, config.agent.beta_z, config.agent.beta_y) == (skills, beta_z, 1.0)
        assert (config.train.batch_size, config.train.sequence_length, config.agent.learning_rate) == (128, 25, 1e-4)
        assert (config.agent.latent, config.agent.hidden) == (8, (256, 256))
        assert (config.agent.lookahead, config.agent.action_stddev) == (5, 0.1)


@pytest.mark.parametrize(
    ("preset", "changes", "said"),
    [
        ("debug", ["train.updates=105"], "config.train.updates=105 is no multiple of the epoch of 10"),
        ("debug", ["agent.low="], "config.agent.low is empty; name the observations"),
        ("debug", ["data.path="], "config.data.path is empty"),
        ("debug", ["agent.action_stddev=0"], "config.agent.action_stddev is 0.0; it must lie between 0.0001 and 10"),
        ("debug,agent=bc", ["agent.skills=3"], "setting config.agent.skills is not known"),
        ("debug,agent=hemls", [], "agent 'hemls' is not known; did you mean helms?"),
        ("debug,task=red_on_blu", [], "task 'red_on_blu' is not known; did you mean red_on_blue?"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_compiles(preset, changes, said):
    with pytest.raises(cli.Refused, match="^[^\n]*$") as caught:
        cli.load_config(f"{FILE}:{preset}", [tuple(change.split("=")) for change in changes])
    assert said in str(caught.value)


def test_the_error_beside_the_variance_of_the_actions():
    """Two windows whose actions are 0 and 2 in one dimension, 1 in the other: variances 1 and 0."""
    step = TimeStep({}, *[jnp.zeros((3, 1))] * 2, *[jnp.zeros((3, 1), bool)] * 2)
    rows = [Trajectory(step, jnp.stack([jnp.full((3, 1), value), jnp.ones((3, 1))], -1), {}) for value in (0.0, 2.0)]
    assess = lambda params, batch, key: {"heldout_action_mse": jnp.float32(0.125)}  # noqa: E731
    state = SimpleNamespace(params=())
    measured = helms_offline.held_out_evaluation(assess, rows, 1, 0).measure(state, None)
    assert measured == {"action_mse": 0.125, "explained_variance": pytest.approx(1 - 0.125 / 0.5)}
    units = {"action": {"offset": np.ones(2, np.float32), "scale": np.float32([2, 0])}}  # -1/2 and 1/2; a constant
    measured = helms_offline.held_out_evaluation(assess, rows, 1, 0, units).measure(state, None)
    assert measured["explained_variance"] == pytest.approx(1 - 0.125 / 0.125)
    still = helms_offline.held_out_evaluation(assess, rows[:1], 1, 0).measure(state, None)
    assert np.isnan(still["explained_variance"])


# --- the command ---


def test_help_lists_the_presets_and_their_times():
    told = run("--help").stdout
    assert all(preset in told for preset in PRESETS) and "under a minute" in told and "agent.beta_z" in told


def test_data_that_are_not_there_are_one_line_of_the_real_command(tmp_path):
    told = run(f"--config={FILE}:quickstart", "--config.data.path=nowhere", f"--workdir={tmp_path}/run")
    assert told.returncode == 1 and told.stdout == "" and "nowhere: found nothing at this path" in told.stderr
    assert len(told.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    told = run(*DEBUG, f"--workdir={folder}")
    assert told.returncode == 0, told.stderr
    assert "100/100" in told.stderr and f"report: {folder / 'report.html'}" in told.stdout
    return folder


def test_a_run_leaves_all_that_was_promised(whole):
    assert {"config.json", "metrics.jsonl", "tensorboard", "checkpoints", "summary.json", "report.html"} <= {
        entry.name for entry in whole.iterdir()
    }
    rows = record(whole)
    assert [row["step"] for row in rows] == list(range(10, 101, 10))
    assert all({"elbo/bound", "elbo/log_likelihood", "elbo/skill_kl", "elbo/latent_kl"} <= set(row) for row in rows)
    assert [row["step"] for row in rows if "heldout/action_mse" in row] == [50, 100]
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["train_steps"] == 100 and summary["episodes"] == 12
    assert summary["elbo_last"] > summary["elbo_first"] + 20
    assert sum(summary["skill_usage"]) == pytest.approx(1.0) and len(summary["skill_usage"]) == 5
    assert 0 < summary["transition_diagonal"] < 1
    assert summary["skill_entropy"] == pytest.approx(rows[-1]["heldout/elbo/skill_entropy"] / np.log(5))
    assert summary["heldout_action_mse"] < 0.1  # 0.3 without learning
    assert len(list((whole / "tensorboard").iterdir())) == 1


def test_parameters_can_be_read_for_transfer_and_the_data_is_not_among_them(whole):
    params = checkpoint.read(whole, "learner/params")
    assert set(params) == {"encoder", "low", "mid", "high", "prior"}
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.read(whole, "source")


def test_a_run_begins_with_the_parts_of_another(whole, tmp_path):
    changes = (*ONE_EPOCH, "seed=9", "agent.learning_rate=0")
    helms_offline.main(asked(tmp_path / "run", *changes, init_from=f"{whole}:low"))
    before, after = (checkpoint.read(folder, "learner/params") for folder in (whole, tmp_path / "run"))
    same = jax.tree.map(np.array_equal, before, after)
    assert all(jax.tree.leaves(same["low"])) and not all(jax.tree.leaves(same["mid"]))
    with pytest.raises(run_folder.RunFolderError, match=f"begun with config.init_from={whole}:low, now it is absent"):
        helms_offline.main(asked(tmp_path / "run", *changes))


@pytest.mark.parametrize(
    ("init_from", "changes", "error", "said"),
    [
        ("{}:lo", [], checkpoint.CheckpointError, "holds nothing named 'learner/params/lo'; it holds"),
        ("{}", [], cli.Refused, "is not RUN:PART, for example runs/skills:all"),
        ("nowhere:low", [], checkpoint.CheckpointError, "nowhere holds no complete checkpoint"),
        (
            "{}:low",
            ["agent.latent=3"],
            cli.Refused,
            "does not fit: low/Joined_0/kernel has shape [137, 32], the learner needs shape [132",
        ),
    ],
)
def test_a_beginning_that_does_not_fit_is_refused_in_one_line(whole, tmp_path, init_from, changes, error, said):
    with pytest.raises(error, match="^[^\n]*$") as caught:
        helms_offline.main(asked(tmp_path / "run", *changes, init_from=init_from.format(whole)))
    assert said in str(caught.value) and not (tmp_path / "run").exists()


def test_the_same_command_on_a_finished_run_changes_nothing(whole):
    before = (whole / "metrics.jsonl").read_bytes()
    helms_offline.main(asked(whole, "train.save_every=10"))
    assert (whole / "metrics.jsonl").read_bytes() == before


def test_stopped_and_killed_the_run_goes_on_bit_for_bit(whole, tmp_path):
    """SIGTERM saves, says so and exits with 0; then a kill at any moment and one that is aimed at a save."""
    child = struck(command(*DEBUG, f"--workdir={tmp_path}/run"), signal.SIGTERM, recorded(tmp_path / "run", 2))
    said = child.stderr.read()
    assert child.returncode == 0, said
    if "stopped at update" in said:  # on a fast machine the run may be over before the signal comes
        assert checkpoint.steps(tmp_path / "run" / "checkpoints")
        assert f"the same command continues {tmp_path / 'run'}" in said
    survive(command(*DEBUG), whole, tmp_path / "run", 2, 0, ("learner", "key"))


def test_other_data_under_the_same_run_is_refused(tmp_path):
    def write(seed):
        found = toy.demonstrations(PROPRIO | OBJECTS, episodes=4, steps=40, seed=seed)
        with h5py.File(tmp_path / "data.h5", "w") as file:
            for i, (start, length) in enumerate(zip(found.start, found.length, strict=True)):
                episode = file.create_group(f"episode_{i}")
                for name, values in found.obs.items():
                    episode[f"observations/{name}"] = values[start : start + length + 1]
                episode["actions"] = found.action[start : start + length]
                episode["rewards"] = found.reward[start : start + length]
                ends = np.arange(length) == length - 1
                episode["terminations"], episode["truncations"] = ends & False, ends

    again = asked(tmp_path / "run", f"data.path={tmp_path}/data.h5", *ONE_EPOCH, preset="debug,agent=bc")
    write(0)
    helms_offline.main(again)
    write(1)
    with pytest.raises(checkpoint.CheckpointError, match="written with another data than this run has"):
        helms_offline.main(again)
