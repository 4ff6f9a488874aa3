"""The command that films episodes: what it leaves behind of a run and of policies by name, and what it refuses."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import watch
from experiments.shared import cli, run_report, saved
from experiments.shared.lanes import PRIOR
from skillhier.agents import registry as agents
from skillhier.envs import registry
from skillhier.report import episode_page, sections
from skillhier.train import checkpoint, run_folder
from skillhier.types import Env

pytest.importorskip("dm_control")
WORLD = "dmc.cartpole_swingup"
SMALL = ("--rows=6", "--height=24", "--width=32", "--samples=1", "--shadows=false")
FLAGS = ("run", "env", "rows", "episodes", "policy", "skill", "camera", "workdir", "film", "height", "width", "samples")
FLAGS = (*FLAGS, "shadows", "engine", "rollout_seed")


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command."""
    former = signal.getsignal(signal.SIGTERM)  # which a command takes for itself
    try:
        with pytest.raises(SystemExit) as stopped:
            cli.run(watch.main, needs_config=False, argv=["watch", *arguments])
    finally:
        signal.signal(signal.SIGTERM, former)
    told = capsys.readouterr()
    return stopped.value.code, told.out, told.err


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of helms_offline that has learned nothing, on data recorded in cartpole."""
    path = tmp_path_factory.mktemp("runs") / "skills"
    spec = registry.make(WORLD, stack=2).spec
    agent = {"name": "helms", "low": ("position",), "mid": ("position", "velocity"), "hidden": (8,), "lookahead": 1}
    agent["skills"] = 2
    system = agents.make(**agent, spec=spec)
    saved = checkpoint.Checkpoints(path / "checkpoints")
    saved.save(7, {"learner": system.learner.init(jax.random.key(0))._asdict()})
    saved.close()
    (path / "made" / "data").mkdir(parents=True)
    (path / "made" / "data" / "metadata.json").write_text(json.dumps({"world": WORLD}))
    (path / "made" / "data" / "main_data.hdf5").touch()  # nobody looks into it
    config = {**{f"agent.{name}": value for name, value in agent.items()}, "data.stack": 2}
    config["data.path"] = str(path / "made")
    (path / "config.json").write_text(json.dumps({"entry": "helms_offline", "config": config, "starts": []}))
    run_report.write(path)
    return path


def held(page: Path) -> dict:
    return json.loads(page.read_text().split('type="application/json">')[1].split("</script>")[0])


def test_every_skill_of_a_run_from_the_same_start(run, capsys):
    before = (run / "report.html").read_text()
    code, out, err = call(capsys, f"--run={run}", "--skill=each", *SMALL)
    assert code == 0, err
    left = sorted(file.name for file in (run / "watch").iterdir())
    assert left == ["episode.html", "episode.json", "episode.mp4", "strip.jpg"]
    told = json.loads((run / "watch" / "episode.json").read_text())
    assert (told["world"], told["agent"], told["names"]) == (WORLD, "helms", ["prior", "skill 0", "skill 1"])
    assert told["lengths"] == [6, 6, 6] and "success" not in told and len(told["returns"]) == 3
    assert out.count("\n") == 1 and "helms in dmc.cartpole_swingup: 3 episodes of 0.06 s, mean return" in out
    found = held(run / "watch" / "episode.html")
    assert [episode["name"] for episode in found["episodes"]] == told["names"]
    assert [episode["skill"] for episode in found["episodes"]][1:] == [[0] * 7, [1] * 7]
    poses = [episode_page.unpack(episode["poses"], len(found["scene"]["bodies"])) for episode in found["episodes"]]
    assert all(pose.shape == (7, 3, 7) for pose in poses)
    assert (poses[0][0] == poses[1][0]).all() and (poses[1][0] == poses[2][0]).all()
    assert np.abs(poses[1][-1] - poses[2][-1]).max() > 1e-6  # what the skills do differs
    for episode, total in zip(found["episodes"], told["returns"], strict=True):
        assert sum(episode["reward"]) == pytest.approx(total, abs=1e-4)
    film = imageio_ffmpeg.count_frames_and_secs(str(run / "watch" / "episode.mp4"))
    assert film == (2, pytest.approx(2 * 0.04))  # rows 10 ms apart: every fourth, 25 a second
    assert Image.open(run / "watch" / "strip.jpg").height > 3 * watch.FRAME_WIDTH * 24 // 32
    assert (run / "report.html").read_text() != before and "data:video/mp4" in (run / "report.html").read_text()


def test_an_agent_as_it_is_acts_greedily_and_without_a_film_soon(run, tmp_path, capsys):
    for _ in range(2):
        code, _, err = call(capsys, f"--run={run}", "--episodes=2", "--film=false", f"--workdir={tmp_path}", *SMALL)
        assert code == 0, err
        found = held(tmp_path / "episode.html")
        assert [episode["name"] for episode in found["episodes"]] == ["prior 1", "prior 2"]
        assert found["episodes"][0]["poses"] != found["episodes"][1]["poses"]
        assert PRIOR not in found["episodes"][0]["skill"]
    assert not (tmp_path / "episode.mp4").exists() and (tmp_path / "strip.jpg").is_file()


def test_policies_by_name_need_no_run(tmp_path, capsys):
    asked = (f"--env={WORLD.replace('.', '/', 1)}", f"--workdir={tmp_path}", "--film=false", *SMALL)
    code, out, err = call(capsys, "--policy=zero", *asked)
    assert code == 0, err
    still = held(tmp_path / "episode.html")
    assert out.startswith(f"zero in {WORLD}: 1 episode of") and still["episodes"][0]["skill"] is None
    assert call(capsys, "--policy=random", *asked)[0] == 0
    assert held(tmp_path / "episode.html")["episodes"][0]["poses"] != still["episodes"][0]["poses"]


def test_success_is_what_the_entry_of_the_spec_shows_on_the_last_row(tmp_path, capsys, monkeypatch):
    """World 0 shows it on its last row alone, world 1 on all rows but the last."""

    def worlds(name, count, engine):
        env = registry.make(name, worlds=count, engine=engine, limit=6)

        def add(state, step):
            won = jnp.array([True, False]) == step.last
            return state, step._replace(obs={**step.obs, "won": won.astype(jnp.float32)[:, None, None]})

        spec = env.spec._replace(success="won")
        return Env(lambda key: add(*env.reset(key)), lambda state, action: add(*env.step(state, action)), spec)

    monkeypatch.setattr(saved, "worlds", worlds)
    asked = (f"--env={WORLD}", "--policy=zero", "--episodes=2", f"--workdir={tmp_path}", "--film=false", *SMALL)
    code, out, err = call(capsys, *asked)
    assert code == 0, err
    assert json.loads((tmp_path / "episode.json").read_text())["success"] == [True, False]
    assert "success 1 of 2" in out


def test_a_large_film_stands_beside_its_report(tmp_path, monkeypatch):
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "episode.mp4").write_bytes(b"x" * 100)
    (tmp_path / "watch" / "episode.json").write_text('{"title": "<i>helms</i>", "about": "return 3"}')
    (tmp_path / "watch" / "episode.html").write_text("")
    page = run_report.write(tmp_path).read_text()
    assert f'src="data:video/mp4;base64,{"eHh4" * 33}eA=="' in page and "&lt;i&gt;helms&lt;/i&gt;: return 3" in page
    assert 'href="watch/episode.html"' in page and "strip.jpg" not in page
    monkeypatch.setattr(sections, "EMBEDDED", 99)
    assert 'src="watch/episode.mp4"' in run_report.write(tmp_path).read_text()


def test_where_the_agent_of_a_run_belongs(run):
    name, settings = saved.world(run, run_folder.settings(run))
    assert (name, settings) == (WORLD, {"stack": 2})
    env = {"name": WORLD, "worlds": 20, "engine": "native", "stack": 1, "limit": 7, "delay": (0, 2), "profile": "fast"}
    name, settings = saved.world(run, {"env": env})
    assert (name, settings) == (WORLD, {"stack": 1, "limit": 7, "delay": (0, 2), "profile": "fast"})
    assert saved.world(run, {"env": env}, "dmc/hopper_hop")[0] == "dmc.hopper_hop"
    assert saved.worlds(name, 3, **settings).spec.worlds == 3
    assert saved.model(name, "auto", settings).nbody == 3
    for told, line in (
        ({"seed": 0}, "says nothing of a world"),
        ({"data": {"path": "toy", "stack": 1}}, "made-up data"),
    ):
        with pytest.raises(cli.Refused, match=line):
            saved.world(run, told)
    with pytest.raises(cli.Refused, match="has no setting 'randomise'"):
        saved.worlds(WORLD, 1, randomise=True)
    with pytest.raises(cli.Refused, match="no model of ours"):
        saved.model("gymnasium:Pendulum-v1", "auto", {})


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "--run is missing; give the folder of a run, or --policy (expert, random, zero) and --env"),
        (["--run=nowhere"], "nowhere/config.json is no config of a run; give the folder of a run"),
        (["--policy=zero"], "--policy=zero acts without a run, in a world that --env names"),
        (["--policy=zero", "--run=RUN"], "--policy=zero acts without a run"),
        (["--policy=zero", "--env=dmc.cartpole_swing"], "did you mean dmc.cartpole_swingup?"),
        (["--policy=expert", f"--env={WORLD}"], f"the expert knows stacking, not {WORLD}"),
        (["--policy=zer", f"--env={WORLD}"], "should be one of <expert|random|zero>"),
        (["--policy=zero", f"--env={WORLD}", "--skill=0"], "--skill=0 is not known; this agent has none, leave it out"),
        (["--run=RUN", "--skill=2"], "--skill=2 is not known; choose each, or 0 to 1"),
        (["--run=RUN", "--camera=sied"], "camera 'sied' is not known"),
        (["--run=RUN", "--width=33"], "a film of 33 x 360 pixels cannot be encoded; give even numbers"),
        (["--run=RUN", "--env=dmc.hopper_hop"], "cannot act here|choose another --env"),
        (["--run=RUN", "--fil=1"], "did you mean --film?"),
    ],
)
def test_wrong_use_is_told_in_one_line(run, capsys, arguments, line):
    code, _, err = call(capsys, *(argument.replace("RUN", str(run)) for argument in arguments))
    assert code == 2 and err.count("\n") == 1 and any(part in err for part in line.split("|choose")), err


def test_it_explains_itself():
    told = subprocess.run(
        [sys.executable, "-m", "experiments.watch", "--help"],
        capture_output=True,
        text=True,
        cwd=cli.CONFIGS.parents[1],
    )
    assert told.returncode == 0
    for flag in (*FLAGS, "check"):
        assert f"--{flag} " in told.stdout, flag
