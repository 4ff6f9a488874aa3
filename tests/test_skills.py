"""The main job: its stages are run once, and it leaves the numbers that were promised."""

import json
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from experiments import skills
from experiments.shared import cli

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "experiments" / "configs" / "skills.py"
NUMBERS = {
    "episodes", "expert_success", "expert_return", "train_steps", "elbo_first", "elbo_last", "heldout_action_mse",
    "heldout_action_mse_k1", "heldout_action_mse_npmp", "skill_usage", "transition_diagonal", "skill_entropy",
    "fixed_skill_spread", "fixed_skill_noise", "seconds", "heldout_explained_variance",
}  # fmt: skip


def test_its_presets_are_valid_and_name_presets_that_are():
    for preset in ("quickstart", "debug"):
        config, _ = cli.load_config(f"{CONFIG}:{preset}")
        cli.load_config(f"{cli.CONFIGS}/helms_offline.py:{config.preset}")
    with pytest.raises(cli.Refused, match="config.rollouts=5 is odd"):
        cli.load_config(f"{CONFIG}:debug", [("rollouts", "5")])


def test_a_stage_is_run_again_only_if_it_must_be(tmp_path):
    file, made = f"{cli.CONFIGS}/helms_offline.py:debug", tmp_path / "made"
    job = skills.Job(tmp_path)
    job.stage("train/a", "helms_offline", file, "--check", leaves=made)
    once = job.done["train/a"]
    assert once["finished"] and once["seconds"] > 0
    made.touch()
    again = skills.Job(tmp_path)
    again.stage("train/a", "helms_offline", file, "--check", leaves=made)
    assert again.done["train/a"] == once  # not run: its time would differ
    again.stage("train/a", "helms_offline", file, "--check", "--config.seed=1", leaves=made)
    assert again.done["train/a"] != once
    assert again.seconds()["train"] == again.done["train/a"]["seconds"]


def test_a_stage_that_fails_stops_the_job_and_is_tried_again(tmp_path):
    job = skills.Job(tmp_path)
    for _ in range(2):
        with pytest.raises(cli.Refused, match="stage train/a ended with code 2"):
            job.stage("train/a", "helms_offline", f"{cli.CONFIGS}/helms_offline.py:debg", leaves=tmp_path)


def test_other_data_are_learned_from_with_the_settings_that_they_need(tmp_path, monkeypatch, capsys):
    """D4RL's arrays: no world is known, so skills are neither rolled out nor filmed, and no success is invented."""
    rng, rows = np.random.default_rng(0), 120
    with h5py.File(tmp_path / "walk.hdf5", "w") as file:
        file["observations"], file["actions"] = rng.normal(size=(rows, 5)), 0.01 * rng.normal(size=(rows, 2))
        file["rewards"], file["terminals"] = np.ones(rows), np.zeros(rows, bool)
        file["timeouts"] = np.arange(rows) % 40 == 39
    stages = []

    def stage(self, name, entry, config, *arguments, leaves):
        stages.append((name, *arguments))
        leaves.parent.mkdir(parents=True, exist_ok=True)
        numbers = dict.fromkeys(
            NUMBERS - {"expert_success", "expert_return", "fixed_skill_spread", "fixed_skill_noise", "seconds"}, 1.0
        )
        leaves.write_text(json.dumps(numbers | {"skill_usage": [1.0]}))

    monkeypatch.setattr(skills.Job, "stage", stage)
    monkeypatch.setattr(skills.run_report, "write", lambda folder: folder / "report.html")

    def run(*changes: tuple[str, str]) -> dict:
        stages.clear()
        config, _ = cli.load_config(f"{CONFIG}:debug", [("data", str(tmp_path / "walk.hdf5")), *changes])
        skills.main(cli.Run("skills", config, tmp_path / "run"))
        return json.loads((tmp_path / "run" / "summary.json").read_text())

    summary = run()
    assert [name for name, *_ in stages] == ["train/helms", "train/k1", "train/npmp"]
    for _, *arguments in stages:
        assert {"--config.agent.low=observation", "--config.agent.mid=observation"} <= set(arguments)
    assert set(summary) == NUMBERS - {"expert_success", "expert_return", "fixed_skill_spread", "fixed_skill_noise"}
    assert "not rolled out or filmed" in (said := capsys.readouterr().err) and "walk.hdf5 does not say which" in said
    run(("world", "dmc.walker_walk"))
    shown = {name: arguments for name, *arguments in stages[3:]}
    assert set(shown) == {"report/rollouts", "report/watch"}
    assert all("--env=dmc.walker_walk" in arguments for arguments in shown.values())
    config, _ = cli.load_config(
        f"{CONFIG}:debug", [("data", str(tmp_path / "walk.hdf5")), ("world", "dmc.walker_walk")]
    )
    stages.clear()
    skills.main(cli.Run("skills", config, tmp_path / "run", env_from=("mine.worlds", "more")))
    assert all(("--env_from=mine.worlds,more" in arguments) == (name in shown) for name, *arguments in stages)
    with pytest.raises(cli.Refused, match="'dmc.walker_wak' is not known"):
        run(("world", "dmc.walker_wak"))


@pytest.mark.slow
def test_the_whole_job_leaves_its_numbers_and_a_second_call_does_nothing(tmp_path):
    command = [
        sys.executable, "-m", "experiments.skills", f"--config={CONFIG}:debug", f"--workdir={tmp_path}/run",
        f"--config.collected={tmp_path}/data",
    ]  # fmt: skip
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert told.returncode == 0, told.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert set(summary) == NUMBERS and set(summary["seconds"]) == {"collect", "train", "report"}
    assert summary["episodes"] == 8 and summary["train_steps"] == 100 and len(summary["skill_usage"]) == 5
    assert summary["elbo_last"] > summary["elbo_first"] and summary["fixed_skill_spread"] > 0
    assert "fixed_skill_spread" in told.stdout and f"report: {tmp_path}/run/report.html" in told.stdout
    page = (tmp_path / "run" / "report.html").read_text()
    assert "NPMP" in page and "skill 4" in page and "frames of the episodes" in page
    assert (tmp_path / "run" / "watch" / "episode.html").is_file()

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("checkpoints/*/manifest.json")}
    began = time.monotonic()
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300).returncode == 0
    assert time.monotonic() - began < 60
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["train_steps"] == 100
