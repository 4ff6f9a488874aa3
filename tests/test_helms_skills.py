"""The entry point of fixed-skill rollouts: a run folder in, figures and pages out, one line when asked wrongly."""

import json
from pathlib import Path

import jax
import pytest
from commands import call
from ml_collections import ConfigDict
from point_world import LIMIT, point_world
from specs import spec_of

from experiments import helms_skills
from experiments.shared import data_settings, saved
from experiments.stacking import skill_rollouts
from skillhier.agents import registry as agents
from skillhier.envs import registry
from skillhier.train import checkpoint

SEEN = ("sawyer.pinch.pose", "gripper.joints.angle")
NETS = {"hidden": (8,), "lookahead": 1}


def run_folder(path: Path, obs: dict, action, agent: dict, data: str) -> Path:
    """What helms_offline leaves of a system that has not learned a thing."""
    settings = {"low": SEEN, "mid": SEEN, **NETS, **agent}
    system = agents.make(**settings, spec=spec_of(obs, action))
    saved = checkpoint.Checkpoints(path / "checkpoints")
    saved.save(7, {"learner": system.learner.init(jax.random.key(0))._asdict()})
    saved.close()
    config = {f"agent.{name}": value for name, value in settings.items()}
    config |= {"data.path": data, "data.stack": 2, "train.sequence_length": 5}
    data_settings.add_settings(group := ConfigDict())
    config |= {f"data.{name}": value for name, value in group.items()}
    (path / "config.json").write_text(json.dumps({"entry": "helms_offline", "config": config, "starts": []}))
    (path / "summary.json").write_text('{"train_steps": 7}')
    return path


@pytest.fixture
def in_points(monkeypatch):
    """The point world in place of every simulated one; gives the list of what was asked for."""
    asked = []

    def make(name, **settings):
        asked.append({"name": name, **settings})
        env = point_world()
        return env._replace(spec=env.spec._replace(obs={name: env.spec.obs[name] for name in env.spec.obs}))

    monkeypatch.setattr(registry, "make", make)
    return asked


def points(tmp_path: Path, agent: dict, data: str = "datasets/points") -> Path:
    spec = point_world().spec
    return run_folder(tmp_path, spec.obs, jax.ShapeDtypeStruct(spec.action.shape, "float32"), agent, data)


def test_a_run_folder_gains_figures_and_pages(tmp_path, in_points, capsys):
    data = tmp_path / "made" / "data"
    data.mkdir(parents=True)
    (data / "main_data.hdf5").touch()  # nobody looks into it
    (data / "metadata.json").write_text('{"world": "sawyer.stack_green_on_red.set2", "worlds": []}')
    path = points(tmp_path, {"name": "helms", "skills": 3}, str(data.parent))
    code, out, err = call(capsys, helms_skills, f"--run={path}", "--episodes=6")
    assert code == 0, err
    assert in_points == [{"name": "sawyer.stack_green_on_red.set2", "worlds": 3, "engine": "auto", "stack": 2}]
    found, summary = (json.loads((path / name).read_text()) for name in ("skills.json", "summary.json"))
    assert [row["skill"] for row in found["skills"]] == [None, 0, 1, 2] and found[
        "env"
    ] == "sawyer.stack_green_on_red.set2"
    assert summary["train_steps"] == 7 and summary["fixed_skill_spread"] == found["spread"] > 0
    assert summary["fixed_skill_noise"] == found["noise"] > 0  # latents and actions are drawn
    rollouts = skill_rollouts.load(path)
    assert rollouts.pinch.shape == (4, 6, LIMIT + 1, 3) and set(rollouts.chosen[0].ravel().tolist()) <= {0, 1, 2}
    assert not (path / "skills.jpg").exists()  # points have no bodies to draw
    assert "skill 2" in (path / "report.html").read_text() and (path / "skills.svg").read_text().startswith("<svg")
    assert "what it does" in out and "prior" in out and str(path / "report.html") in out
    assert f"from rows of the demonstrations: left out, {data}" in out  # nothing is in the file
    assert not (path / "own_starts.json").exists()


@pytest.mark.parametrize("name", ["bc", "npmp"])
def test_a_system_without_skills_is_shown_as_it_acts(tmp_path, in_points, capsys, name):
    code, out, err = call(capsys, helms_skills, f"--run={points(tmp_path, {'name': name})}", "--episodes=6", "--rows=3")
    assert code == 0, err
    assert "does not say which world" in err and in_points[0]["name"] == saved.FALLBACK
    found = json.loads((tmp_path / "skills.json").read_text())
    assert len(found["skills"]) == 1 and found["spread"] is None
    assert "fixed_skill_spread" not in json.loads((tmp_path / "summary.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "--run is missing; give the folder of a run of experiments.helms_offline"),
        (["--run=nowhere"], "nowhere/config.json is no config of a run; give the folder of a run"),
        (
            ["--run=RUN", "--episodes=5"],
            "--episodes=5 is odd, and each initial state is used twice; give an even number",
        ),
        (["--run=RUN", "--env=sawyer.stack_red_on_blue.set6"], "did you mean sawyer.stack_red_on_blue.set"),
        (["--run=RUN", "--episode=6"], "did you mean --episodes?"),
    ],
)
def test_wrong_use_is_told_in_one_line(tmp_path, in_points, capsys, arguments, line):
    path = points(tmp_path, {"name": "helms", "skills": 2})
    code, _, err = call(capsys, helms_skills, *(argument.replace("RUN", str(path)) for argument in arguments))
    assert code == 2 and line in err and err.count("\n") == 1 and not in_points


def test_made_up_data_have_no_world(tmp_path, in_points, capsys):
    code, _, err = call(capsys, helms_skills, f"--run={points(tmp_path, {'name': 'helms', 'skills': 2}, 'toy')}")
    assert code == 2 and "made-up data" in err and not in_points


def test_a_run_of_a_version_with_other_settings_is_refused_in_one_line(tmp_path, in_points, capsys):
    path = points(tmp_path, {"name": "helms", "skills": 2})
    about = json.loads((path / "config.json").read_text())
    about["config"]["agent.clip"] = 40.0  # the former name of max_grad_norm
    (path / "config.json").write_text(json.dumps(about))
    code, _, err = call(capsys, helms_skills, f"--run={path}", f"--env={saved.FALLBACK}")
    assert code == 2 and err.count("\n") == 1, err
    assert f"{path} was begun by a version with other settings" in err and "'clip'" in err


@pytest.mark.slow
def test_in_the_stacking_cell(tmp_path, capsys):
    env = registry.make("sawyer.stack_red_on_blue.set4", worlds=1, stack=2)
    action = jax.ShapeDtypeStruct(env.spec.action.shape, "float32")
    path = run_folder(tmp_path, env.spec.obs, action, {"name": "helms", "skills": 2}, "datasets/red_on_blue")
    code, _, err = call(
        capsys, helms_skills, f"--run={path}", "--episodes=2", "--rows=5", "--env=sawyer.stack_red_on_blue.set4"
    )
    assert code == 0, err
    assert (path / "skills.jpg").read_bytes()[:2] == b"\xff\xd8"  # pictures of every skill, and in the report
    assert 'alt="each skill over an episode"' in (path / "report.html").read_text()
    rollouts = skill_rollouts.load(path)
    assert rollouts.pinch.shape == (3, 2, 6, 3) and rollouts.valid.all()
    assert (rollouts.objects[:, :, 0] == rollouts.objects[0, :, 0]).all()
