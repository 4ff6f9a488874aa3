"""Each skill held fixed for whole episodes, from the same starts: what does it do?

python -m experiments.helms_skills --run=runs/skills
python -m experiments.helms_skills --run=runs/skills --env=sawyer.stack_red_on_blue.set1 --episodes=40

Rolls out every skill of a run of experiments/helms_offline.py, and the skills as they follow the learned prior, in
the world that the data came from unless --env names another. Prints a table and writes into the run folder:
skills.json, skills.npz (paths), skills.svg (the picture), two entries of summary.json (fixed_skill_spread,
fixed_skill_noise; see train/skill_measures.py), and report.html anew.
"""

import json
import time
from pathlib import Path

import jax
from absl import flags

from experiments import cli
from experiments.acting import saved
from skillhier.train import drawing, folder, metrics, report, skill_figures, skill_measures, skill_rollouts
from skillhier.types import Env

EPISODES = 20  # of each skill, unless --episodes says otherwise


def main(run: cli.Run) -> None:
    asked = flags.FLAGS
    if not asked.run:
        raise cli.Refused("--run is missing; give the folder of a run of experiments.helms_offline")
    episodes = asked.episodes or EPISODES
    if episodes % skill_rollouts.REPEATS:
        raise cli.Refused(f"--episodes={episodes} is odd, and each start is used twice; give an even number")
    path = Path(asked.run)
    settings = folder.settings(path)
    name, chosen = saved.world(path, settings, asked.env)
    began = time.perf_counter()
    env = saved.worlds(name, episodes // skill_rollouts.REPEATS, asked.engine, **chosen)
    study = rollouts(path, settings, env, asked.rollout_seed, asked.rows)
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


def rollouts(path: Path, settings: dict, env: Env, seed: int, rows: int | None = None) -> skill_rollouts.Study:
    """The skills of the run in folder `path` in `env`, as the model has them: latents and actions are drawn."""
    agent = saved.agent(path, settings, env, sample=True)
    return skill_rollouts.roll(env, agent.act, agent.params, agent.skills, jax.random.key(seed), rows=rows)


def finish(path: Path, study: skill_rollouts.Study, about: dict) -> dict:
    """Writes what was found into the run folder; gives back what skills.json holds."""
    found = skill_measures.write(study, path, about)
    (path / "skills.svg").write_text(drawing.alone(skill_figures.sheet(study, found)))
    if found["spread"] is not None and (path / "summary.json").is_file():
        summary = json.loads((path / "summary.json").read_text())
        summary |= {"fixed_skill_spread": found["spread"], "fixed_skill_noise": found["noise"]}
        metrics.write_json(path / "summary.json", summary)
    report.write(path)
    return found


if __name__ == "__main__":
    cli.run(main, needs_config=False)
