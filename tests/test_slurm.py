"""A sweep on Slurm: its time limits, what is handed over once and only once, and jobs that are taken away."""

import os
import re
import signal
import sys
import time

import pytest
from cluster_schemas import hold_script

from launch import runs, slurm, sweep
from launch.grid import Refused

# Otherwise submitit, when it is imported, has logging close all handlers there are, and absl's closes pytest's stderr.
os.environ["SUBMITIT_LOG_LEVEL"] = "NOCONFIG"


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """A sweep of two runs, asked for in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "resolve", list)
    return ["--experiment=helms_offline", "--config=f.py:debug", "--sweep=config.seed=0,1", "--to=slurm"]


@pytest.mark.parametrize(
    ("text", "minutes"), [("90", 90), ("1:00:00", 60), ("24:00:00", 1440), ("2-12:30:00", 3630), ("00:00:30", 1)]
)
def test_time_limits(text, minutes):
    assert slurm.minutes(text) == minutes


@pytest.mark.parametrize("text", ["0", "soon", "1:30", "-5", "0:00:00"])
def test_what_is_no_time_limit(text):
    with pytest.raises(Refused, match="is no time limit"):
        slurm.minutes(text)


@pytest.mark.parametrize(("text", "refused"), [("1", True), ("2", True), ("0:02:00", True), ("3", False)])
def test_a_limit_that_the_warning_takes_up_is_refused(text, refused, capsys, asked):
    """Slurm warns 120 s before the end: of two minutes nothing is left to run in."""
    assert sweep.main([*asked, f"--time={text}", "--dry_run"]) == (2 if refused else 0)
    said = capsys.readouterr()
    if refused:
        assert said.err.startswith(f"--time={text} is not longer than the 120 s") and said.err.count("\n") == 1
        assert "give at least 3 minutes" in said.err
    else:
        assert "#SBATCH --time=3" in said.out and "#SBATCH --signal=USR2@120" in said.out


COUNTS = """
import os, signal, sys, time
from pathlib import Path
folder, heard = Path(sys.argv[1]), []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
record = folder / "steps"
done = int(record.read_text()) if record.exists() else 0
print("from", done, "in", os.getpid(), os.getppid(), flush=True)
while done < 40:
    time.sleep(0.05)
    done += 1
    if heard:
        break
record.write_text(str(done))
if done == 40:
    (folder / "summary.json").write_text("{}")
"""


def test_a_job_that_slurm_takes_away_saves_and_goes_on(tmp_path):
    """submitit's own requeue, with its executor for one machine. The signal goes to all its processes."""
    import submitit

    (tmp_path / "count.py").write_text(COUNTS)
    folder = tmp_path / "run"
    executor = submitit.LocalExecutor(tmp_path / "jobs")
    executor.update_parameters(timeout_min=5)
    job = executor.submit(slurm.Work([sys.executable, str(tmp_path / "count.py"), str(folder)], folder))
    end = time.monotonic() + 30
    while not (begun := re.search(r"from 0 in (\d+) (\d+)", said(folder))):
        assert time.monotonic() < end
        time.sleep(0.05)
    for process in begun.groups():
        os.kill(int(process), signal.SIGUSR2)
    job.wait()
    assert job.exception() is None and (folder / "summary.json").exists()
    told = re.findall(r"from (\d+)", said(folder))
    assert len(told) == 2 and told[0] == "0" and 0 < int(told[1]) < 40


def said(folder):
    return (folder / "log.txt").read_text() if (folder / "log.txt").exists() else ""


@pytest.fixture
def tools(tmp_path_factory, monkeypatch):
    """A folder on the PATH with stand-ins for Slurm's tools: sbatch keeps the script, squeue shows `queued`."""
    folder = tmp_path_factory.mktemp("tools")
    for name, body in {
        "sbatch": 'cp "$1" given.sh; echo Submitted batch job 17',
        "srun": ":",
        "squeue": "cat queued",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.mark.parametrize("missing", [("sbatch", "srun", "squeue"), ("sbatch",)], ids=", ".join)
def test_where_slurm_is_absent_a_submission_names_its_tools_and_a_dry_run_needs_none(
    tmp_path, tools, monkeypatch, capsys, asked, missing
):
    for name in missing:
        (tools / name).unlink()
    monkeypatch.setenv("PATH", str(tools))
    assert sweep.main([*asked, "--time=soon"]) == 2 and "is no time limit" in capsys.readouterr().err
    assert sweep.main(asked) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"--to=slurm needs {', '.join(missing)}, not on the PATH") and said.count("\n") == 1
    assert not any(tmp_path.iterdir())
    assert sweep.main([*asked, "--dry_run"]) == 0 and "#SBATCH --array=0-1" in capsys.readouterr().out


def test_where_squeue_does_not_answer_nothing_is_submitted_twice(tmp_path, tools, capsys, asked):
    (tmp_path / "queued").write_text("")
    assert sweep.main(asked) == 0 and "submitted 2 as job 17;" in capsys.readouterr().out
    (tmp_path / "given.sh").unlink()
    (tmp_path / "queued").unlink()
    assert sweep.main(asked) == 2 and "squeue does not tell which runs are queued" in capsys.readouterr().err
    assert not (tmp_path / "given.sh").exists()


def test_slurm_is_given_what_is_not_queued_yet(tmp_path, tools, capsys, asked):
    (tmp_path / "queued").write_text("")
    assert sweep.main(asked) == 0 and "submitted 2 as job 17;" in capsys.readouterr().out
    hold_script((tmp_path / "given.sh").read_text())
    (tmp_path / "queued").write_text("17_1\n3\n")
    assert sweep.main(asked) == 0 and "submitted 1 as job 17, 1 queued before" in capsys.readouterr().out
    (tmp_path / "queued").write_text("17_1\n17\n")
    assert sweep.main(asked) == 0 and "all 2 are queued or running" in capsys.readouterr().out


def test_where_submitit_is_absent_the_extra_is_named(monkeypatch, capsys, asked):
    monkeypatch.setitem(sys.modules, "submitit.slurm.slurm", None)
    assert sweep.main([*asked, "--dry_run"]) == 2
    assert "needs submitit; install the extra `launch`: pip install -e '.[launch]'" in capsys.readouterr().err
