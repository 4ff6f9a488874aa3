"""Runs of experiments.lsp and experiments.mrs that have learned nothing, for commands that take a run."""

import json
from pathlib import Path
from typing import Any

import jax

from experiments.shared import cli, run_report, saved
from skillhier.agents import registry as agents
from skillhier.train import checkpoint, run_folder


def make(
    path: Path, task: str, agent: str = "lsp", source: Any = None, changes: tuple = (), entry: str = "lsp"
) -> Path:
    """The folder of a run of preset debug; source: of its state, with the replay, for the checkpoint."""
    config, _ = cli.load_config(f"{cli.CONFIGS / entry}.py:debug,task={task},agent={agent}", changes)
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"entry": entry, "config": cli.flat(config), "starts": []}))
    settings = run_folder.settings(path)
    name, world_settings = saved.world(path, settings)
    env = saved.worlds(name, 1, **world_settings)
    system = agents.make(**settings["agent"], spec=env.spec)
    checkpoints = checkpoint.Checkpoints(path / "checkpoints")
    state = {"learner": jax.jit(system.learner.init)(jax.random.key(0))._asdict()}
    checkpoints.save(7, state | ({} if source is None else {"source": source}))
    checkpoints.close()
    run_report.write(path)
    return path
