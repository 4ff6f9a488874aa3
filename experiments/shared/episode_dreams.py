"""Dreams of an episode that was recorded: what its agent would have expected of it after the first rows."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.shared import online_run, saved
from skillhier.envs.render import viewer
from skillhier.report import dreams
from skillhier.types import TimeStep, Trajectory

ROWS = 100  # of an episode, at most


def select(trajectory: Trajectory) -> dict[str, Any]:
    """What a dream needs of the first rows [T, B, ...]: leaves [at most ROWS, 1, ...] of the first world."""
    rows = jax.tree.map(lambda x: x[:ROWS, :1], trajectory._replace(extras={}))
    obs = {name: entry for name, entry in rows.step.obs.items() if name != viewer.RECORD}
    return {"obs": obs, "reward": rows.step.reward, "discount": rows.step.discount, "action": rows.action}


def write(path: Path, agent: saved.Agent, selected: dict[str, Any], rows: int, interval: float, seed: int) -> bool:
    """Writes belief and dream of one episode, from what `select` gave of it, below `path`; whether there are any.

    rows: how many rows the episode has. An episode that is hardly longer than what is seen of it has no dream.
    Raises FilmError.
    """
    rows = min(rows, ROWS)
    if agent.dream is None or rows <= online_run.DREAM_CONTEXT + 1:
        return False
    window = jax.tree.map(lambda x: x[:rows, None], selected)
    first = np.arange(rows)[:, None] == 0
    step = TimeStep(window["obs"], window["reward"], window["discount"], first, np.zeros_like(first))
    dream = jax.jit(agent.dream, static_argnums=2)
    batch = Trajectory(step, window["action"], {})
    recorded = dream(agent.params, batch, online_run.DREAM_CONTEXT, jax.random.key(seed))
    recorded = jax.tree.map(lambda x: np.asarray(x[:, 0]), recorded)
    dreams.write(path, recorded, online_run.DREAM_CONTEXT, interval)
    dreams.write_films(path, recorded, online_run.DREAM_CONTEXT, interval)
    return True
