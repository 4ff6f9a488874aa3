"""A clone that learns while the expert works: its settings, its run by the real command, and what a kill does to it."""

import json
import random
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from counters import NOISE, counters
from kills import ROOT, entry, kills, recorded, run, struck
from leftovers import leaves, record

from experiments import imitate
from experiments.shared import cli, online_run
from skillhier.data import online, replay
from skillhier.envs import registry
from skillhier.envs.sawyer import expert
from skillhier.train import checkpoint, loop, metrics

FILE = ROOT / "experiments" / "configs" / "imitate.py"
PRESETS = ("quickstart", "debug", "cpu")
PARTS = ("learner", "source", "key")


def command(folder: Path, *arguments: str, preset: str = "debug") -> list[str]:
    """The command line as a user types it."""
    return entry("imitate", f"--config={FILE}:{preset}", *arguments, f"--workdir={folder}")


def asked(folder: Path, *changes: str, preset: str = "debug") -> cli.Run:
    """The command line as `main` gets it."""
    pairs = [tuple(change.removeprefix("--config.").split("=")) for change in changes]
    config, module = cli.load_config(f"{FILE}:{preset}", pairs)
    return cli.Run("imitate", config, folder, module.FREE)


# --- the config ---


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("agent", ["bc", "hierarchical_bc"])
def test_every_preset_is_valid_and_every_number_has_its_limits(preset, agent):
    config, module = cli.load_config(f"{FILE}:{preset},agent={agent}")
    settings = cli.flat(config)
    numbers = {
        name
        for name, value in settings.items()
        if isinstance(value, int | float) or (isinstance(value, tuple) and isinstance(next(iter(value), None), int))
    } - {name for name, value in settings.items() if isinstance(value, bool)}
    assert numbers <= set(module.LIMITS) and set(module.FREE) <= set(settings)
    assert config.agent.name == agent and ("latent" in config.agent) == (agent == "hierarchical_bc")


@pytest.mark.parametrize(
    ("preset", "changes", "said"),
    [
        ("debug", ["env.name=sawyer.pyramid.set4"], "expert knows stacking, not sawyer.pyramid.set4"),
        ("debug", ["env.name=sawyer.stack_red_on_blu.set4"], "did you mean sawyer.stack_red_on_blue.set4"),
        ("debug", ["env.name=sawyer.stack_all.set1"], "config.env.worlds=4 is not a multiple of the 6 pairs"),
        ("debug", ["train.updates=85"], "config.train.updates=85 is no multiple of the epoch of 10"),
        ("debug", ["replay.prefill=16"], "config.replay.prefill=16 holds no window of 17 rows"),
        ("debug", ["replay.rows=16"], "config.replay.rows=16 holds no window of 17 rows"),
        ("debug", ["train.unroll_length=151"], "config.replay.rows=150 holds no window of 17 rows or no chunk of"),
        ("debug", ["agent.skills=3"], "setting config.agent.skills is not known"),
        ("debug,agent=helms", [], "agent 'helms' is not known; choose bc, hierarchical_bc"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_compiles(preset, changes, said):
    with pytest.raises(cli.Refused, match="^[^\n]*$") as caught:
        cli.load_config(f"{FILE}:{preset}", [tuple(change.split("=")) for change in changes])
    assert said in str(caught.value)


def test_a_replay_that_does_not_fit_is_refused_before_a_folder_is_made(tmp_path):
    with pytest.raises(cli.Refused, match="a replay of 150 rows in 4 worlds takes .* set replay.rows to at most"):
        imitate.main(asked(tmp_path / "run", "--config.replay.max_gib=0.0001"))
    assert not (tmp_path / "run").exists()


# --- its parts ---


def test_the_scales_are_those_of_the_rows_that_a_source_starts_with():
    env = counters((9, 9))
    source = online.online(
        env, NOISE, replay.make(50, env.spec), unroll_length=5, batch_size=2, sequence_length=3, prefill=5
    )
    found = imitate.statistics(source)
    mean, deviation = found["count"]  # rows 0 to 4, worlds 0 and 1; only the newest frame counts
    np.testing.assert_allclose(mean, [2.0, 0.5])
    np.testing.assert_allclose(deviation, [np.sqrt(2.0), 0.5])
    assert found["told"][1].tolist() == [0.01]  # it never moved


def test_a_summary_counts_the_steps_of_all_worlds():
    config, _ = cli.load_config(f"{FILE}:debug")
    line = {"episodes/success": 0.5, "eval/success": 0.25, "eval/return": 3.0, "time/epoch_seconds": 2.0}
    line["total/env_steps"] = 320
    rows = [line | {"step": step, "imitation/log_likelihood": -step} for step in (10, 20)]
    told = imitate.summarise(rows, config)
    assert told["env_steps"] == 320 and told["updates_per_second"] == 5.0
    assert (told["log_likelihood_first"], told["log_likelihood_last"]) == (-10, -20)
    assert (told["expert_success"], told["clone_success"]) == (0.5, 0.25)


# --- in worlds that cost nothing ---


@pytest.fixture
def stand_ins(monkeypatch):
    """Every world counts its rows, and the expert plays at random."""
    monkeypatch.setattr(
        registry, "make", lambda name, *, worlds, **_: counters(tuple(5 + w % 3 for w in range(worlds)))
    )
    monkeypatch.setattr(expert, "make", lambda number: NOISE)


SEEN = ("--config.agent.low=count", "--config.agent.mid=count")


def stopped(folder: Path, at: int, patch: pytest.MonkeyPatch, *changes: str) -> None:
    """The run in this process, with a signal to itself once update `at` is written down."""
    told = metrics.logged

    def dying(writers):
        log = told(writers)

        def callback(report):
            log(report)
            if report.done == at:
                signal.raise_signal(signal.SIGTERM)

        return callback

    with patch.context() as patched, pytest.raises(cli.RunStopped) as caught:
        patched.setattr(metrics, "logged", dying)
        imitate.main(asked(folder, *changes))
    assert caught.value.code == 0 and f"the same command continues {folder}" in str(caught.value)


@pytest.mark.parametrize("agent", [pytest.param("bc", marks=pytest.mark.slow), "hierarchical_bc"])  # bc is killed below
def test_stopped_and_continued_it_is_the_run_that_was_never_stopped(tmp_path, monkeypatch, stand_ins, agent):
    preset = f"debug,agent={agent}"
    imitate.main(asked(tmp_path / "whole", *SEEN, preset=preset))
    with monkeypatch.context() as patch:
        patch.setattr(f"{__name__}.asked", lambda *given, asked=asked: asked(*given, preset=preset))
        stopped(tmp_path / "run", 30, monkeypatch, *SEEN)
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [20, 40]  # the epoch after the signal was finished
    imitate.main(asked(tmp_path / "run", *SEEN, preset=preset))
    assert record(tmp_path / "run") == record(tmp_path / "whole")
    assert leaves(tmp_path / "run", 80, PARTS) == leaves(tmp_path / "whole", 80, PARTS)


def test_without_its_replay_it_goes_on_and_says_that_it_is_another_run(tmp_path, monkeypatch, stand_ins, capsys):
    imitate.main(asked(tmp_path / "whole", *SEEN))
    without = (*SEEN, "--config.replay.in_checkpoint=false")
    stopped(tmp_path / "run", 30, monkeypatch, *without)
    assert "holds no replay" not in capsys.readouterr().err
    names = checkpoint.verify(tmp_path / "run" / "checkpoints" / "40").leaves
    assert not any(name.startswith("source/replay") for name in names)
    imitate.main(asked(tmp_path / "run", *without))
    assert "its checkpoint holds no replay" in capsys.readouterr().err
    then, now = record(tmp_path / "whole"), record(tmp_path / "run")
    assert [row["step"] for row in now] == list(range(10, 81, 10))
    assert now[:4] == then[:4] and now[4]["learner/loss"] != then[4]["learner/loss"]
    same = ("total/env_steps", "total/episodes", "episodes/return")  # the worlds know of nothing
    assert [[row[name] for name in same] for row in now] == [[row[name] for name in same] for row in then]


def test_seeds_in_one_program_are_the_runs_of_their_own(tmp_path, stand_ins):
    imitate.main(asked(tmp_path / "both", *SEEN, "--config.seeds=2", "--config.train.updates=40"))
    imitate.main(asked(tmp_path / "one", *SEEN, "--config.seed=1", "--config.train.updates=40"))
    for row, alone in zip(record(tmp_path / "both" / "seed_1"), record(tmp_path / "one"), strict=True):
        assert row == pytest.approx(alone, rel=1e-4, nan_ok=True)
    assert record(tmp_path / "both" / "seed_0") != record(tmp_path / "both" / "seed_1")


# --- by the real command, with the expert in its own worlds ---


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An unbroken run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    told = run(command(folder))
    assert told.returncode == 0, told.stderr
    assert "80/80" in told.stderr and f"report: {folder / 'report.html'}" in told.stdout
    return folder


def test_a_run_leaves_all_that_was_promised(whole):
    assert {"config.json", "metrics.jsonl", "tensorboard", "checkpoints", "summary.json", "report.html"} <= {
        path.name for path in whole.iterdir()
    }
    rows = record(whole)
    assert [row["step"] for row in rows] == list(range(10, 81, 10))
    # 4 worlds, 40 rows at first and 4 more for every 2 updates
    assert [row["total/env_steps"] for row in rows] == [4 * (40 + row["step"] // 2 * 4) for row in rows]
    assert [row["step"] for row in rows if "eval/success" in row] == [40, 80]
    assert rows[-1]["episodes/length"] == rows[-1]["eval/length"] == 30
    assert rows[-1]["imitation/log_likelihood"] > rows[0]["imitation/log_likelihood"] + 50
    assert json.loads((whole / "summary.json").read_text())["env_steps"] == 4 * (40 + 80 // 2 * 4)


def test_the_whole_of_it_is_in_the_checkpoint(whole):
    names = set(checkpoint.verify(whole / "checkpoints" / "80").leaves)
    for part in (
        "learner/params/actor", "learner/params/encoder", "learner/opt", "source/actor/env/data/state/params",
        "source/actor/env/pending", "source/actor/carry/blame", "source/replay/rows/step/obs", "source/stats", "key",
    ):  # fmt: skip
        assert any(name.startswith(part) for name in names), part


@pytest.mark.slow  # tests/test_session.py and tests/test_helms_offline.py kill runs in the fast suite
def test_killed_the_run_goes_on_bit_for_bit(whole, tmp_path):
    folder = tmp_path / "run"
    struck(command(folder), signal.SIGKILL, recorded(folder, 3))
    told = run(command(folder))
    assert told.returncode == 0, told.stderr
    assert record(folder) == record(whole)
    assert leaves(folder, 80, PARTS) == leaves(whole, 80, PARTS)


@pytest.mark.slow
@pytest.mark.parametrize("world", ["sawyer.stack_red_on_blue.set4", "sawyer.stack_green_on_red.set1"])
@pytest.mark.parametrize("agent", ["bc", "hierarchical_bc"])
def test_killed_at_any_moment_the_run_goes_on_bit_for_bit(tmp_path, agent, world):
    preset, changes = f"debug,agent={agent}", (f"--config.env.name={world}", "--config.train.save_every=10")
    assert run(command(tmp_path / "whole", *changes, preset=preset)).returncode == 0
    folder = tmp_path / "run"
    kills(command(folder, *changes, preset=preset), folder, signal.SIGKILL, random.Random(agent + world), 5)
    told = run(command(folder, *changes, preset=preset))
    assert told.returncode == 0, told.stderr
    assert record(folder) == record(tmp_path / "whole")
    assert leaves(folder, 80, PARTS) == leaves(tmp_path / "whole", 80, PARTS)


@pytest.mark.slow
def test_an_epoch_of_it_exports_for_accelerators_when_its_worlds_are_mjx():
    config, _ = cli.load_config(f"{FILE}:debug", [("env.engine", "mjx")])
    env = online_run.make_worlds(config.env, 2)
    source = online_run.make_source(config, env, expert.make(4), lookahead=config.agent.lookahead, crossing=False)
    clone = online_run.make_agent(config, env.spec)
    key = jax.random.key(0)
    state = loop.RunState(jax.eval_shape(clone.learner.init, key), jax.eval_shape(source.init, key), key)
    exported = jax.export.export(loop.epoch(clone.learner, source, 2), platforms=("cuda", "tpu"))(state)
    assert exported.platforms == ("cuda", "tpu")
    assert "callback" not in (program := exported.mlir_module()) and "skillhier_" not in program


@pytest.mark.slow
def test_the_clone_learns_to_do_as_the_expert_does(tmp_path):
    told = run(command(tmp_path / "run", "--config.train.updates=800", "--config.train.eval_every=800"))
    assert told.returncode == 0, told.stderr
    rows = record(tmp_path / "run")
    assert rows[-1]["imitation/action_mse"] < 0.25 * rows[0]["imitation/action_mse"]
