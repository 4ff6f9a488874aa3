"""Mistakes in a sweep, and names of one's own, in every file that is written for a shell, a scheduler or a page."""

import io
import json
import logging
import os
import random
import shlex
import subprocess
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
from kills import wait_until_heard
from test_mistakes import HOSTILE, ROOT, address, ended

from experiments.shared import cli, run_report
from launch import kubernetes, runs, skypilot, sweep
from skillhier.train import run_folder

BASE = ["--experiment=helms_offline", "--config=experiments/configs/helms_offline.py:debug", "--sweep=config.seed=0..1"]
PLACES = {
    "local": [],
    "slurm": ["--to=slurm"],
    "skypilot": ["--to=skypilot", "--bucket=gs://mine"],
    "kubernetes": ["--to=kubernetes", "--claim=mine", "--source=/project"],
}
VALUES = (
    *HOSTILE,
    "config.seed=abc",
    "config.seed=1..0",
    "seed=0 --x=1",
    "seed=0 --x='1",
    "config.seed=(1",
    "config:a",
)
NAMES = ("a b", "a'b", 'a"b', "$(touch hacked)", "`touch hacked`", "; touch hacked", "<b>&", "ü")


def mistake(chance: random.Random) -> list[str]:
    """A command line of a sweep with one value that nobody wants; the last of two flags of a name counts."""
    flag = chance.choice([*sweep.FLAGS, "folder", "experiment", "config", "sweep", "when", "to", "config.seed"])
    places = sweep.FLAGS[flag][0] if flag in sweep.FLAGS else tuple(PLACES)
    return [*BASE, *PLACES[chance.choice(places)], f"--{flag}={chance.choice(VALUES)}", "--dry_run"]


def outcome(command: list[str]) -> str:
    """What is wrong with how a sweep's dry run ends; empty if nothing is."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = sweep.main(command)
    except BaseException:
        return traceback.format_exc()
    lines = err.getvalue().splitlines()
    fine = (code == 0 and not lines) or (code == 2 and len(lines) == 1)
    return "" if fine else f"code {code}: {err.getvalue()!r}"


@pytest.fixture
def unresolved(monkeypatch):
    """Runs are not asked of their entry point, a process of its own. Importing submitit closes the streams of absl's
    log, which a sweep does not import.
    """
    monkeypatch.setattr(runs, "resolve", lambda expanded: expanded)
    monkeypatch.setattr(logging, "shutdown", lambda *_: None)


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_mistake_in_a_sweep_is_one_line(unresolved, count):
    chance = random.Random(count)
    commands = [mistake(chance) for _ in range(count)]
    wrong = [f"{command}: {said.splitlines()[-1]}" for command in commands if (said := outcome(command))]
    assert not wrong


def line(*arguments: str) -> str:
    """The one line with which a sweep is refused."""
    err = io.StringIO()
    with redirect_stderr(err):
        assert sweep.main([*BASE, *arguments, "--dry_run"]) == 2
    assert err.getvalue().count("\n") == 1
    return err.getvalue()


def test_the_folder_of_a_sweep_is_looked_at_by_the_dry_run(tmp_path, unresolved, monkeypatch):
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'} is a file; give a folder" in line(f"--folder={tmp_path / 'file'}")
    assert "is a file; give a folder" in line(f"--folder={tmp_path / 'file' / 'deeper'}")
    assert "File name too long" in line(f"--folder={'x' * 256}")
    assert "holds the character" in line("--folder=a\nb")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert f"no permission to write in {tmp_path}" in line(f"--folder={tmp_path / 'mine'}")


def test_a_sweep_finds_that_a_run_has_done_more_than_its_budget(tmp_path):
    settings = cli.flat(cli.load_config(address("helms_offline", "debug"), [("seed", "1")])[0])
    run_folder.open_run(tmp_path / "seed=1", "helms_offline", settings, ("train.updates",))
    (tmp_path / "seed=1" / "checkpoints" / "100").mkdir(parents=True)
    (tmp_path / "seed=1" / "checkpoints" / "100" / "manifest.json").write_text("{}")
    said = line(f"--folder={tmp_path}", "--config.train.updates=50")
    assert said.startswith("seed=1: config.train.updates=50 is less than the 100 updates that")


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the test reads which signals a process hears")
def test_a_sweep_that_is_stopped_while_it_checks_its_runs_says_so(tmp_path):
    command = [sys.executable, "-m", "launch.sweep", *BASE, f"--folder={tmp_path / 'sweep'}"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until_heard(child)
    child.terminate()
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (0, "", "stopped; nothing was started\n")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_ones_own_is_one_word_of_a_job(tmp_path, name):
    """What a job's shell runs, with a Python that writes down its arguments."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done > said\n')
    python.chmod(0o755)
    run = runs.Run("seed=0", Path(name) / "seed=0", "lsp", (f"--track_project={name}",), {})
    options = dict(
        folder=Path(name), hosts=1, gpus=0, tpus=0, cpus=None, memory=None, accelerator=None, topology=None,
        image="python:3.12", claim="mine", source="/project", bucket="gs://mine", spot=False, to="kubernetes",
    )  # fmt: skip
    job = kubernetes.jobset(run, SimpleNamespace(**options))["spec"]["replicatedJobs"][0]["template"]["spec"]
    lines = job["template"]["spec"]["containers"][0]["command"][2]
    for script in (lines[lines.index("[ -e datasets ]") :], skypilot.task(run, SimpleNamespace(**options))["run"]):
        subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, timeout=60)
        words = (tmp_path / "said").read_text().splitlines()
        assert words == ["-m", "experiments.lsp", f"--track_project={name}", f"--workdir=/mnt/store/{name}/seed=0"]
    hint = kubernetes.start([], SimpleNamespace(**{**options, "folder": tmp_path / name}))
    assert shlex.split(hint)[-1] == str(tmp_path / name / "jobs" / "kubernetes")
    assert not list(tmp_path.rglob("hacked"))


def test_names_of_ones_own_are_text_on_every_page(tmp_path):
    """Folders, groups and settings whose names are HTML, hold quotes, or bytes that are no UTF-8."""
    evil = "<img src=x onerror=alert(1)>'\"&\udcff"
    for seed in range(2):
        folder = tmp_path / evil / f"{evil}{seed}"
        run_folder.open_run(folder, "lsp", {"agent.name": evil, "seed": seed, "train.updates": 10, "data.path": evil})
        rows = [{"step": n, "eval/return": float(n + seed), evil: 1.0, "time/epoch_seconds": 1.0} for n in (5, 10)]
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        (folder / "summary.json").write_text(json.dumps({"train_steps": 10, evil: evil}))
        page = run_report.write(folder).read_text()
        assert "onerror" in page and "<img src=x" not in page
    (tmp_path / "plain").symlink_to(tmp_path / evil)  # arguments are text; the names that they match need not be
    out = tmp_path / "out"
    code, err = ended("compare", f"--runs={tmp_path / 'plain'}/*", "--group=config.agent.name", f"--out={out}",
                      "--metric=eval/return")  # fmt: skip
    assert code == 0, err
    page = (out / "compare.html").read_text()
    assert "onerror" in page and "<img src=x" not in page
