"""Look at an episode: a film, and a page with the episode in three dimensions that needs no network.

python -m experiments.watch --run=runs/skills                              # the agent of a run, in its own world
python -m experiments.watch --run=runs/skills --skill=3                    # with a skill held fixed
python -m experiments.watch --run=runs/skills --skill=each --height=240 --width=320     # all skills, side by side
python -m experiments.watch --policy=expert --env=sawyer.stack_red_on_blue.set4
python -m experiments.watch --policy=random --env=dmc.cheetah_run --rows=200

Agents act greedily. Writes into RUN/watch (without a run into runs/watch-<time>; --workdir names another folder):
episode.mp4, episode.html, strip.jpg (some instants side by side), episode.json (what came out, in numbers), and the
run's report.html anew if it has one.
"""

import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import mujoco
import numpy as np
from absl import flags

from experiments.shared import cli, pictures, run_report, saved, scripted
from experiments.stacking.skill_rollouts import PRIOR, lanes, validity
from skillhier.envs import registry
from skillhier.envs.render import viewer
from skillhier.report import drawing, episode_page, film
from skillhier.train import metrics, run_folder
from skillhier.types import Env, Trajectory

flags.DEFINE_enum("policy", None, scripted.NAMES, "who acts in place of a run's agent; needs --env")
flags.DEFINE_string("skill", None, "the number of a skill to hold fixed; or each: an episode of every one, same starts")
flags.DEFINE_bool("film", True, "make episode.mp4, which takes longest")
flags.DEFINE_integer("height", 360, "of the film, pixels", lower_bound=16)
flags.DEFINE_integer("width", 480, "of the film, pixels", lower_bound=16)
flags.DEFINE_string("camera", None, "of the model, by name; by default one that tracks")
flags.DEFINE_bool("shadows", True, "in the film")
flags.DEFINE_integer("samples", 2, "rays a pixel and axis of the film; 1: rough edges, four times as fast", 1, 8)

SUCCESS = "task.success"  # the entry whose last row says whether an episode succeeded, in worlds that have one
SMALL = 240  # pixels, the width of a picture in strip.jpg
FILES = ("episode.mp4", "episode.html", "strip.jpg", "episode.json")


class Cast(NamedTuple):
    """Who acts where."""

    who: str
    world: str
    settings: dict[str, Any]  # of the world, but for engine and number
    env: Env
    agent: saved.Agent


def main(run: cli.Run) -> None:
    asked = flags.FLAGS
    if asked.height % 2 or asked.width % 2:
        raise cli.Refused(f"a film of {asked.width} x {asked.height} pixels cannot be coded; give even numbers")
    began = time.perf_counter()
    cast = in_person(asked) if asked.policy else saved_one(asked)
    skills = which(asked.skill, cast.agent.skills)
    model = saved.model(cast.world, asked.engine, cast.settings)
    camera = chosen(model, asked.camera)
    watched = act(cast, skills, asked.rollout_seed, asked.rows)
    path = place(asked)
    told = summary(cast, watched)
    shown = viewer.scene(model)
    shown["views"].sort(key=lambda view: view["camera"] != camera)
    title, line = f"{cast.who} in {cast.world}", worded(told)
    episodes = [episode for lane in watched for episode in lane.episodes]
    (path / "episode.html").write_text(episode_page.page(title, line, shown, episodes), encoding="utf-8")
    if camera >= 0:
        draw = pictures.drawer(model, camera, asked.height, asked.width, asked.shadows, asked.samples)
        if asked.film:
            try:
                pictures.shoot(path / "episode.mp4", draw, watched, cast.env.spec.interval)
            except film.FilmError as error:  # the rest is worth having
                print(error, file=sys.stderr)
        (path / "strip.jpg").write_bytes(film.strip(pictures.instants(draw, watched), SMALL))
    told["seconds"] = time.perf_counter() - began
    told["files"] = [name for name in FILES if (path / name).is_file()]
    metrics.write_json(path / "episode.json", told | {"title": title, "about": line})
    if asked.run and (Path(asked.run) / "report.html").is_file():
        run_report.write(Path(asked.run))
    print(f"{title}: {line}, in {told['seconds']:.0f} s; in {path}: {' '.join(told['files'])}")


def saved_one(asked: Any) -> Cast:
    """The agent of a run, in its own world or in --env. Raises Refused, Unfit, Broken."""
    if not asked.run:
        raise cli.Refused(
            f"--run is missing; give the folder of a run, or --policy ({', '.join(scripted.NAMES)}) and --env"
        )
    path = Path(asked.run)
    settings = run_folder.settings(path)
    name, chosen = saved.world(path, settings, asked.env)
    env = saved.worlds(name, asked.episodes or 1, asked.engine, **chosen)
    return Cast(settings.get("agent", {}).get("name", "agent"), name, chosen, env, saved.agent(path, settings, env))


def in_person(asked: Any) -> Cast:
    """Somebody who has learned nothing, in --env. Raises Refused."""
    if asked.run or not asked.env:
        raise cli.Refused(
            f"--policy={asked.policy} acts without a run, in a world that --env names; --run has its own agent"
        )
    name = registry.canonical(asked.env)
    cli.pick("world", name, registry.WORLDS)
    env = saved.worlds(name, asked.episodes or 1, asked.engine)
    acting = scripted.make(asked.policy, name, env)
    return Cast(asked.policy, name, {}, env, saved.Agent(lambda skill: acting, (), 0))


def which(skill: str | None, skills: int) -> list[int]:
    """The lanes to watch: skills held fixed, or PRIOR for the agent as it is. Raises Refused."""
    if skill is None:
        return [PRIOR]
    if skills and skill == "each":
        return [PRIOR, *range(skills)]
    if not (skill.isdigit() and int(skill) < skills):
        allowed = f"choose each, or 0 to {skills - 1}" if skills else "this agent has none, leave it out"
        raise cli.Refused(f"--skill={skill} is not known; {allowed}")
    return [int(skill)]


def chosen(model: mujoco.MjModel, name: str | None) -> int:
    """The camera to film with; -1 where the model has none. Raises Refused."""
    names = [model.camera(i).name for i in range(model.ncam)]
    if name is None:
        return viewer.filmed(model)
    return names.index(cli.pick("camera", name, dict(zip(names, names, strict=True))))


def place(asked: Any) -> Path:
    """The folder to write into, made where there is none. Raises Unfit."""
    path = Path(asked.run) / "watch" if asked.run else Path("runs") / f"watch-{time.strftime('%Y%m%d-%H%M%S')}"
    path = Path(asked.workdir) if asked.workdir else path
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise run_folder.RunFolderError(
            f"{path} cannot be written: {error.strerror}; choose another --workdir"
        ) from None
    return path


def act(cast: Cast, skills: list[int], seed: int, rows: int | None) -> list[pictures.Watched]:
    """Greedy episodes of each of the skills, from the same starts, with the record of every row."""
    keys = {"reward": lambda seen: seen.step.reward, "record": lambda seen: seen.step.obs[viewer.RECORD]}
    if SUCCESS in cast.env.spec.obs:
        keys["success"] = lambda seen: seen.step.obs[SUCCESS][:, :, 0, 0] > 0.5

    def keep(seen: Trajectory) -> dict[str, Any]:
        return {name: take(seen) for name, take in keys.items()}

    agent, held = cast.agent, cast.agent.skills > 0
    seen = lanes(
        viewer.shown(cast.env), lambda skill: viewer.unaware(agent.act(skill)), agent.params, skills,
        jax.random.key(seed), keep, held=held, rows=rows,
    )  # fmt: skip
    valid, broken = validity(seen["first"], seen["last"])
    found = []
    for lane, skill in enumerate(skills):
        label = f"skill {skill}" if skill != PRIOR else "prior" if held else ""
        watched = pictures.Watched(label, [], [], [], broken[lane].tolist())
        for e in range(valid.shape[1]):
            count = int(valid[lane, e].sum())
            own = jax.tree.map(lambda leaf, e=e, lane=lane, count=count: leaf[lane, e, :count], seen)
            name = " ".join(filter(None, [label, str(e + 1) if valid.shape[1] > 1 or not label else ""]))
            chosen = own["chosen"] if held else None
            episode = episode_page.Episode(
                name, cast.env.spec.interval, viewer.poses(own["record"]), own["reward"], chosen
            )
            watched.episodes.append(episode)
            watched.records.append(own["record"])
            watched.success.extend([bool(own["success"][-1])] if "success" in own else [])
        found.append(watched)
    return found


def summary(cast: Cast, watched: list[pictures.Watched]) -> dict[str, Any]:
    """What came out, in numbers; of the lanes one after the other where there are several."""
    episodes = [episode for lane in watched for episode in lane.episodes]
    success = [won for lane in watched for won in lane.success]
    told = {
        "world": cast.world,
        "agent": cast.who,
        "names": [episode.name for episode in episodes],
        "returns": [float(episode.reward.sum()) for episode in episodes],
        "lengths": [len(episode.reward) - 1 for episode in episodes],
        "broken": sum(sum(lane.broken) for lane in watched),
        "interval": float(cast.env.spec.interval),
    }
    return told | ({"success": success} if success else {})


def worded(told: dict[str, Any]) -> str:
    """A summary in one line."""
    returns, count = told["returns"], len(told["returns"])
    parts = [f"{count} episode{'s' * (count > 1)} of {max(told['lengths']) * told['interval']:.3g} s"]
    parts.append(f"return {drawing.number(float(np.mean(returns)))}" + (" in the mean" if count > 1 else ""))
    if "success" in told:
        parts.append(f"success {sum(told['success'])} of {count}")
    parts.extend([f"{told['broken']} cut short by a broken world"] if told["broken"] else [])
    return ", ".join(parts)


if __name__ == "__main__":
    cli.run(main, needs_config=False)
