"""The collecting command: what it leaves behind, how it goes on, what it refuses. Its worlds are stand-ins here."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from clocks import COUNTING, clocks
from counters import counters

from experiments import collect
from experiments.shared import cli
from skillhier.agents import registry as registry_of_agents
from skillhier.data import dataset
from skillhier.envs import registry
from skillhier.train import checkpoint

CONFIG = cli.CONFIGS / "collect.py"
ONE = "sawyer.stack_red_on_blue.set4"


@pytest.fixture
def stand_ins(monkeypatch):
    """Every world is a clock of 30 steps; the settings that worlds were asked for."""
    asked = []

    def make(name, *, worlds, stack, **settings):
        asked.append({"name": name, "worlds": worlds, "stack": stack, **settings})
        return clocks(worlds, limit=30)

    monkeypatch.setattr(registry, "make", make)
    monkeypatch.setattr(collect.scripted, "make", lambda name, world, env: COUNTING)
    return asked


def command(preset: str, folder: Path, **changes) -> cli.Run:
    config, module = cli.load_config(f"{CONFIG}:{preset}", [(k.replace("__", "."), str(v)) for k, v in changes.items()])
    return cli.Run("collect", config, folder, module.FREE)


def test_one_task(tmp_path, stand_ins, capsys):
    collect.main(command("red_on_blue", tmp_path, episodes=6, env__worlds=3, env__delay="0,2"))
    assert stand_ins[0]["name"] == ONE
    assert (stand_ins[0]["worlds"], stand_ins[0]["delay"], stand_ins[0]["stack"]) == (3, (0, 2), 1)
    found = dataset.load(tmp_path)
    assert found.length.tolist() == [30] * 6
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["episodes"], summary["success"], summary["new"], summary["dropped"]) == (6, 0.5, 6, 0)
    assert summary["tasks"] == {ONE: {"episodes": 6, "return": pytest.approx(4.35), "success": 0.5}}
    assert json.loads((tmp_path / "data/metadata.json").read_text())["world"] == ONE
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].startswith("6 episodes, success 50.0 %, 6 new in ")
    assert "100% 6/6" in said.err and "episodes/s" in said.err


def trained(path: Path, env) -> tuple:
    """(settings, agent, params) of a clone of the clock worlds, left in the folder of a run."""
    settings = {"name": "bc", "mid": ["clock.all"], "hidden": [8], "lookahead": 1}
    agent = registry_of_agents.make("bc", env.spec, mid=("clock.all",), hidden=(8,), lookahead=1)
    state = agent.learner.init(jax.random.key(3))
    saved = checkpoint.Checkpoints(path / "checkpoints")
    saved.save(7, {"learner": state._asdict()})
    saved.close()
    config = {f"agent.{name}": value for name, value in settings.items()} | {"data.path": "toy", "data.stack": 2}
    (path / "config.json").write_text(json.dumps({"entry": "helms_offline", "config": config, "starts": []}))
    return settings, agent, state.params


def test_the_agent_of_a_run_is_recorded(tmp_path, stand_ins):
    """Every recorded action is what the agent does at that observation, with the frames that it was trained on."""
    env = clocks(2, limit=30)
    _, agent, params = trained(tmp_path / "run", env)
    collect.main(command("debug", tmp_path / "data", tasks="dmc.cheetah_run", run=str(tmp_path / "run"), env__worlds=2))
    assert {asked["stack"] for asked in stand_ins} == {2}
    data = dataset.load(tmp_path / "data")
    assert len(data.length) == 4
    frame = data.obs["clock.all"][: data.length[0]]
    step = jax.eval_shape(env.reset, jax.random.key(0))[1]
    stacks = np.stack([frame, frame - 100], 1)  # what the clock shows as the older frame
    step = step._replace(obs={"clock.all": stacks, "task.success": np.zeros((len(frame), 1, 1))})
    _, action, _ = agent.exploit.act(params, (), step, jax.random.key(0))
    np.testing.assert_allclose(data.action[: data.length[0]], np.clip(action, -1, 1), atol=1e-5)
    about = json.loads((tmp_path / "data" / "data" / "metadata.json").read_text())
    assert about["algorithm_name"] == "bc"
    config = json.loads((tmp_path / "data" / "config.json").read_text())["config"]
    assert config["run"] == str(tmp_path / "run")


def test_an_agent_that_does_not_fit_is_refused_before_anything_is_written(tmp_path, stand_ins, monkeypatch):
    trained(tmp_path / "run", clocks(2, limit=30))
    monkeypatch.setattr(registry, "make", lambda name, **_: counters((5, 6)))
    with pytest.raises(cli.Refused, match="the agent of .* cannot act here: observation 'clock.all' is not known"):
        collect.main(command("debug", tmp_path / "data", run=str(tmp_path / "run")))
    assert not (tmp_path / "data").exists()


def test_a_world_is_asked_for_its_own_settings_only(tmp_path, stand_ins):
    collect.main(command("debug", tmp_path, tasks="dmc.cheetah_run", policy="random"))
    assert stand_ins[-1]["name"] == "dmc.cheetah_run" and not stand_ins[-1].keys() & {"timestep", "randomise"}
    assert len(dataset.load(tmp_path).length) == 4


def test_all_pairs_gives_every_pair_of_every_set_its_episodes(tmp_path, stand_ins):
    collect.main(command("all_pairs", tmp_path, episodes=2, env__worlds=6))
    assert [settings["name"] for settings in stand_ins] == [f"sawyer.stack_all.set{n}" for n in (1, 2, 3, 4, 5)]
    tasks = json.loads((tmp_path / "summary.json").read_text())["tasks"]
    assert len(tasks) == 30 and all(told["episodes"] == 2 for told in tasks.values())
    assert "sawyer.stack_green_on_red.set5" in tasks
    assert len(dataset.load(tmp_path).length) == 60


def test_the_defaults_are_hundreds_of_episodes_and_thirty_tasks_of_a_hundred():
    config, _ = cli.load_config(f"{CONFIG}:red_on_blue")
    assert config.tasks == (ONE,) and collect.wanted(ONE, config) == 400
    config, _ = cli.load_config(f"{CONFIG}:all_pairs")
    assert sum(collect.wanted(task, config) for task in config.tasks) == 30 * 100


def test_more_episodes_are_added_and_enough_are_left_alone(tmp_path, stand_ins, capsys):
    collect.main(command("red_on_blue", tmp_path, episodes=2, env__worlds=2))
    collect.main(command("red_on_blue", tmp_path, episodes=5, env__worlds=3))
    assert len(dataset.load(tmp_path).length) == 5
    capsys.readouterr()
    collect.main(command("red_on_blue", tmp_path, episodes=5, env__worlds=3))
    said = capsys.readouterr().out
    assert "5 episodes are there already" in said and "0 new" in said


def test_other_settings_on_the_same_folder_are_refused(tmp_path, stand_ins):
    collect.main(command("red_on_blue", tmp_path, episodes=2, env__worlds=2))
    with pytest.raises(ValueError, match="was begun with config.noise=0.0, now it is 0.5"):
        collect.main(command("red_on_blue", tmp_path, episodes=3, noise=0.5))


def test_a_signal_keeps_what_is_finished_and_the_command_goes_on(tmp_path, stand_ins, monkeypatch):
    run = command("red_on_blue", tmp_path, episodes=8, env__worlds=2, rows=31)
    told, before = collect.metrics.progress, signal.getsignal(signal.SIGTERM)

    def progress(*args, **kwargs):
        bar = told(*args, **kwargs)
        return bar._replace(write=lambda *a: (bar.write(*a), os.kill(os.getpid(), signal.SIGTERM)))

    with monkeypatch.context() as patch, pytest.raises(cli.RunStopped, match="stopped: 2 episodes") as stopped:
        patch.setattr(collect.metrics, "progress", progress)
        collect.main(run)
    assert stopped.value.code == 0
    assert len(dataset.load(tmp_path).length) == 2
    assert signal.getsignal(signal.SIGTERM) == before
    collect.main(run)
    assert len(dataset.load(tmp_path).length) == 8


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tasks": "sawyer.stack_red_on_blu.set4"}, "did you mean sawyer.stack_red_on_blue.set4"),
        ({"tasks": "sawyer.pyramid.set4"}, "the expert knows stacking, not sawyer.pyramid.set4"),
        ({"tasks": f"{ONE},{ONE}"}, "names a world twice"),
        ({"tasks": ""}, "config.tasks is empty"),
        ({"tasks": "sawyer.stack_all.set1"}, "config.env.worlds=50 is not a multiple of the 6 pairs .* set .*=54"),
        ({"policy": "exprt"}, "did you mean expert"),
        ({"episodes": "0"}, "config.episodes is 0; it must lie between 1"),
        ({"env__timestep": "-1"}, "config.env.timestep is -1.0"),
        ({"tasks": "dmc.cheetah_run", "policy": "random", "env__randomise": "true"}, "set config.env.randomise=False"),
    ],
)
def test_wrong_settings_are_refused_before_anything_starts(tmp_path, changes, line):
    with pytest.raises(cli.Refused, match=line):
        command("red_on_blue", tmp_path, **changes)


@pytest.mark.slow
def test_the_real_command(tmp_path):
    """Worlds, expert, recording and reading, end to end."""
    line = [sys.executable, "-m", "experiments.collect", f"--config={CONFIG}:debug", f"--workdir={tmp_path}/demo-v0"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=Path(__file__).parent.parent, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("4 episodes, success ")
    found = dataset.load(tmp_path / "demo-v0", {"sawyer.joints.angle": 7, "wrist.force": 3}, action=5)
    assert len(found.length) == 4
