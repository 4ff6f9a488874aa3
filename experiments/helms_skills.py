"""Each skill held fixed for whole episodes, from the same starts: what does it do?

python -m experiments.helms_skills --run=runs/skills
python -m experiments.helms_skills --run=runs/skills --env=sawyer.stack_red_on_blue.set1 --episodes=40

Rolls out every skill of a run of experiments/helms_offline.py, and the skills as they follow the learned prior, in
the world that the data came from unless --env names another. Prints a table and writes into the run folder:
skills.json, skills.npz (paths), skills.svg (the paths drawn), skills.jpg (pictures of the first episode of each), two
entries of summary.json (fixed_skill_spread, fixed_skill_noise; see stacking/skill_measures.py), and report.html anew.
"""

import json
import time
from pathlib import Path

import jax
import mujoco
import numpy as np
from absl import flags

from experiments.shared import cli, pictures, run_report, saved
from experiments.stacking import skill_figures, skill_measures, skill_rollouts
from experiments.stacking.sections import STRIP
from experiments.stacking.skill_rollouts import PRIOR
from skillhier.envs.physics import Data
from skillhier.envs.render import viewer
from skillhier.report import drawing, film
from skillhier.train import metrics, run_folder
from skillhier.types import Env

INSTANTS, SIZE = 8, (180, 240)  # pictures of each skill, and their height and width
EPISODES = 20  # of each skill, unless --episodes says otherwise


def main(run: cli.Run) -> None:
    asked = flags.FLAGS
    if not asked.run:
        raise cli.Refused("--run is missing; give the folder of a run of experiments.helms_offline")
    episodes = asked.episodes or EPISODES
    if episodes % skill_rollouts.REPEATS:
        raise cli.Refused(f"--episodes={episodes} is odd, and each start is used twice; give an even number")
    path = Path(asked.run)
    settings = run_folder.settings(path)
    name, chosen = saved.world(path, settings, asked.env)
    began = time.perf_counter()
    env = saved.worlds(name, episodes // skill_rollouts.REPEATS, asked.engine, **chosen)
    study, records = rollouts(path, settings, env, asked.rollout_seed, asked.rows)
    (path / STRIP).unlink(missing_ok=True)
    if records is not None:
        model = saved.model(name, asked.engine, chosen)
        (path / STRIP).write_bytes(strip(model, study, records, env.spec.interval))
    seconds = time.perf_counter() - began
    found = finish(
        path, study, {"env": name, "engine": asked.engine, "rollout_seed": asked.rollout_seed, "seconds": seconds}
    )
    print(f"{name}, {found['episodes']} episodes of {found['seconds_each']:g} s for each skill, in {seconds:.0f} s\n")
    print(skill_measures.table(found))
    if found["spread"] is not None:
        told = (found[name] for name in ("noise", "noise_across_starts"))
        same, other = (float("nan") if value is None else 100 * value for value in told)  # one start: no other one
        print(
            f"\nskills lie {100 * found['spread']:.1f} cm apart; one skill against itself, same starts: "
            f"{same:.2f} cm, other starts: {other:.2f} cm"
        )
    print(f"report: {path / 'report.html'}")


def rollouts(
    path: Path, settings: dict, env: Env, seed: int, rows: int | None = None
) -> tuple[skill_rollouts.Study, Data | None]:
    """The skills of the run in folder `path` in `env`, as the model has them: latents and actions are drawn.

    With them the records [L, E, INSTANTS, ...] of the first world, evenly over the episode; None without physics.
    """
    agent, key = saved.agent(path, settings, env, sample=True), jax.random.key(seed)
    try:
        viewer.record(jax.eval_shape(env.reset, key)[0])
    except ValueError:
        return skill_rollouts.roll(env, agent.act, agent.params, agent.skills, key, rows=rows), None
    times = np.linspace(0, env.spec.limit if rows is None else rows, INSTANTS).round().astype(int)
    take = lambda seen: jax.tree.map(lambda leaf: leaf[times][:, :1], seen.step.obs[viewer.RECORD])  # noqa: E731
    acting = lambda skill: viewer.unaware(agent.act(skill))  # noqa: E731
    return skill_rollouts.rolled(viewer.shown(env), acting, agent.params, agent.skills, key, rows=rows, also=take)


def strip(model: mujoco.MjModel, study: skill_rollouts.Study, records: Data, interval: float) -> bytes:
    """The JPEG of a row of pictures for each skill, the prior last: its first episode."""
    camera = viewer.filmed(model)
    draw = pictures.drawer(model, max(camera, 0), *SIZE, shadows=True, samples=2)
    times = np.linspace(0, study.valid.shape[2] - 1, INSTANTS).round() * interval
    order = [*np.flatnonzero(study.skill != PRIOR), *np.flatnonzero(study.skill == PRIOR)]
    drawn = []
    for lane in order:
        name, skill = skill_figures.name(study.skill[lane]), int(study.skill[lane])
        tint = None if skill == PRIOR else drawing.hex_colour(skill)
        row = [draw(jax.tree.map(lambda leaf, i=i, lane=lane: leaf[lane, 0, i], records)) for i in range(INSTANTS)]
        drawn.append([film.caption(p, f"{name}, {t:.1f} s", tint) for p, t in zip(row, times, strict=True)])
    return film.strip(drawn, SIZE[1])


def finish(path: Path, study: skill_rollouts.Study, about: dict) -> dict:
    """Writes what was found into the run folder; gives back what skills.json holds."""
    found = skill_measures.write(study, path, about)
    (path / "skills.svg").write_text(drawing.standalone(skill_figures.sheet(study, found)))
    if found["spread"] is not None and (path / "summary.json").is_file():
        summary = json.loads((path / "summary.json").read_text())
        summary |= {"fixed_skill_spread": found["spread"], "fixed_skill_noise": found["noise"]}
        metrics.write_json(path / "summary.json", summary)
    run_report.write(path)
    return found


if __name__ == "__main__":
    cli.run(main, needs_config=False)
