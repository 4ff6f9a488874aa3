"""The run that --run names, and worlds like those that it was trained in."""

from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from experiments.shared import cli, saved
from skillhier.train import run_folder
from skillhier.types import Env


class Opened(NamedTuple):
    """A run folder, and worlds for its agent."""

    path: Path
    settings: dict[str, Any]  # of the run
    world: str
    world_settings: dict[str, Any]
    env: Env


def check(run: cli.Run) -> None:
    """Refuses a command without --run. Raises Refused."""
    if not flags.FLAGS.run:
        raise cli.Refused("--run is missing; give the folder of a run of experiments.lsp, or of one of its seeds")


def open_run(count: int) -> Opened:
    """The run of --run with `count` worlds, or --episodes. Raises Refused."""
    args = flags.FLAGS
    path = Path(args.run)
    settings = run_folder.settings(path)
    world, world_settings = saved.world(path, settings, args.env)
    env = saved.worlds(world, args.episodes or count, args.engine, **world_settings)
    return Opened(path, settings, world, world_settings, env)


def decisions(env: Env, usual: int | None = None) -> int:
    """The decisions of an episode that --rows asks for; without it `usual`, or the world's limit. Raises Refused."""
    rows = flags.FLAGS.rows or min(usual or env.spec.limit, env.spec.limit)
    if rows > env.spec.limit:
        raise cli.Refused(f"--rows={rows} is more than the {env.spec.limit} decisions of an episode; give fewer")
    return rows
