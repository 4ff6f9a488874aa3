"""Sweeps: what a grid holds, what its runs are called, what is refused, and runs on this machine that survive."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import grid, local, runs, sweep
from launch.grid import Axis, Refused

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one entry point, toy, that counts."""
    shutil.copytree(ROOT / "launch", tmp_path / "launch", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").touch()
    shutil.copy(ROOT / "tests" / "toy_entry.py", tmp_path / "experiments" / "toy.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    return tmp_path


def run(*arguments):
    return sweep.main(["--experiment=toy", "--folder=s", *arguments])


def steps(project, name):
    return [json.loads(line)["step"] for line in (project / "s" / name / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("config.seed=0..4", ("0", "1", "2", "3", "4")),
        ("config.seed=-1..1,7", ("-1", "0", "1", "7")),
        ("config.seed=3..3", ("3",)),
        ("config.x=0, 0.01,1e-3", ("0", "0.01", "1e-3")),
        ("config.hidden=(256,256),(64,),[8, 8]", ("(256,256)", "(64,)", "[8, 8]")),
        ("config.x=a=b,../c..d", ("a=b", "../c..d")),
    ],
)
def test_values_of_an_axis(text, values):
    assert grid.axis(text) == Axis(text.partition("=")[0], values)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["config.seed"], "lacks a name or values"),
        (["config.seed="], "lacks a name or values"),
        (["=3"], "lacks a name or values"),
        (["config.seed=1,,2"], "has an empty value"),
        (["config.seed=1,1"], "lists 1 twice"),
        (["config.seed=0..3,2"], "lists 2 twice"),
        (["config.seed=4..0"], "4..0 counts down; write 0..4"),
        (["config.seed=0..99999"], "100000 values, more than 10000"),
        (["config.h=(1,2"], "leaves a bracket open"),
        (["config.h=(1,2]"], "closes a bracket that is not open"),
        (["config.seed=1", "config.seed=2"], "config.seed is swept twice"),
        (["workdir=a,b"], "--workdir cannot be swept"),
    ],
)
def test_an_axis_that_is_none_is_refused_in_one_line(texts, said):
    with pytest.raises(Refused) as caught:
        grid.axes(texts)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_grid_is_every_combination_and_the_last_axis_is_fastest():
    axes = grid.axes(["config.agent.beta_z=0,0.01", "config.seed=0..2"])
    assert grid.grid(axes) == [("0", "0"), ("0", "1"), ("0", "2"), ("0.01", "0"), ("0.01", "1"), ("0.01", "2")]
    assert grid.names(axes)[:4] == ["beta_z=0,seed=0", "beta_z=0,seed=1", "beta_z=0,seed=2", "beta_z=0.01,seed=0"]
    with pytest.raises(Refused, match="10100 runs, more than 10000"):
        grid.grid(grid.axes(["config.a=0..100", "config.b=0..99"]))


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["config.hidden=(256,256),(64,)"], ["hidden=256x256", "hidden=64"]),
        (["config.stay=-3..-2"], ["stay=-3", "stay=-2"]),
        (["config.data.path=a/b c,../d"], ["path=a-b-c", "path=..-d"]),
        (["config:agent=helms,npmp"], ["agent=helms", "agent=npmp"]),
        (["config.seed=1", "config.data.seed=2"], ["config.seed=1,data.seed=2"]),
        (["config.agent=1", "config:agent=2"], ["config.agent=1,config-agent=2"]),
    ],
)
def test_names_are_short_and_files_can_bear_them(texts, names):
    assert grid.names(grid.axes(texts)) == names


def test_long_names_are_cut_and_stay_their_own():
    one, other = grid.names(grid.axes([f"config.path={'a' * 60}1,{'a' * 60}2"]))
    assert one != other and len(one) == len(other) == len("path=") + 40
    many = [f"config.setting_{i}={'b' * 30}1,{'b' * 30}2" for i in range(6)]
    names = grid.names(grid.axes(many))
    assert len(set(names)) == 64 and max(map(len, names)) <= 150


def test_names_that_clash_are_refused():
    for values in ("a/b,a b", "Big,big", "(1,2),1x2"):
        with pytest.raises(Refused, match="would both be named"):
            grid.names(grid.axes([f"config.x={values}"]))


def test_commands(project):
    axes = grid.axes(["config:agent=npmp", "config.seed=3", "note=hi"])
    (one,) = runs.expand("toy", "f.py:debug", ["--config.rate=1"], axes, Path("s"))
    assert one.name == "agent=npmp,seed=3,note=hi"
    assert one.shell_line() == (
        "python -m experiments.toy --config=f.py:debug,agent=npmp --config.rate=1 --config.seed=3 --note=hi "
        "--workdir=s/agent=npmp,seed=3,note=hi"
    )


def test_some_runs_are_given_what_others_are_not(project):
    axes = grid.axes(["config:agent=a,b,c", "config.seed=0,1"])
    conditions = grid.conditions(["agent=a,b --init_from='x y:all'", "config.seed=1 --note=hi --loud"], axes)
    found = {one.name: one.arguments for one in runs.expand("toy", "f.py:debug", (), axes, Path("s"), conditions)}
    assert [name for name, given in found.items() if "--init_from=x y:all" in given] == [
        "agent=a,seed=0", "agent=a,seed=1", "agent=b,seed=0", "agent=b,seed=1"
    ]  # fmt: skip
    assert found["agent=c,seed=1"] == ("--config=f.py:debug,agent=c", "--config.seed=1", "--note=hi", "--loud")
    assert found["agent=c,seed=0"] == ("--config=f.py:debug,agent=c", "--config.seed=0")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--when=agent=a --note=x"], "agent is not swept; choose one of config.seed, config.rate"),
        (["--when=seed=3 --note=x"], "config.seed is never 3; it is 1, 2"),
        (["--when=seed=1"], "has no flags; write --when='agent=a,b --init_from=RUN:all'"),
        (["--when=seed=1 note"], "has no flags"),
        (["--when=seed --note=x"], "lacks a name or values"),
        (["--when=seed=1 --note='x"], "No closing quotation"),
        (["--when=seed=1 --note=x", "--when=rate=4 --note=y"], "seed=1,rate=4: --when gives --note, which it has"),
        (["--when=seed=1 --note=x", "--note=y"], "seed=1,rate=4: --when gives --note, which it has already"),
        (["--when=seed=1 --config.rate=3"], "--config.rate is both set and swept"),
        (["--when=seed=1 --workdir=x"], "--workdir is chosen for every run"),
        (["--when=seed=1 --config.sed=3"], "seed=1,rate=4: flag --config.sed is not known"),
    ],
)
def test_what_only_some_runs_take_is_held_to_the_grid(project, capsys, arguments, said):
    assert run("--sweep=config.seed=1,2", "--sweep=config.rate=4", *arguments) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and told.out == "" and not (project / "s").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sweep=config.seed=1", "--to=slrm"], "--to=slrm is not known; did you mean slurm?"),
        (["--sweep=config.seed=1", "--partition=x"], "--partition does not apply to --to=local; it is for slurm"),
        (["--sweep=config.seed=1", "--parallel=0"], "--parallel must be at least 1, got 0"),
        (["--sweep=config.seed=1", "--parallel=x"], "invalid int value: 'x'"),
        (["--sweep=config.seed=1", "--paralell=2"], "flag --paralell is not known; did you mean --parallel?"),
        (["--sweep=config.seed=1", "--config.sed=2"], "seed=1: flag --config.sed is not known"),
        (["--sweep=config.seed=1", "--config.seed=2"], "--config.seed is both set and swept"),
        (["--sweep=config.seed=1", "--workdir=x"], "--workdir is chosen for every run; give --folder"),
        (["--sweep=config.sed=1,2"], "sed=1: flag --config.sed is not known"),
        (["--sweep=config.seed=1", "--sweep=config.rate=1,x"], "seed=1,rate=x: could not convert"),
        (["--sweep=config.rate=1,1.0"], "rate=1 and rate=1.0 are the same run"),
        (["--sweep=config:agent=a"], "agent=a is an option of a preset; give --config=FILE:PRESET"),
        (["--sweep=config.seed=1", "--experiment=toi"], "experiment 'toi' is not known; did you mean toy? choose toy"),
        ([], "nothing is swept"),
    ],
)
def test_wrong_use_is_one_line_and_leaves_nothing(project, capsys, arguments, said):
    assert run(*arguments) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and told.out == "" and not (project / "s").exists()


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as left:
        sweep.main(["--help"])
    told = capsys.readouterr().out
    assert left.value.code == 0 and all(f"--{flag} " in told for flag in sweep.FLAGS)


def test_runs_that_begin_with_others_are_done_once(project, capsys):
    asked = ["--sweep=config.seed=0,1", "--when=seed=1 --init_from=a:all"]
    assert run(*asked) == 0 and "2 of 2 runs done" in capsys.readouterr().err
    assert run(*asked) == 0 and "2 done, 0 begun, 0 new" in capsys.readouterr().out
    other = ["--sweep=config.seed=0,1", "--when=seed=1 --init_from=b:all", "--dry_run"]
    assert run(*other) == 0 and "1 done, 1 begun, 0 new" in capsys.readouterr().out


def test_runs_are_done_once_and_a_larger_budget_goes_on(project, capsys):
    asked = ["--sweep=config.seed=0..2", "--parallel=2"]
    assert run(*asked) == 0 and "3 of 3 runs done" in capsys.readouterr().err
    written = {path: path.stat().st_mtime_ns for path in (project / "s").rglob("*")}
    assert run(*asked) == 0 and "3 done, 0 begun, 0 new" in capsys.readouterr().out
    assert written == {path: path.stat().st_mtime_ns for path in (project / "s").rglob("*")}
    (project / "s" / "seed=1" / "summary.json").unlink()  # as a run that was started again and killed leaves it
    assert run(*asked, "--dry_run") == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["python -m experiments.toy --config.seed=1 --workdir=s/seed=1"]
    assert run(*asked, "--config.train.updates=7") == 0
    assert steps(project, "seed=0") == [1, 2, 3, 4, 5, 6, 7]
    capsys.readouterr()
    assert run(*asked, "--config.train.updates=7", "--note=other", "--dry_run") == 0
    assert "0 done, 3 begun" in capsys.readouterr().out, "another flag is another run, as another setting is"


def test_one_that_fails_stops_no_other_and_is_tried_again(project, capsys):
    asked = ["--sweep=config.fails_at=-1,2", "--sweep=config.seed=0,1"]
    assert run(*asked) == 1
    told = capsys.readouterr().err
    assert "fails_at=2,seed=0: failed with code 1: bad numbers at update 2" in told
    assert "2 of 4 runs done, 2 failed (fails_at=2,seed=0, fails_at=2,seed=1)" in told
    log = (project / "s" / "fails_at=2,seed=0" / "log.txt").read_text()
    assert log.startswith("$ python -m experiments.toy --config.fails_at=2 --config.seed=0 --workdir=s/")
    assert run(*asked) == 1 and "2 done, 2 begun, 0 new" in capsys.readouterr().out


def test_no_more_than_parallel_run_at_once(project, monkeypatch):
    most, begin = [], local.Local._start
    monkeypatch.setattr(local.Local, "_start", lambda self, run: (begin(self, run), most.append(len(self.children))))
    assert run("--sweep=config.seed=0..4", "--config.pause=0.02", "--parallel=3") == 0
    assert max(most) == 3 and len(most) == 5


def test_each_run_has_cards_of_its_own(project, monkeypatch):
    seen, popen = [], subprocess.Popen

    def watched(command, **how):
        seen.append(how.get("env", {}).get("CUDA_VISIBLE_DEVICES"))
        return popen(command, **how)

    monkeypatch.setattr(local.subprocess, "Popen", watched)
    assert run("--sweep=config.seed=0..2", "--parallel=2", "--gpus=2", "--config.pause=0.1") == 0
    assert seen[-3:-1] == ["0,1", "2,3"] and seen[-1] in ("0,1", "2,3")


def test_the_progress_line(project):
    one, other, third = (runs.Run(f"x={i}", project / f"x={i}", "toy", (), {"train.updates": 50}) for i in range(3))
    one.folder.mkdir()
    (one.folder / "metrics.jsonl").write_text('{"step": 10}\n{"step": 20}\n{"st')
    work = local.Local([third], 2, 0, 1, sys.stderr)
    work.children, work.failed = [local.Child(one, None, 0), local.Child(other, None, 1)], [third]
    assert work.line() == "1/2 done, 2 running, 1 failed, 1 left  x=0 20/50  x=1 0/50"


def spawn(project, *arguments):
    command = [sys.executable, "-m", "launch.sweep", "--experiment=toy", "--folder=s", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_stopped_sweep_goes_on_where_it_was(project, number, code):
    asked = ["--sweep=config.seed=0..2", "--config.train.updates=60", "--config.pause=0.02", "--parallel=2"]
    child = spawn(project, *asked)
    try:
        while not all((project / "s" / f"seed={i}" / "metrics.jsonl").exists() for i in range(2)):
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(number)
        told = child.communicate(timeout=20)[1]
    finally:
        child.kill()
    assert child.returncode == code
    assert "0 of 3 runs done, 2 stopped, 1 not started; the same command goes on" in told
    before = steps(project, "seed=0")
    assert 0 < len(before) < 60 and not (project / "s" / "seed=2").exists()
    assert re.search(r"stopped at update \d+", (project / "s" / "seed=0" / "log.txt").read_text())
    assert run(*asked) == 0
    assert all(steps(project, f"seed={i}") == list(range(1, 61)) for i in range(3))


def test_a_run_that_does_not_go_when_told_is_killed_after_a_while(project, monkeypatch, capsys):
    monkeypatch.setattr(local, "GRACE", 0.3)
    deaf = (project / "experiments" / "toy.py").read_text().replace("if heard:", "if False:")
    (project / "experiments" / "toy.py").write_text(deaf)
    begin = local.Local._start

    def tell(self, run):
        begin(self, run)
        while not (run.folder / "metrics.jsonl").exists():
            time.sleep(0.01)
        self._forward(signal.SIGTERM, None)

    monkeypatch.setattr(local.Local, "_start", tell)
    began = time.monotonic()
    assert run("--sweep=config.seed=0,1", "--config.train.updates=600", "--config.pause=0.1") == 0
    assert time.monotonic() - began < 20 and "1 stopped, 1 not started" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_sweep_of_debug_runs(tmp_path):
    asked = [
        "--experiment=helms_offline", f"--config={ROOT}/experiments/configs/helms_offline.py:debug",
        "--sweep=config:agent=helms,bc", f"--folder={tmp_path}", "--config.train.updates=20",
        "--config.train.eval_every=20",
        "--config.train.save_every=20",
    ]  # fmt: skip
    assert sweep.main(asked) == 0
    found = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("*/summary.json")}
    assert set(found) == {"agent=helms", "agent=bc"} and all(one["train_steps"] == 20 for one in found.values())
    before = (tmp_path / "agent=bc" / "config.json").read_text()
    assert sweep.main(asked) == 0 and (tmp_path / "agent=bc" / "config.json").read_text() == before
