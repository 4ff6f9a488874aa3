"""Where the robot of a run went over ground: its paths, the cells that it visited, the targets that it reached.

python -m experiments.lsp_paths --run=runs/cove
python -m experiments.lsp_paths --run=runs/cove/seed_0 --first=40 --episodes=8

Two sets of episodes: the --first ones of training, from the replay in the run's checkpoint (without the random actions
that a run begins with; skills are not stored there, so none are marked), and --episodes new ones of the agent as it was
saved, which explores, with marks where it chose a skill. For quadrupeds. Writes RUN/paths/paths.json, and
RUN/report.html again. LSP, Figures 1, 8 and 9.
"""

import inspect
import time
from typing import Any

import jax
from absl import flags

from experiments.imagined_skills import opening, roaming, sections
from experiments.shared import (
    acting_flags,  # noqa: F401  defines the flags
    cli,
    run_report,
    saved,
)
from skillhier import files
from skillhier.envs import registry

RECORDED = 4  # episodes, unless --episodes says otherwise

flags.DEFINE_integer("first", 40, "episodes of training, from the first one on", 1, 10**6)


check = opening.check


def main(run: cli.Run) -> None:
    args = flags.FLAGS
    begin = time.perf_counter()
    path, settings, name, world_settings, env = opening.open_run(RECORDED)
    if roaming.TORSO not in env.spec.obs:
        raise cli.Refused(f"{name} shows no {roaming.TORSO}, where its robot is; give a run in a quadruped's world")
    radius = target_radius(name, world_settings)
    sets = {
        "training": roaming.training(path, settings, args.first),
        "recorded": roaming.record(
            env, saved.agent(path, settings, env, sample=True), jax.random.key(args.rollout_seed)
        ),
    }
    content: dict[str, Any] = {"env": name, "radius": radius, "cell": roaming.CELL}
    content |= {which: roaming.measure(episodes, radius) for which, episodes in sets.items()}
    folder = path / sections.PATHS
    folder.mkdir(exist_ok=True)
    files.write_json(folder / sections.PATHS_JSON, content)
    run_report.write(path)
    for which in sets:
        print(f"{which}: {sections.roamed(content[which], content)}")
    print(f"in {folder}, in {time.perf_counter() - begin:.0f} s; report: {path / 'report.html'}")


def target_radius(world: str, settings: dict[str, Any]) -> float:
    """How near to the target, m, an episode has reached it: as the task says, or what a reach task says by default."""
    for name in (world, "dmc.quadruped_reach"):
        known = inspect.signature(registry.WORLDS[name]()).parameters
        if "radius" in known:
            return float(settings.get("radius", known["radius"].default))
    raise AssertionError("reach has a radius")


if __name__ == "__main__":
    cli.run(main, needs_config=False)
