"""Skills from demonstrations by the real command: what it refuses, what it leaves, and that a kill changes nothing."""

import json
import signal
import subprocess
from pathlib import Path

import h5py
import jax
import kills
import numpy as np
import pytest
from kills import recorded, struck
from leftovers import leaves, record

from experiments.configs import helms_offline as systems
from experiments.shared import cli
from skillhier.agents.offline import SYSTEMS
from skillhier.data import toy
from skillhier.envs.sawyer.observations import OBJECTS, PROPRIO
from skillhier.train import checkpoint

ROOT = Path(__file__).parent.parent
FILE = ROOT / "experiments" / "configs" / "helms_offline.py"
PRESETS = tuple(systems.PRESETS)


def command(*arguments) -> list[str]:
    return kills.entry("helms_offline", *arguments)


def run(*arguments) -> subprocess.CompletedProcess:
    return kills.run(command(*arguments))


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
        if isinstance(value, int | float) or (isinstance(value, tuple) and isinstance(value[0], int))
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


# --- the command ---


def test_help_lists_the_presets_and_their_times():
    told = run("--help").stdout
    assert all(preset in told for preset in PRESETS) and "under a minute" in told and "agent.beta_z" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--config is missing; for example --config=experiments/configs/helms_offline.py:debug"),
        ([f"--config={FILE}:debug", "--config.agent.betaz=1"], "did you mean config.agent.beta_z?"),
        ([f"--config={FILE}:quickstart", "--config.data.path=nowhere"], "nowhere: found nothing at this path"),
    ],
)
def test_wrong_use_of_the_real_command_is_one_line(arguments, said, tmp_path):
    told = run(*arguments, f"--workdir={tmp_path}/run")
    assert told.returncode in (1, 2) and told.stdout == "" and said in told.stderr
    assert len(told.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    told = run(f"--config={FILE}:debug", f"--workdir={folder}")
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
    assert set(params) == {"whitening", "low", "mid", "high", "prior"}
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.read(whole, "source")


def test_a_run_begins_with_the_parts_of_another(whole, tmp_path):
    one = "--config.train.updates=10", "--config.train.eval_every=10", "--config.train.save_every=10"
    asked = (
        f"--config={FILE}:debug",
        *one,
        "--config.seed=9",
        "--config.agent.learning_rate=0",
        f"--workdir={tmp_path}/run",
    )
    assert run(*asked, f"--init_from={whole}:low").returncode == 0
    before, after = (checkpoint.read(folder, "learner/params") for folder in (whole, tmp_path / "run"))
    same = jax.tree.map(np.array_equal, before, after)
    assert all(jax.tree.leaves(same["low"])) and not all(jax.tree.leaves(same["mid"]))
    told = run(*asked)
    assert told.returncode == 2 and f"was begun with config.init_from={whole}:low, now it is absent" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--init_from={whole}:lo"], 1, "holds nothing named 'learner/params/lo'; it holds"),
        (["--init_from={whole}"], 2, "is not RUN:SUBTREE, for example runs/skills:skills"),
        (["--init_from=nowhere:low"], 1, "nowhere holds no complete checkpoint"),
        (
            ["--init_from={whole}:low", "--config.agent.latent=3"],
            2,
            "does not fit: low/Joined_0/kernel has shape [137, 32], the learner needs shape [132",
        ),
    ],
)
def test_a_beginning_that_does_not_fit_is_refused_in_one_line(whole, tmp_path, arguments, code, said):
    arguments = [argument.format(whole=whole) for argument in arguments]
    told = run(f"--config={FILE}:debug", *arguments, f"--workdir={tmp_path}/run")
    assert told.returncode == code and len(told.stderr.splitlines()) == 1 and said in told.stderr
    assert not (tmp_path / "run").exists()


def test_the_same_command_on_a_finished_run_changes_nothing(whole):
    before = (whole / "metrics.jsonl").read_bytes()
    assert run(f"--config={FILE}:debug", f"--workdir={whole}").returncode == 0
    assert (whole / "metrics.jsonl").read_bytes() == before


def test_sigterm_saves_says_so_and_exits_with_0_and_the_run_goes_on_bit_for_bit(whole, tmp_path):
    asked = f"--config={FILE}:debug"
    child = struck(command(asked, f"--workdir={tmp_path}/run"), signal.SIGTERM, recorded(tmp_path / "run", 2))
    said = child.stderr.read()
    assert child.returncode == 0, said
    if "stopped at update" in said:  # on a fast machine the run may be over before the signal comes
        assert checkpoint.steps(tmp_path / "run" / "checkpoints")
        assert f"the same command continues {tmp_path / 'run'}" in said
    assert run(asked, f"--workdir={tmp_path / 'run'}").returncode == 0
    assert record(tmp_path / "run") == record(whole)
    assert leaves(tmp_path / "run", 100) == leaves(whole, 100)


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

    asked = (
        f"--config={FILE}:debug,agent=bc", f"--config.data.path={tmp_path}/data.h5", "--config.train.updates=10",
        "--config.train.eval_every=10", "--config.train.save_every=10", f"--workdir={tmp_path}/run",
    )  # fmt: skip
    write(0)
    told = run(*asked)
    assert told.returncode == 0, told.stderr
    write(1)
    told = run(*asked)
    assert told.returncode == 1 and "written with another data than this run has" in told.stderr.splitlines()[-1]
