"""What an agent put to work begins with: skills of another run, and the scales of what its new nets see."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import cli
from skillhier import rollout
from skillhier.agents import transfer
from skillhier.data import dataset
from skillhier.policies import open_loop
from skillhier.train import checkpoint, run_folder
from skillhier.types import Env, Params, Trajectory

RANDOM_ROWS = 100  # rows of random actions in every world, from which new nets get their scales
# what an agent must know of how its skills were made
SKILL_SETTINGS = {
    "helms_cat": ("low", "mid", "skills", "latent", "hidden", "scale"),
    "helms_mix": ("low", "mid", "skills", "latent", "hidden", "scale"),
    "npmp": ("low", "latent", "hidden", "scale"),
    "bc": ("low", "mid", "hidden"),
    "hierarchical_bc": ("low", "mid", "latent", "hidden"),
}


def load_skills(path: Path) -> tuple[dict[str, Any], Params]:
    """The settings of the agent of a run of experiments.helms_offline or imitate, and its parameters.

    `path` may be one seed of several. Raises Refused, Broken.
    """
    told = _settings(path).get("agent", {})
    known = sorted({kind for kinds in transfer.SOURCES.values() for kind in kinds})
    if told.get("name") not in known or "hidden" not in told or "critic" in told:
        raise cli.Refused(
            f"{path} is a run of {told.get('name', 'no agent')}; give runs of experiments.helms_offline with agent="
            f"{', '.join(known)}"
        )
    return told, checkpoint.read(path, "learner/params")


def skill_stack(path: Path) -> int:
    """How many frames the skills of that run see."""
    told = _settings(path)
    return told["data" if "data" in told else "env"]["stack"]  # of demonstrations, or of worlds (imitate)


def _settings(path: Path) -> dict[str, Any]:
    return run_folder.settings(path if (path / "config.json").is_file() else path.parent)


def skill_kwargs(name: str, told: dict[str, Any]) -> dict[str, Any]:
    """What transfer.make must be told of the skills that agent `name` begins with, beside their parameters."""
    taken = {"skill_hidden" if asked == "hidden" else asked: told[asked] for asked in SKILL_SETTINGS[name]}
    return taken | ({"discrete": told["name"] == "helms_discrete"} if "skills" in taken else {})


def random_rollout(arena: Env) -> Trajectory:
    """Random actions in every world: [T, B, ...], the same for every agent and seed."""
    key, policy = jax.random.key(0), open_loop.uniform(arena.spec.action)
    length = min(RANDOM_ROWS, arena.spec.limit + 1)

    @jax.jit
    def rows():
        return rollout.rollout(arena, policy, (), rollout.start(arena, policy, key), key, length)[1]

    return rows()


def statistics(rows: Trajectory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Entry -> (mean [d], standard deviation [d]) of the newest frames."""
    return dataset.scales({name: entry[:, :, 0] for name, entry in rows.step.obs.items()})


def action(env: Env) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(env.spec.action.shape, jnp.float32)
