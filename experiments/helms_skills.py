"""Rollouts of each skill held fixed for whole episodes, from the same initial states.

python -m experiments.helms_skills --run=runs/skills
python -m experiments.helms_skills --run=runs/skills --env=sawyer.stack_red_on_blue.set1 --episodes=40

Rolls out every skill of a run of experiments/helms_offline.py, and the skills as they follow the learned prior, in
the world that the data came from unless --env names another: any registered one, gymnasium:ID, playground:NAME, or of
one's own package by --env_from. Prints a table and writes into the run folder fixed_skills.json (returns, how far each
entry of the observation goes, how far skills are apart; see fixed_skills/measures.py), skills.jpg (frames of the first
episode of each, where the world has bodies), and report.html again. Where objects are stacked also skills.json,
skills.npz (paths), skills.svg (the paths drawn), two entries of summary.json (fixed_skill_spread, fixed_skill_noise;
see stacking/skill_measures.py), and own_starts.json and own_starts.npz: what each does from rows of the demonstrations
where the posterior begins to choose it, and from those where an object is about to be grasped and where it just has
been (stacking/own_measures.py).
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import mujoco
import numpy as np
from absl import flags

from experiments.fixed_skills import measures, rollouts
from experiments.fixed_skills.rollouts import REPEATS, FixedSkills
from experiments.fixed_skills.sections import FILE, STRIP
from experiments.shared import (
    acting_flags,  # noqa: F401  defines the flags
    cli,
    pictures,
    run_report,
    saved,
)
from experiments.shared.lanes import PRIOR, lane_name
from experiments.stacking import own_measures, own_rollouts, skill_figures, skill_measures, skill_rollouts
from skillhier import files
from skillhier.data.faults import DataFault
from skillhier.envs.batch import Task
from skillhier.envs.physics import Data
from skillhier.envs.render import viewer
from skillhier.report import drawing
from skillhier.train import run_folder
from skillhier.types import Env, Trajectory

FRAMES, SIZE = 8, (180, 240)  # images of each skill, and their height and width
OF_STACKING = ("skills.json", "skills.npz", "skills.svg", own_measures.FILE, own_measures.PATHS)  # files
EPISODES = 20  # of each skill, unless --episodes says otherwise


def check(run: cli.Run) -> None:
    """Refuses flags that are missing or do not go together. Raises Refused."""
    args = flags.FLAGS
    if not args.run:
        raise cli.Refused("--run is missing; give the folder of a run of experiments.helms_offline")
    episodes = args.episodes or EPISODES
    if episodes % REPEATS:
        raise cli.Refused(f"--episodes={episodes} is odd, and each initial state is used twice; give an even number")


def main(run: cli.Run) -> None:
    args = flags.FLAGS
    number = args.episodes or EPISODES
    path = Path(args.run)
    settings = run_folder.settings(path)
    name, world_settings = saved.world(path, settings, args.env)
    start = time.perf_counter()
    env = saved.worlds(name, number // REPEATS, args.engine, **world_settings)
    agent = saved.agent(path, settings, env, sample=True)
    episodes = collect(agent, env, args.rollout_seed, args.rows)
    (path / STRIP).unlink(missing_ok=True)
    task = saved.task_or_none(name, args.engine, world_settings)
    if episodes.records is not None and task is not None:
        files.write_bytes(path / STRIP, strip(task.physics.model, episodes, env.spec.interval))
    seconds = time.perf_counter() - start
    where = {"env": name, "engine": args.engine, "rollout_seed": args.rollout_seed}
    about = where | {"seconds": seconds}
    measured = about | measures.measure(episodes.held)
    files.write_json(path / FILE, measured)
    count, length = measured["episodes"], measured["seconds_each"]
    print(f"{name}, {count} episodes of {length:g} s for each skill, in {seconds:.0f} s\n")
    print(measures.table(measured))
    for former in OF_STACKING:  # perhaps of another world
        (path / former).unlink(missing_ok=True)
    if episodes.stacking is not None:
        print("\n" + stack_report(path, episodes.stacking, about))
        print("\nfrom rows of the demonstrations: " + own_report(path, settings, agent, task, number, where))
    run_report.write(path)
    print(f"report: {path / 'report.html'}")


class Episodes(NamedTuple):
    """Episodes of every skill, as pages want them."""

    held: FixedSkills
    stacking: skill_rollouts.SkillRollouts | None  # where the world shows what stacking is measured by
    records: Data | None  # physics of the first world's at FRAMES rows, [L, E, FRAMES, ...]; None without physics


def collect(agent: saved.Agent, env: Env, seed: int, rows: int | None = None) -> Episodes:
    """Episodes of the agent's skills in `env`."""
    key = jax.random.key(seed)
    drawn, stacks = has_physics(env), skill_rollouts.shows(env.spec)
    times = np.linspace(0, env.spec.limit if rows is None else rows, FRAMES).round().astype(int)

    def extra(trajectory: Trajectory) -> dict[str, Any]:
        selected = {"stacking": skill_rollouts.select(trajectory)} if stacks else {}
        if drawn:
            record = trajectory.step.obs[viewer.RECORD]
            selected["record"] = jax.tree.map(lambda leaf: leaf[times][:, :1], record)
        return selected

    shown, act = env, agent.act
    if drawn:
        shown, act = viewer.shown(env), lambda skill: viewer.unaware(agent.act(skill))
    held, more = rollouts.collect(shown, act, agent.params, agent.skills, key, rows=rows, extra=extra)
    of_stacking = skill_rollouts.read(more["stacking"], held) if stacks else None
    return Episodes(held, of_stacking, more.get("record"))


def has_physics(env: Env) -> bool:
    """Whether its state has a physics record, and so can be drawn."""
    try:
        viewer.record(jax.eval_shape(env.reset, jax.random.key(0))[0])
    except ValueError:
        return False
    return True


def stack_report(path: Path, episodes: skill_rollouts.SkillRollouts, about: dict) -> str:
    """Writes what stacking is measured by into the run folder; returns it as text for a terminal."""
    measured = skill_measures.write(episodes, path, about)
    files.write_text(path / "skills.svg", drawing.standalone(skill_figures.sheet(episodes, measured)))
    table = skill_measures.table(measured)
    if measured["spread"] is None:
        return table
    if (path / "summary.json").is_file():
        summary = run_folder.read_summary(path)
        summary |= {"fixed_skill_spread": measured["spread"], "fixed_skill_noise": measured["noise"]}
        files.write_json(path / "summary.json", summary)
    noises = (measured[name] for name in ("noise", "noise_across_starts"))
    same, other = (float("nan") if value is None else 100 * value for value in noises)  # None: one initial state
    return (
        f"{table}\n\npaths of two skills are {100 * measured['spread']:.1f} cm apart; of one skill from the same "
        f"initial states {same:.2f} cm, from others {other:.2f} cm"
    )


def own_report(
    path: Path, settings: dict, agent: saved.Agent, task: Task | None, episodes: int, where: dict[str, Any]
) -> str:
    """Writes what the skills do from rows of the demonstrations into the run folder; returns it as text."""
    if agent.infer is None:
        return "left out, this agent has no skills to choose"
    try:
        starts = own_rollouts.starts(agent, settings, episodes, where["rollout_seed"])
    except DataFault as fault:
        return f"left out, {fault}"
    if task is None or task.pose is None:
        return f"left out, {where['env']} cannot open at them"
    stack, key = settings["data"]["stack"], jax.random.key(where["rollout_seed"])
    rollouts = own_rollouts.collect(task, agent, starts, stack, key)
    content = own_rollouts.write(path, rollouts, starts, where)
    return (
        f"{content['episodes']} where the posterior begins to choose each skill, for {content['seconds_each']:g} s\n"
        f"{own_rollouts.table(content)}"
    )


def strip(model: mujoco.MjModel, episodes: Episodes, interval: float) -> bytes:
    """A JPEG with a row of frames for each skill, the prior last, of its first episode."""
    skill = episodes.held.skill
    times = np.linspace(0, episodes.held.valid.shape[2] - 1, FRAMES).round() * interval
    order = np.concatenate([np.flatnonzero(skill != PRIOR), np.flatnonzero(skill == PRIOR)])
    names = [(lane_name(s), None if s == PRIOR else drawing.hex_colour(s)) for s in skill[order].tolist()]
    return pictures.held_strip(model, SIZE, names, jax.tree.map(lambda leaf: leaf[order, 0], episodes.records), times)


if __name__ == "__main__":
    cli.run(main, needs_config=False)
