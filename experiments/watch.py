"""Records episodes of an agent: a film, and a self-contained page with a 3-D view.

python -m experiments.watch --run=runs/skills                              # the agent of a run, in its own world
python -m experiments.watch --run=runs/skills --skill=3                    # with a skill held fixed
python -m experiments.watch --run=runs/skills --skill=each --height=240 --width=320     # all skills, side by side
python -m experiments.watch --policy=expert --env=sawyer.stack_red_on_blue.set4
python -m experiments.watch --policy=random --env=dmc.cheetah_run --rows=200
python -m experiments.watch --run=runs/skills --env=gymnasium:MountainCarContinuous-v0

Worlds are any registered ones, gymnasium:ID, playground:NAME, or of one's own package by --env_from. Those of gymnasium
draw themselves, with what their library needs for it (pygame, for some); worlds without a picture leave episode.json.
Agents act greedily. Writes into RUN/watch (without a run into runs/watch-<time>; --workdir names another folder):
episode.mp4, episode.html, strip.jpg (frames side by side), episode.json (returns, lengths, success), and updates the
run's report.html if it has one. Films show continuous skills by their numbers, and by a colour that changes with them.
Of an agent with a world model also dream/: what it would have expected of the first episode after five rows.
"""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import mujoco
import numpy as np
from absl import flags

from experiments.shared import (
    acting_flags,  # noqa: F401  defines the flags
    cli,
    episode_dreams,
    pictures,
    rendered,
    run_report,
    saved,
    scripted,
    world_settings,
)
from experiments.shared.lanes import PRIOR, collect_lanes, validity
from skillhier import files
from skillhier.envs.render import viewer
from skillhier.report import drawing, dreams, episode_page, film
from skillhier.train import run_folder
from skillhier.types import Env, Trajectory

flags.DEFINE_enum("policy", None, scripted.NAMES, "a scripted policy instead of a run's agent; needs --env")
flags.DEFINE_string(
    "skill",
    None,
    "the number of a skill to hold fixed; or each: an episode of every skill from the same initial states",
)
flags.DEFINE_bool("film", True, "write episode.mp4, which takes longest")
flags.DEFINE_integer("height", 360, "of the film, pixels", 16, 4096)
flags.DEFINE_integer("width", 480, "of the film, pixels", 16, 4096)
flags.DEFINE_string("camera", None, "of the model, by name; by default one that tracks")
flags.DEFINE_bool("shadows", True, "in the film")
flags.DEFINE_integer("samples", 2, "rays per pixel and axis of the film; 1: rough edges, four times as fast", 1, 8)

FRAME_WIDTH = 240  # pixels, of the frames in strip.jpg
FILES = ("episode.mp4", "episode.html", "strip.jpg", "episode.json")


class Scene(NamedTuple):
    """An agent and the world that it acts in."""

    agent_name: str
    world: str
    env: Env
    agent: saved.Agent
    model: mujoco.MjModel | None  # of its bodies; None for worlds that are not of ours
    drawn: list[rendered.Recording] = []  # of each world, where worlds draw themselves


def check(run: cli.Run) -> None:
    """Refuses flags that are missing or do not go together. Raises Refused."""
    args = flags.FLAGS
    if args.height % 2 or args.width % 2:
        raise cli.Refused(f"a film of {args.width} x {args.height} pixels cannot be encoded; give even numbers")
    if args.policy and (args.run or not args.env):
        raise cli.Refused(
            f"--policy={args.policy} acts without a run, in a world that --env names; --run has its own agent"
        )
    if not args.policy and not args.run:
        raise cli.Refused(
            f"--run is missing; give the folder of a run, or --policy ({', '.join(scripted.NAMES)}) and --env"
        )


def main(run: cli.Run) -> None:
    args = flags.FLAGS
    start = time.perf_counter()
    scene = scripted_scene(args) if args.policy else saved_scene(args)
    skills = choose_skills(args.skill, scene.agent.skills)
    camera = choose_camera(scene, args.camera)
    recordings, dreamt_of = record(scene, skills, args.rollout_seed, args.rows)
    path = make_folder(args)
    shutil.rmtree(path / dreams.FOLDER, ignore_errors=True)  # of the episode before, as all of these
    for file in FILES:
        (path / file).unlink(missing_ok=True)
    summary = summarise(scene, recordings)
    title, line = f"{scene.agent_name} in {scene.world}", summary_line(summary)
    episodes = [episode for recording in recordings for episode in recording.episodes]
    if scene.model is not None:
        geometry = viewer.scene(scene.model)
        geometry["views"].sort(key=lambda view: view["camera"] != camera)
        files.write_text(path / "episode.html", episode_page.page(title, line, geometry, episodes))
    draw = choose_drawer(scene, camera, args)
    if draw is not None:
        if args.film:
            try:
                pictures.write_film(path / "episode.mp4", draw, recordings, scene.env.spec.interval)
            except film.FilmError as error:  # the other files do not need the film
                print(error, file=sys.stderr)
        files.write_bytes(path / "strip.jpg", film.strip(pictures.frames_of(draw, recordings), FRAME_WIDTH))
    if dreamt_of is not None:
        rows = len(episodes[0].reward)
        episode_dreams.write(path, scene.agent, dreamt_of, rows, scene.env.spec.interval, args.rollout_seed)
    summary["seconds"] = time.perf_counter() - start
    summary["files"] = [name for name in (*FILES, dreams.FOLDER) if (path / name).exists()]
    files.write_json(path / "episode.json", summary | {"title": title, "about": line})
    if args.run and (Path(args.run) / "report.html").is_file():
        run_report.write(Path(args.run))
    print(f"{title}: {line}, in {summary['seconds']:.0f} s; in {path}: {' '.join(summary['files'])}")


def saved_scene(args: Any) -> Scene:
    """The agent of a run, in its own world or in --env. Raises Refused, RunFolderError, CheckpointError."""
    path = Path(args.run)
    settings = run_folder.settings(path)
    name, world_settings = saved.world(path, settings, args.env)
    env, model, drawn = make_worlds(name, args, world_settings)
    agent_name = settings.get("agent", {}).get("name", "agent")
    return Scene(agent_name, name, env, saved.agent(path, settings, env), model, drawn)


def scripted_scene(args: Any) -> Scene:
    """A policy that was not learned, in --env. Raises Refused."""
    name = world_settings.check_name("world", args.env)
    env, model, drawn = make_worlds(name, args, {})
    policy = scripted.make(args.policy, name, env)
    return Scene(args.policy, name, env, saved.Agent(lambda skill: policy, (), 0), model, drawn)


def make_worlds(
    name: str, args: Any, settings: dict[str, Any]
) -> tuple[Env, mujoco.MjModel | None, list[rendered.Recording]]:
    """As many worlds as there are episodes, and what they are drawn by: a model, or pictures of their own."""
    count = args.episodes or 1
    if world_settings.on_host(name):
        env, drawn = rendered.worlds(name, count, (args.height, args.width), **settings)
        return env, None, drawn
    env = saved.worlds(name, count, args.engine, **settings)
    return env, saved.model_or_none(name, args.engine, settings), []


def choose_skills(skill: str | None, skills: int) -> list[int]:
    """The skills to record, with PRIOR for the agent without a fixed skill. Raises Refused."""
    if skill is None:
        return [PRIOR]
    if skills and skill == "each":
        return [PRIOR, *range(skills)]
    if not (skill.isdigit() and int(skill) < skills):
        allowed = f"choose each, or 0 to {skills - 1}" if skills else "this agent has none, leave it out"
        raise cli.Refused(f"--skill={skill} is not known; {allowed}")
    return [int(skill)]


def choose_drawer(scene: Scene, camera: int, args: Any) -> Callable | None:
    """A function from a record of a row to its image; None, after saying why, where there is no picture."""
    if scene.model is not None and camera >= 0:
        return pictures.drawer(scene.model, camera, args.height, args.width, args.shadows, args.samples)
    trouble = next((world.trouble for world in scene.drawn if world.trouble), "")
    if scene.drawn and not trouble:
        return rendered.draw
    why = f"does not draw itself: {trouble}" if trouble else "has no picture"
    print(f"no film: {scene.world} {why}", file=sys.stderr)
    return None


def choose_camera(scene: Scene, name: str | None) -> int:
    """The camera of the film; -1 where the world's model has none. Raises Refused."""
    model = scene.model
    if model is None:
        if name is not None:
            raise cli.Refused(f"--camera={name}: {scene.world} has no model of ours with cameras; leave it out")
        return -1
    names = [model.camera(i).name for i in range(model.ncam)]
    if name is None:
        return viewer.filmed(model)
    return names.index(cli.pick("camera", name, dict(zip(names, names, strict=True))))


def make_folder(args: Any) -> Path:
    """The output folder, created if missing. Raises RunFolderError."""
    path = Path(args.run) / "watch" if args.run else Path("runs") / f"watch-{time.strftime('%Y%m%d-%H%M%S')}"
    path = Path(args.workdir) if args.workdir else path
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise run_folder.RunFolderError(
            f"{path} cannot be written: {error.strerror}; choose another --workdir"
        ) from None
    return path


def record(
    scene: Scene, skills: list[int], seed: int, rows: int | None
) -> tuple[list[pictures.RecordedEpisodes], dict[str, Any] | None]:
    """Greedy episodes with each of the skills, from the same initial states, with the physics record of every row.

    With them what a dream of the first episode needs, None where the agent has no dreams.
    """
    success, agent, has_skills = scene.env.spec.success, scene.agent, scene.agent.skills > 0

    def select(trajectory: Trajectory) -> dict[str, Any]:
        step = trajectory.step
        selected = {"reward": step.reward}
        selected |= {} if scene.model is None else {"record": step.obs[viewer.RECORD]}
        selected |= {} if success is None else {"success": step.obs[success][:, :, 0, 0] > 0.5}
        return selected | ({} if agent.dream is None else {"dreamt_of": episode_dreams.select(trajectory)})

    env, act = scene.env, agent.act
    if scene.model is not None:
        env, act = viewer.shown(env), lambda skill: viewer.unaware(agent.act(skill))
    arrays = collect_lanes(
        env, act, agent.params, skills, jax.random.key(seed), select, has_skills=has_skills, rows=rows
    )
    dreamt_of, free = arrays.pop("dreamt_of", None), "agent" if "skill" in arrays else "prior"
    valid, broken = validity(arrays["first"], arrays["last"])
    recordings = []
    for lane, skill in enumerate(skills):
        label = f"skill {skill}" if skill != PRIOR else free if has_skills else ""
        recording = pictures.RecordedEpisodes(label, [], [], [], broken[lane].tolist(), [])
        for e in range(valid.shape[1]):
            count = int(valid[lane, e].sum())
            own = jax.tree.map(lambda leaf, e=e, lane=lane, count=count: leaf[lane, e, :count], arrays)
            name = " ".join(filter(None, [label, str(e + 1) if valid.shape[1] > 1 or not label else ""]))
            active = own["chosen"] if has_skills and (own["chosen"] != PRIOR).any() else None
            poses = np.zeros((count, 0, 7)) if scene.model is None else viewer.poses(own["record"])
            recording.episodes.append(episode_page.Episode(name, scene.env.spec.interval, poses, own["reward"], active))
            kept = np.array(scene.drawn[e].episodes[lane][:count], object) if scene.drawn else None
            recording.records.append(own.get("record", kept))
            recording.choices.append(pictures.choices_of(own))
            recording.success.extend([bool(own["success"][-1])] if "success" in own else [])
        recordings.append(recording)
    return recordings, jax.tree.map(lambda leaf: leaf[0, 0], dreamt_of)


def summarise(scene: Scene, recordings: list[pictures.RecordedEpisodes]) -> dict[str, Any]:
    """The figures of episode.json, each a list over the episodes of one recording after the other."""
    episodes = [episode for recording in recordings for episode in recording.episodes]
    success = [value for recording in recordings for value in recording.success]
    summary = {
        "world": scene.world,
        "agent": scene.agent_name,
        "names": [episode.name for episode in episodes],
        "returns": [float(episode.reward.sum()) for episode in episodes],
        "lengths": [len(episode.reward) - 1 for episode in episodes],
        "broken": sum(sum(recording.broken) for recording in recordings),
        "interval": float(scene.env.spec.interval),
    }
    return summary | ({"success": success} if success else {})


def summary_line(summary: dict[str, Any]) -> str:
    """A summary in one line."""
    returns, count = summary["returns"], len(summary["returns"])
    parts = [f"{count} episode{'s' * (count > 1)} of {max(summary['lengths']) * summary['interval']:.3g} s"]
    parts.append(f"{'mean ' * (count > 1)}return {drawing.number(float(np.mean(returns)))}")
    if "success" in summary:
        parts.append(f"success {sum(summary['success'])} of {count}")
    parts.extend([f"{summary['broken']} cut short by a broken world"] if summary["broken"] else [])
    return ", ".join(parts)


if __name__ == "__main__":
    cli.run(main, needs_config=False)
