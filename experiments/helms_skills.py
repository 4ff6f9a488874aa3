"""Each skill held fixed for whole episodes, from the same starts: what does it do?

python -m experiments.helms_skills --run=runs/skills
python -m experiments.helms_skills --run=runs/skills --env=sawyer.stack_red_on_blue.set1 --episodes=40

Rolls out every skill of a run of experiments/helms_offline.py, and the skills as they follow the learned prior, in
the world that the data came from unless --env names another. Prints a table and writes into the run folder:
skills.json, skills.npz (paths), skills.svg (the picture), two entries of summary.json (fixed_skill_spread,
fixed_skill_noise; see train/skill_measures.py), and report.html anew.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags

from experiments import cli
from skillhier.agents import offline
from skillhier.envs import registry
from skillhier.train import checkpoint, drawing, folder, metrics, report, skill_figures, skill_measures, skill_rollouts
from skillhier.types import Env

flags.DEFINE_string("run", None, "the folder of a finished run of experiments.helms_offline")
flags.DEFINE_string("env", None, "the world to act in; by default the one that the data came from")
flags.DEFINE_integer("episodes", 20, "for each skill; even, because each start is used twice", lower_bound=2)
flags.DEFINE_integer("rows", None, "control steps of an episode; by default the world's limit", lower_bound=1)
flags.DEFINE_enum("engine", "auto", ["auto", "native", "mjx"], "of the physics")
flags.DEFINE_integer("rollout_seed", 0, "of the starts and of the skills' own chance", lower_bound=0)

FALLBACK = "sawyer.stack_red_on_blue.set4"  # of data that do not say where they come from


def main(run: cli.Run) -> None:
    asked = flags.FLAGS
    if not asked.run:
        raise cli.Refused("--run is missing; give the folder of a run of experiments.helms_offline")
    if asked.episodes % skill_rollouts.REPEATS:
        raise cli.Refused(f"--episodes={asked.episodes} is odd, and each start is used twice; give an even number")
    path = Path(asked.run)
    settings = folder.settings(path)
    if settings["data"]["path"] == "toy":
        raise cli.Refused(
            f"{path} learned from made-up data, which no world shows; give a run on demonstrations of stacking"
        )
    name = asked.env or world(settings["data"]["path"])
    cli.pick("world", name, registry.WORLDS)
    began = time.perf_counter()
    env = registry.make(
        name, worlds=asked.episodes // skill_rollouts.REPEATS, engine=asked.engine, stack=settings["data"]["stack"]
    )
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
    agent = settings["agent"]
    system = offline.make(env.spec.obs, jax.ShapeDtypeStruct(env.spec.action.shape, jnp.float32), **agent)
    params = checkpoint.read(path, "learner/params")
    skills = agent.get("skills", 0)
    return skill_rollouts.roll(env, partial(system.act, sample=True), params, skills, jax.random.key(seed), rows=rows)


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


def world(data: str) -> str:
    """The world that a data set says it comes from."""
    try:
        about = json.loads((Path(data) / "data" / "metadata.json").read_text())
    except (OSError, ValueError):
        about = {}
    if about.get("world") in registry.WORLDS:
        return about["world"]
    print(
        f"{data} does not say which world it comes from; acting in {FALLBACK}, --env chooses another", file=sys.stderr
    )
    return FALLBACK


if __name__ == "__main__":
    cli.run(main, needs_config=False)
