"""Rollouts of each skill held fixed for whole episodes, from the same initial states.

python -m experiments.helms_skills --run=runs/skills
python -m experiments.helms_skills --run=runs/skills --env=sawyer.stack_red_on_blue.set1 --episodes=40

Rolls out every skill of a run of experiments/helms_offline.py, and the skills as they follow the learned prior, in
the world that the data came from unless --env names another. Prints a table and writes into the run folder:
skills.json, skills.npz (paths), skills.svg (the paths drawn), skills.jpg (frames of the first episode of each), two
entries of summary.json (fixed_skill_spread, fixed_skill_noise; see stacking/skill_measures.py), and report.html again.
"""

import json
import time
from pathlib import Path

import jax
import mujoco
import numpy as np
from absl import flags

from experiments.shared import (
    acting_flags,  # noqa: F401  defines the flags
    cli,
    pictures,
    run_report,
    saved,
)
from experiments.stacking import skill_figures, skill_measures, skill_rollouts
from experiments.stacking.sections import STRIP
from experiments.stacking.skill_rollouts import PRIOR
from skillhier.envs.physics import Data
from skillhier.envs.render import viewer
from skillhier.report import drawing
from skillhier.train import metrics, run_folder
from skillhier.types import Env

FRAMES, SIZE = 8, (180, 240)  # images of each skill, and their height and width
EPISODES = 20  # of each skill, unless --episodes says otherwise


def main(run: cli.Run) -> None:
    args = flags.FLAGS
    if not args.run:
        raise cli.Refused("--run is missing; give the folder of a run of experiments.helms_offline")
    episodes = args.episodes or EPISODES
    if episodes % skill_rollouts.REPEATS:
        raise cli.Refused(f"--episodes={episodes} is odd, and each initial state is used twice; give an even number")
    path = Path(args.run)
    settings = run_folder.settings(path)
    name, world_settings = saved.world(path, settings, args.env)
    start = time.perf_counter()
    env = saved.worlds(name, episodes // skill_rollouts.REPEATS, args.engine, **world_settings)
    rollouts, records = collect(path, settings, env, args.rollout_seed, args.rows)
    (path / STRIP).unlink(missing_ok=True)
    if records is not None:
        model = saved.model(name, args.engine, world_settings)
        (path / STRIP).write_bytes(strip(model, rollouts, records, env.spec.interval))
    seconds = time.perf_counter() - start
    measures = finish(
        path, rollouts, {"env": name, "engine": args.engine, "rollout_seed": args.rollout_seed, "seconds": seconds}
    )
    count, length = measures["episodes"], measures["seconds_each"]
    print(f"{name}, {count} episodes of {length:g} s for each skill, in {seconds:.0f} s\n")
    print(skill_measures.table(measures))
    if measures["spread"] is not None:
        noises = (measures[name] for name in ("noise", "noise_across_starts"))
        same, other = (float("nan") if value is None else 100 * value for value in noises)  # None: one initial state
        print(
            f"\npaths of two skills are {100 * measures['spread']:.1f} cm apart; of one skill from the same initial "
            f"states {same:.2f} cm, from others {other:.2f} cm"
        )
    print(f"report: {path / 'report.html'}")


def collect(
    path: Path, settings: dict, env: Env, seed: int, rows: int | None = None
) -> tuple[skill_rollouts.SkillRollouts, Data | None]:
    """Rollouts of the skills of the run in folder `path` in `env`; latents and actions are sampled.

    With them the physics records [L, E, FRAMES, ...] of the first world, evenly spaced; None without physics.
    """
    agent, key = saved.agent(path, settings, env, sample=True), jax.random.key(seed)
    try:
        viewer.record(jax.eval_shape(env.reset, key)[0])
    except ValueError:
        return skill_rollouts.collect(env, agent.act, agent.params, agent.skills, key, rows=rows), None
    times = np.linspace(0, env.spec.limit if rows is None else rows, FRAMES).round().astype(int)
    records = lambda rows: jax.tree.map(lambda leaf: leaf[times][:, :1], rows.step.obs[viewer.RECORD])  # noqa: E731
    act = lambda skill: viewer.unaware(agent.act(skill))  # noqa: E731
    return skill_rollouts.collect_with(
        viewer.shown(env), act, agent.params, agent.skills, key, rows=rows, extra=records
    )


def strip(model: mujoco.MjModel, rollouts: skill_rollouts.SkillRollouts, records: Data, interval: float) -> bytes:
    """A JPEG with a row of frames for each skill, the prior last, of its first episode."""
    times = np.linspace(0, rollouts.valid.shape[2] - 1, FRAMES).round() * interval
    order = np.concatenate([np.flatnonzero(rollouts.skill != PRIOR), np.flatnonzero(rollouts.skill == PRIOR)])
    skills = rollouts.skill[order].tolist()
    names = [(skill_figures.name(s), None if s == PRIOR else drawing.hex_colour(s)) for s in skills]
    return pictures.held_strip(model, SIZE, names, jax.tree.map(lambda leaf: leaf[order, 0], records), times)


def finish(path: Path, rollouts: skill_rollouts.SkillRollouts, about: dict) -> dict:
    """Writes the results into the run folder; returns the content of skills.json."""
    measures = skill_measures.write(rollouts, path, about)
    (path / "skills.svg").write_text(drawing.standalone(skill_figures.sheet(rollouts, measures)))
    if measures["spread"] is not None and (path / "summary.json").is_file():
        summary = json.loads((path / "summary.json").read_text())
        summary |= {"fixed_skill_spread": measures["spread"], "fixed_skill_noise": measures["noise"]}
        metrics.write_json(path / "summary.json", summary)
    run_report.write(path)
    return measures


if __name__ == "__main__":
    cli.run(main, needs_config=False)
