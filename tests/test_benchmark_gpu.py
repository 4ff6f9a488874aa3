"""The suite `gpu`: its budget, its failures and its file, with stub items; one job of each kind on this machine."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jsonschema
import pytest

from experiments import benchmark
from experiments.benchmarks import accelerator, accelerator_jobs, agents
from experiments.benchmarks.accelerator import CPU, GPU, Item
from experiments.benchmarks.worker import Worker, WorkerLost, WorkerTimeout
from experiments.shared import cli

TESTS = Path(__file__).parent
ROOT = TESTS.parent
NUMBER = {"type": ["number", "null"], "minimum": 0}
RECORD = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "status": {"enum": ["ok", "failed", "skipped"]},
        "reason": {"type": ["string", "null"], "pattern": "^[^\n]+$"},
        "compile_seconds": NUMBER,
        "seconds_per_call": NUMBER,
        "calls": {"type": ["integer", "null"], "minimum": 1},
        "per_second": NUMBER,
        "unit": {"enum": ["control steps", "updates", "frames", None]},
        "device_memory": {"type": ["integer", "null"], "minimum": 1},
        "wall_seconds": {"type": "number", "minimum": 0},
        "log": {"type": "string"},
    },
    "required": ["name", "status", "reason", *accelerator.FIGURES, "wall_seconds"],
    "additionalProperties": False,
    "if": {"properties": {"status": {"const": "ok"}}},
    "then": {"properties": {"reason": {"type": "null"}, "calls": {"type": "integer"}, "unit": {"type": "string"}}},
    "else": {"properties": {"reason": {"type": "string"}, "calls": {"type": "null"}}},
}
RESULTS = {
    "type": "object",
    "properties": {
        "suite": {"const": "gpu"},
        "minutes": {"type": "number"},
        "anyway": {"type": "boolean"},
        "seconds": {"type": "number"},
        "provenance": {
            "type": "object",
            "required": ["time", "command", "versions", "git_commit", "device", "machine", "flags", "driver", "warp"],
        },
        "items": {"type": "array", "items": RECORD},
    },
    "required": ["suite", "minutes", "anyway", "seconds", "provenance", "items"],
    "additionalProperties": False,
}


@pytest.fixture(autouse=True)
def workers_run_stub_jobs_on_a_cpu(monkeypatch):
    """Wherever these tests run: this process may hold a GPU's memory."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


def stub(function: str, name: str = "", **settings) -> Item:
    fields = {field: settings.pop(field) for field in ("limit", "warp", "alone") if field in settings}
    return Item(name or function, f"benchmark_jobs:{function}", settings, **fields)


def run(*table: Item, minutes: float = 2.0) -> tuple[dict, list[dict]]:
    """The results of stub items, and all that was written on the way."""
    written: list[dict] = []
    results = accelerator.run(
        minutes, lambda now: written.append(json.loads(json.dumps(now))), anyway=True, table=table
    )
    jsonschema.validate(results, RESULTS)
    return results, written


def test_an_item_that_fails_hangs_or_aborts_is_recorded_and_the_next_one_runs():
    table = [
        stub("measures", "first", device_memory=1),
        stub("fails"),
        stub("aborts"),
        stub("hangs", limit=1.0),
        stub("nowhere"),
        stub("measures", "last"),
    ]
    results, written = run(*table)
    first, failed, aborted, hung, absent, last = results["items"]
    assert [record["status"] for record in results["items"]] == ["ok", *["failed"] * 4, "ok"]
    assert first["per_second"] == last["per_second"] == 40.0 and first["calls"] == 3
    assert failed["reason"] == "ValueError: a setting is off" and "half way" in failed["log"]
    assert aborted["reason"].startswith("the process ended with SIGABRT")
    assert (
        hung["reason"] == "the process did not answer within 1 s" and "in hangs" in hung["log"]
    )  # the log says where it stood
    assert absent["reason"].startswith("AttributeError")
    assert [len(now["items"]) for now in written] == [1, 2, 3, 4, 5, 6] and written[-1] == results
    shown = "\n".join(accelerator.lines(results))
    assert "2 ok, 4 failed, 0 skipped" in shown and "failed: ValueError: a setting is off" in shown
    assert "40.0 updates/s" in shown and "250.0 ms" in shown


def test_what_the_budget_does_not_reach_is_skipped():
    results, written = run(stub("measures"), stub("hangs"), minutes=0.0)
    assert [record["reason"] for record in results["items"]] == ["budget spent"] * 2
    assert [record["status"] for record in written[-1]["items"]] == ["skipped"] * 2


def test_the_budget_ends_an_item_that_runs(monkeypatch):
    """It gets what is left of the budget, not its own limit, and is no failure of its own."""
    began = time.monotonic()
    monkeypatch.setattr(accelerator, "time", SimpleNamespace(monotonic=time.monotonic))
    runner = accelerator.Runner(began + 600)
    try:
        runner.start(accelerator.START)
        runner.deadline = time.monotonic() + 1.0
        ended, skipped = runner.run(stub("hangs", limit=600.0)), runner.run(stub("measures"))
    finally:
        runner.stop()
    assert ended["status"] == "skipped" and ended["reason"].startswith("budget spent after ")
    assert 0.9 < ended["wall_seconds"] < 30 and skipped["reason"] == "budget spent"


def test_an_item_that_is_alone_shares_its_process_with_no_other():
    results: list[int] = []
    runner = accelerator.Runner(time.monotonic() + 300)
    try:
        runner.start(accelerator.START)
        for alone in (False, False, True, False):
            assert runner.run(stub("prints_and_measures", alone=alone))["status"] == "ok"
            results.append(runner.worker.process.pid if runner.worker else 0)
    finally:
        runner.stop()
    one, two, ended, after = results
    assert one == two and ended == 0 and after not in (0, one)


def test_warp_items_are_skipped_where_there_is_no_warp():
    runner = accelerator.Runner(time.monotonic() + 300)
    runner.machine = {"warp": False, "nvidia": True}
    assert "skillhier[warp]" in runner.run(stub("hangs", warp=True))["reason"]
    runner.machine = {"warp": True, "nvidia": False}
    assert runner.run(stub("hangs", warp=True))["reason"] == "needs an NVIDIA GPU"
    assert runner.worker is None


def test_a_worker_ends_with_whoever_asked():
    code = (
        "from experiments.benchmarks.worker import Worker; import os; w = Worker(); w.greeting(120);"
        "print(w.process.pid, flush=True);"
        'w.process.stdin.write(\'{"job": "benchmark_jobs:hangs", "settings": {}}\\n\');'
        "w.process.stdin.flush(); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=180)
    worker = int(done.stdout)
    for _ in range(200):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"process {worker} lives on")


def test_a_worker_that_cannot_answer_says_so():
    worker = Worker()
    try:
        with pytest.raises(WorkerTimeout, match="did not start within 0 s"):
            worker.greeting(0.0)
        with pytest.raises(WorkerLost, match="the process ended with SIG"):
            worker.run("benchmark_jobs:measures", {}, 5.0)
    finally:
        worker.close()


def test_without_a_gpu_it_is_refused_in_one_line_and_writes_nothing(tmp_path):
    command = [sys.executable, "-m", "experiments.benchmark", "--suite=gpu", f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "needs an NVIDIA GPU" in done.stderr and "--anyway" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--suite=gpu,physics"], "gpu runs alone"),
        (["--suite=gpu", "--quick"], "gpu runs alone, and not --quick"),
        (["--minutes=3"], "--minutes and --anyway are for --suite=gpu"),
        (["--suite=physics", "--anyway"], "--minutes and --anyway are for --suite=gpu"),
        (["--suite=gpu", "--minutes=-1"], "minutes"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, line):
    with pytest.raises(cli.Refused, match=line):
        cli.parse_command("benchmark", ["benchmark", *flags], needs_config=False)


def test_the_command_writes_its_file_and_prints_its_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(accelerator, "items", lambda size: [stub("measures"), stub("fails")] if size is CPU else [])
    flags = SimpleNamespace(suite=["gpu"], quick=False, minutes=1.0, anyway=True)
    monkeypatch.setattr(benchmark.flags, "FLAGS", flags)
    benchmark.main(cli.Run("benchmark", None, tmp_path))
    [file] = tmp_path.iterdir()
    results = json.loads(file.read_text())
    jsonschema.validate(results, RESULTS)
    assert [record["status"] for record in results["items"]] == ["ok", "failed"] and results["minutes"] == 1.0
    assert results["provenance"]["command"] == sys.argv
    assert "1 ok, 1 failed, 0 skipped" in capsys.readouterr().out


def test_the_process_that_asks_leaves_the_device_alone():
    """It would take most of a GPU's memory from its own worker."""
    code = "import experiments.benchmark; from jax._src import xla_bridge as x; assert not x.backends_are_initialized()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_agent_engine_and_renderer_is_measured():
    for size in (GPU, CPU):
        table = accelerator.items(size)
        names = [item.name for item in table]
        assert len(set(names)) == len(names) and {f"offline {name}" for name in agents.OFFLINE_NAMES} <= set(names)
        assert {f"online {name}" for name in agents.ONLINE_NAMES} <= set(names)
        jobs = {item.job.partition(":")[2] for item in table}
        assert all(callable(getattr(accelerator_jobs, job)) for job in jobs)
        engines = {item.settings["engine"] for item in table if item.job.endswith(":steps")}
        renderers = {item.settings["renderer"] for item in table if item.job.endswith(":frames")}
        assert engines == {"native", "mjx", "warp"} and renderers == {"rays", "warp"}
        assert all(item.alone for item in table if item.warp)
    large = {(item.settings["world"], item.settings["worlds"]) for item in accelerator.items(GPU) if "mjx" in item.name}
    assert large == {(world, count) for world in (accelerator.WALKER, accelerator.SAWYER) for count in (1024, 4096)}


@pytest.mark.parametrize(("first", "later", "calls"), [(2.0, 0.25, 6), (9.0, 4.0, 3), (0.1, 0.01, 20), (0.2, 0.25, 6)])
def test_a_job_is_called_until_its_time_is_known(monkeypatch, first, later, calls):
    """At least three times, then for 1.5 s or twenty times; compiling is what the first call took beyond the rest."""
    seconds, checked = iter([first, *[later] * calls]), []
    monkeypatch.setattr(accelerator_jobs.timing, "timed", lambda job: (job(), next(seconds)))
    figures = accelerator_jobs.measured(lambda: {"x": 1.0}, 5, "updates", checked.append)
    assert figures == {
        "compile_seconds": max(0.0, first - later),
        "seconds_per_call": later,
        "calls": calls,
        "per_second": 5 / later,
        "unit": "updates",
    }
    assert next(seconds, None) is None and checked == [{"x": 1.0}] * 2


def test_an_update_that_was_left_out_is_a_failure():
    learned = accelerator_jobs.learned
    learned({"learner/loss": 1.0, "episodes/return": float("nan"), "skipped": 0})
    with pytest.raises(FloatingPointError, match="loss"):
        learned({"learner/loss": jax.numpy.array([1.0, float("nan")]), "skipped": 0})
    with pytest.raises(FloatingPointError, match="2 updates"):
        learned({"learner/loss": 1.0, "skipped": jax.numpy.array([0, 2])})


@pytest.mark.slow
@pytest.mark.parametrize(
    "item", [item for item in accelerator.items(GPU) if not item.alone], ids=lambda item: item.name
)
def test_every_item_lowers_for_cuda(item, monkeypatch):
    """All that it makes and calls, in one program at its sizes for a GPU. What is alone needs the host, or a GPU."""
    pytest.importorskip("dm_control")
    monkeypatch.setattr(accelerator_jobs, "measured", lambda job, *_: job())
    job = getattr(accelerator_jobs, item.job.partition(":")[2])
    lowered = jax.jit(lambda: job(**item.settings)).trace().lower(lowering_platforms=("cuda",))
    assert "stablehlo" in lowered.as_text()[:10_000]


def short(monkeypatch):
    monkeypatch.setattr(accelerator_jobs, "SECONDS", 0.0)
    monkeypatch.setattr(accelerator_jobs, "FEWEST", 1)


def test_figures_of_an_engine_and_a_renderer(monkeypatch):
    pytest.importorskip("dm_control")
    short(monkeypatch)
    figures = accelerator_jobs.steps(accelerator.PENDULUM, "auto", 2, 3)
    assert figures["unit"] == "control steps"
    assert figures["per_second"] == pytest.approx(2 * 3 / figures["seconds_per_call"])
    figures = accelerator_jobs.frames(accelerator.PENDULUM, "auto", "rays", 2)
    assert figures["unit"] == "frames" and figures["per_second"] == pytest.approx(2 / figures["seconds_per_call"])


def test_figures_of_offline_agents(monkeypatch):
    short(monkeypatch)
    figures = accelerator_jobs.offline_epoch("bc", "debug", 2, seeds=2)
    assert figures["unit"] == "updates" and figures["per_second"] == pytest.approx(4 / figures["seconds_per_call"])


@pytest.mark.slow
def test_figures_of_online_agents(monkeypatch):
    pytest.importorskip("dm_control")
    short(monkeypatch)
    figures = accelerator_jobs.online_epoch("mpo", "debug", accelerator.PENDULUM, "auto", 2)
    assert figures["per_second"] == pytest.approx(2 / figures["seconds_per_call"])
    figures = accelerator_jobs.online_updates("helms_cat", "debug", 2, seeds=2)
    assert figures["per_second"] == pytest.approx(4 / figures["seconds_per_call"])


def test_a_broken_world_and_a_blank_picture_are_failures(monkeypatch):
    pytest.importorskip("dm_control")
    short(monkeypatch)
    blank = lambda *args: lambda data: {"rgb": jax.numpy.tile(jax.numpy.uint8([1, 2, 3]), (4, 4, 1))}  # noqa: E731
    monkeypatch.setattr(accelerator_jobs.rays, "renderer", blank)
    with pytest.raises(ValueError, match="one colour"):
        accelerator_jobs.frames(accelerator.PENDULUM, "auto", "rays", 2)
    monkeypatch.setattr("skillhier.envs.physics.record.VELOCITY_LIMIT", 0.0)
    with pytest.raises(ArithmeticError, match="broke"):
        accelerator_jobs.steps(accelerator.PENDULUM, "auto", 2, 3)
