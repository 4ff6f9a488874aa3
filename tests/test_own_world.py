"""A user's own worlds go through every command that acts: registered by --env_from, or gymnasium's by their ids."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import jax
import numpy as np
import pytest
from commands import call

from experiments import helms_skills, watch
from experiments.shared import cli, rendered, saved, world_settings
from skillhier.agents import registry as agents
from skillhier.data import online, replay
from skillhier.envs import registry
from skillhier.policies import open_loop
from skillhier.train import checkpoint

ROOT = Path(__file__).parents[1]
GYM = "gymnasium:OwnLine-v0"


@pytest.fixture
def own(monkeypatch):
    """What --env_from=own_worlds registers, for the length of a test."""
    monkeypatch.setattr(registry, "WORLDS", dict(registry.WORLDS))
    monkeypatch.setattr(registry, "ENVS", {})
    own_worlds = importlib.import_module("own_worlds")
    registry.ENVS.setdefault("own.line", own_worlds.line)  # imported before, it does not register again
    return own_worlds


def skills_of(path: Path, entry: str, data: str, **about) -> Path:
    """A run of helms_offline that has learned nothing: two skills that see `entry`."""
    settings = {"name": "helms", "low": (entry,), "mid": (entry,), "hidden": (8,), "lookahead": 1, "skills": 2}
    spec = registry.make({"place": "own.line", "observation": GYM}[entry]).spec
    system = agents.make(**settings, spec=spec)
    kept = checkpoint.Checkpoints(path / "checkpoints")
    kept.save(7, {"learner": system.learner.init(jax.random.key(0))._asdict()})
    kept.close()
    config = {**{f"agent.{name}": value for name, value in settings.items()}, "data.path": data, "data.stack": 1}
    (path / "config.json").write_text(json.dumps({"entry": "helms_offline", "config": config | about, "starts": []}))
    return path


def data_of(path: Path, **about) -> str:
    (path / "data").mkdir(parents=True)
    (path / "data" / "metadata.json").write_text(json.dumps(about))
    (path / "data" / "main_data.hdf5").touch()  # nobody looks into it
    return str(path)


# --- names ---


def test_a_module_that_registers_worlds_is_imported_before_the_config_is_read(monkeypatch):
    monkeypatch.setattr(registry, "ENVS", {})
    monkeypatch.delitem(sys.modules, "own_worlds", raising=False)
    command = ["lsp", "--config=experiments/configs/lsp.py:debug,task=own.line"]
    with pytest.raises(cli.Refused, match="task 'own.line' is not known; .*--env_from imports a module that registers"):
        cli.parse_command("lsp", command)
    asked = cli.parse_command("lsp", [*command, "--env_from=own_worlds"])
    assert asked.config.env.name == "own.line" and asked.env_from == ("own_worlds",)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("own_world", "--env_from=own_world cannot be found; give a module as `import` wants it"),
        ("own_worlds.more", "--env_from=own_worlds.more cannot be found"),
        ("broken_worlds", "--env_from=broken_worlds cannot be imported: ZeroDivisionError: division by zero"),
        ("needy_worlds", "--env_from=needy_worlds imports nothing_like_it, which is not installed"),
    ],
)
def test_a_module_that_does_not_import_is_one_line(own, tmp_path, monkeypatch, module, said):
    (tmp_path / "broken_worlds.py").write_text("1 / 0\n")
    (tmp_path / "needy_worlds.py").write_text("import nothing_like_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(cli.Refused) as caught:
        cli.parse_command("lsp", ["lsp", "--config=experiments/configs/lsp.py:debug", f"--env_from={module}"])
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", ["lsp", "mrs", "helms_transfer", "zero_shot", "imitate", "collect"])
@pytest.mark.parametrize("world", ["own.line", GYM, "playground:CartpoleBalance", "dmc.walker_walk"])
def test_every_config_takes_any_world(own, entry, world):
    changes = [("run", "runs/expert")] if entry == "imitate" else []
    preset = "world" if entry == "collect" else "debug"
    config, _ = cli.load_config(f"experiments/configs/{entry}.py:{preset},task={world}", changes)
    assert (config.tasks[0] if entry == "collect" else config.env.name) == world
    if entry in ("lsp", "mrs"):
        assert (config.env.repeat == 1) == (world != "dmc.walker_walk" or entry == "mrs")
    if entry != "collect":
        assert not {"randomise", "timestep", "starts", "reward"} & set(config.env)


def test_one_seed_where_the_state_lies_on_the_host():
    config, _ = cli.load_config(f"experiments/configs/mrs.py:cpu,task={GYM}")
    assert (config.seeds, config.env.repeat) == (1, 1)
    with pytest.raises(cli.Refused, match="config.seeds=3, but a world of gymnasium has its state on the host"):
        cli.load_config(f"experiments/configs/mrs.py:cpu,task={GYM}", [("seeds", "3")])


def test_an_env_of_ones_own_gets_the_settings_that_it_has_and_no_others(own):
    env = registry.make("own.line", worlds=3, limit=5, half=0.25)
    assert (env.spec.worlds, env.spec.limit) == (3, 5)
    assert np.abs(env.reset(jax.random.key(0))[1].obs["place"]).max() <= 0.25
    with pytest.raises(ValueError, match="world 'own.line' has no setting 'repeat'; choose one of worlds, limit, half"):
        registry.make("own.line", repeat=2)
    assert registry.make("own.line", repeat=1, delay=(0, 0)).spec.limit == own.LIMIT


@pytest.mark.parametrize("world", ["own.line", GYM, "playground:CartpoleBalance", "dmc.pendulum_swingup"])
def test_a_limit_of_none_is_the_worlds_own(own, world):
    assert world_settings.suited(world, {"limit": 0, "stack": 1}) == {"stack": 1}
    assert world_settings.suited(world, {"limit": 5}) == {"limit": 5}


@pytest.mark.parametrize("name", ["own.line", "dmc.walker_walk"])
def test_a_name_is_given_once(own, name):
    with pytest.raises(ValueError, match=f"world '{name}' is registered already"):
        registry.register_env(name, own.line)


@pytest.mark.parametrize("name", ["", "a:b", "a@b", "a,b", "a=b", "a b", "a/b"])
def test_a_name_can_be_given_on_a_command_line(own, name):
    with pytest.raises(ValueError, match="cannot be named on a command line"):
        registry.register_task(name, own.line)


# --- which world a run belongs in ---


def test_data_say_which_world_they_are_of(own, tmp_path):
    minaris = data_of(tmp_path / "minari", env_spec=json.dumps({"id": "OwnLine-v0"}))
    ours = data_of(tmp_path / "ours", world="own.line")
    neither = data_of(tmp_path / "neither")
    of = lambda data: saved.world(tmp_path, {"data": {"path": data, "stack": 1}, "agent": {"low": ("x",)}})  # noqa: E731
    assert of(minaris)[0] == GYM and of(ours)[0] == "own.line"
    with pytest.raises(cli.Refused, match="neither does not say which world it comes from; --env names one"):
        of(neither)


def test_a_run_in_a_world_that_nobody_registered_says_which_module_does(tmp_path):
    settings = {"env": {"name": "own.gone", "worlds": 2}, "env_from": ("own_worlds",)}
    with pytest.raises(cli.Refused, match="was begun with --env_from=own_worlds, which knows its world own.gone; give"):
        saved.world(tmp_path, settings)


# --- skills in it ---


@pytest.mark.parametrize(("world", "entry"), [("own.line", "place"), (GYM, "observation")])
def test_skills_are_measured_in_any_world(own, tmp_path, capsys, world, entry):
    path = skills_of(tmp_path / "run", entry, data_of(tmp_path / "data", world=world))
    (path / "skills.json").write_text('{"skills": [{"skill": 0}]}')  # of a world where objects are stacked
    code, out, err = call(capsys, helms_skills, f"--run={path}", "--episodes=4")
    assert code == 0, err
    figures = json.loads((path / "fixed_skills.json").read_text())
    assert (figures["env"], figures["episodes"], figures["starts"]) == (world, 4, 2)
    assert [row["skill"] for row in figures["skills"]] == [None, 0, 1] and list(figures["entries"]) == [entry]
    assert all(-own.LIMIT * 2.2 < row["return"] < 0 for row in figures["skills"])
    assert all(0 < row["covered"][entry] <= own.LIMIT * own.STEP + 1e-6 for row in figures["skills"])
    assert figures["entries"][entry]["spread"] > 0 and not (path / "skills.json").exists()
    page = (path / "report.html").read_text()
    assert "Each skill held fixed" in page and "return so far" in page and f"{entry} [0]" in page
    assert "prior" in out and str(path / "report.html") in out


# --- films ---


def test_a_world_of_gymnasium_is_filmed_by_its_own_pictures(own, tmp_path, capsys):
    path = skills_of(tmp_path / "run", "observation", data_of(tmp_path / "data", world=GYM))
    code, out, err = call(capsys, watch, f"--run={path}", "--skill=each", "--height=32", "--width=64")
    assert code == 0, err
    left = sorted(file.name for file in (path / "watch").iterdir())
    assert left == ["episode.json", "episode.mp4", "strip.jpg"]  # no bodies, so no page to turn them on
    about = json.loads((path / "watch" / "episode.json").read_text())
    assert about["names"] == ["prior", "skill 0", "skill 1"] and about["lengths"] == [own.LIMIT] * 3
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(path / "watch" / "episode.mp4"))
    assert frames == own.LIMIT + 1 and seconds == pytest.approx(1.3, abs=0.05)  # rows 0.1 s apart
    assert f"helms in {GYM}: 3 episodes of 1.2 s" in out


def test_the_pictures_are_those_of_the_rows(own):
    """The column of the picture follows from the observation; an episode that nobody asked for is not kept."""
    env, (drawn,) = rendered.worlds(GYM, 1, (16, 32))
    state, step = env.reset(jax.random.key(3))
    places = [float(step.obs["observation"][0, 0, 0])]
    for _ in range(own.LIMIT + 3):
        state, step = env.step(state, np.ones((1, 1), np.float32))
        places.append(float(step.obs["observation"][0, 0, 0]))
    assert len(drawn.episodes) == 1 and len(drawn.episodes[0]) == own.LIMIT + 1
    for place, picture in zip(places, drawn.episodes[0], strict=False):
        column = rendered.draw(picture).mean((0, 2)).argmax() // 2
        assert column == int(np.clip(8 + 4 * place, 0, 15))


def test_a_world_without_a_picture_leaves_its_figures(own, tmp_path, capsys):
    asked = ("--policy=zero", "--env=own.line", f"--workdir={tmp_path}")
    code, out, err = call(capsys, watch, *asked)
    assert code == 0 and "no film: own.line has no picture" in err
    assert [file.name for file in tmp_path.iterdir()] == ["episode.json"] and out.startswith("zero in own.line: 1 ep")
    code, _, err = call(capsys, watch, *asked, "--camera=side")
    assert code == 2 and err == "--camera=side: own.line has no model of ours with cameras; leave it out\n"


def test_a_renderer_that_fails_stops_no_episode(own, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(own.OwnLine, "render", lambda self: 1 / 0)
    code, _, err = call(capsys, watch, "--policy=zero", f"--env={GYM}", f"--workdir={tmp_path}")
    assert code == 0, err
    assert f"no film: {GYM} does not draw itself: ZeroDivisionError: division by zero" in err
    assert [file.name for file in tmp_path.iterdir()] == ["episode.json"]


def test_a_world_that_cannot_be_asked_for_pictures_is_watched_without(own, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(own.OwnLine, "__init__", lambda self: None)
    monkeypatch.delattr(own.OwnLine, "render")
    code, out, err = call(capsys, watch, "--policy=zero", f"--env={GYM}", f"--workdir={tmp_path}")
    assert code == 0 and f"no film: {GYM} does not draw itself: " in err, err
    assert [file.name for file in tmp_path.iterdir()] == ["episode.json"] and out.startswith(f"zero in {GYM}: 1 ep")


def test_what_a_task_of_other_names_may_be():
    short = {"red_on_blue": "sawyer.stack_red_on_blue.set4"}
    assert world_settings.of_task("red_on_blue", short) == short["red_on_blue"]
    assert world_settings.of_task("dmc/walker_walk", short) == "dmc.walker_walk"
    with pytest.raises(cli.Refused, match="task 'red_on_blu' is not known; did you mean red_on_blue"):
        world_settings.of_task("red_on_blu", short)


# --- going on ---


def test_a_run_that_goes_on_opens_worlds_of_the_host_anew(own):
    """What a checkpoint held stands for no world any more; the replay marks where the rows of another episode begin."""
    env = registry.make(GYM, worlds=2)
    ring = replay.make(200, env.spec)
    policy = open_loop.uniform(env.spec.action)
    source = online.online(env, policy, ring, unroll_length=5, batch_size=2, sequence_length=2, prefill=5)
    advance = jax.jit(source.next)
    kept, _, before = advance(source.init(jax.random.key(0)), (), jax.random.key(1))  # 10 rows of an episode of 13
    jax.block_until_ready(advance(kept, (), jax.random.key(2)))  # and it was killed after that
    with pytest.raises(Exception, match="cannot go back to call"):
        jax.block_until_ready(advance(kept, (), jax.random.key(2)))
    opened = jax.jit(source.reopen)(kept, jax.random.key(3))
    after, _, figures = advance(opened, (), jax.random.key(4))
    first = np.asarray(after.replay.rows.step.first)[:15]
    assert first[[0, 10]].all() and first.sum() == 4
    assert int(figures["total/episodes"]) == int(before["total/episodes"]) == 0  # what was cut counts for nothing
    assert int(figures["total/env_steps"]) == 30


def test_worlds_that_a_checkpoint_holds_are_not_opened_anew():
    env = registry.make("dmc.pendulum_swingup", worlds=2, engine="native")
    policy = open_loop.uniform(env.spec.action)
    source = online.online(
        env, policy, replay.make(20, env.spec), unroll_length=5, batch_size=2, sequence_length=2, prefill=5
    )
    assert env.spec.restorable and source.reopen is None


# --- the whole chain, by the real commands ---


@pytest.mark.slow
@pytest.mark.parametrize(("world", "entry"), [("own.line", "place"), (GYM, "observation")])
def test_every_command_acts_there(tmp_path, world, entry):
    """Recorded, learned from, measured, put to work, compared, imitated, dreamt of and watched."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])

    def command(name: str, *arguments: str, preset: str = "", run: str = "") -> str:
        config = [f"--config=experiments/configs/{name}.py:{preset}"] if preset else []
        place = [f"--workdir={tmp_path / run}"] if run else []
        result = subprocess.run(
            [sys.executable, "-m", f"experiments.{name}", *config, *arguments, *place, "--env_from=own_worlds"],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return result.stdout

    task = f"task={world}"
    command("collect", "--config.episodes=20", "--config.env.worlds=4", preset=f"world,{task}", run="data")
    assert "--config.agent.low=" in command("data", f"--path={tmp_path / 'data'}")
    small = ("--config.train.sequence_length=6", "--config.train.updates=50", "--config.train.eval_every=50")
    command(
        "helms_offline", f"--config.data.path={tmp_path / 'data'}", f"--config.agent.low={entry}",
        f"--config.agent.mid={entry}", "--config.agent.skills=2", "--config.data.stack=1", *small, preset="debug",
        run="skills",
    )  # fmt: skip
    skills = f"{tmp_path / 'skills'}"
    command("helms_skills", f"--run={skills}", "--episodes=4")
    measured = json.loads((tmp_path / "skills" / "fixed_skills.json").read_text())
    assert measured["env"] == world and len(measured["skills"]) == 3
    command("helms_transfer", f"--init_from={skills}:all", preset=f"debug,agent=helms_cat,{task}", run="agent")
    assert json.loads((tmp_path / "agent" / "summary.json").read_text())["train_steps"] == 40
    said = command("zero_shot", f"--skills={skills}", "--config.env.stack=1", preset=f"debug,{task}", run="table")
    assert "HeLMS" in said and "MPO from scratch" in said and f"{entry} variance" in said
    command("imitate", f"--run={tmp_path / 'agent'}", preset=f"debug,{task}", run="clone")
    assert "expert_return" in json.loads((tmp_path / "clone" / "summary.json").read_text())
    command("lsp", preset=f"debug,agent=lsp,{task}", run="dreams")
    assert "8 skills" in command("lsp_skills", f"--run={tmp_path / 'dreams'}", "--rows=8", "--episodes=2")
    for run in ("skills", "agent", "clone", "dreams"):
        command("watch", f"--run={tmp_path / run}", "--height=32", "--width=64")
        left = {file.name for file in (tmp_path / run / "watch").iterdir()}
        assert "episode.json" in left and ("episode.mp4" in left) == (world == GYM)
