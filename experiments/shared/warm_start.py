"""What an online agent begins with: skills of another run, or parameters of its own kind; statistics for new nets."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.shared import cli, learning
from skillhier import rollout
from skillhier.agents import registry
from skillhier.agents import units as agent_units
from skillhier.data import dataset
from skillhier.envs.render import pixels
from skillhier.policies import open_loop
from skillhier.train import checkpoint, run_folder
from skillhier.types import Env, Params, Spec, Trajectory

RANDOM_ROWS = 100  # rows of random actions in every world, whose statistics newly initialised nets whiten by


class Start(NamedTuple):
    """How an agent begins."""

    skills: dict[str, Any]  # settings that it shares with its skills, for registry.make and for origin.json
    source: Params | None = None  # the skills' parameters
    name: str | None = None  # of the offline agent that learned them
    settings: dict[str, Any] | None = None  # of that agent
    resumed: bool = False  # --init_from names a run of this very agent, whose parameters it begins with
    units: Params | None = None  # that run's agent learns in, if it has any


def start(run: cli.Run) -> Start:
    """How --init_from lets the config's agent begin. Raises Refused, CheckpointError.

    Runs of the offline agents that it may begin with give it skills; a run of the same agent gives it any parameters.
    """
    config, address = run.config, run.init_from
    name = config.agent.name
    sources = registry.entry(name).sources
    if not address:
        if not sources:
            return Start({})
        if not config.source.updates:
            raise cli.Refused(
                f"--init_from is missing: {name} begins with skills of a run of experiments.helms_offline with agent="
                f"{' or '.join(sources)}; for example --init_from=runs/skills:all"
            )
        settings = {"name": sources[0], **made_up_settings(sources[0], config)}
        return Start(registry.entry(name).settings_of(settings), None, sources[0], settings)
    path, part = learning.split_init_from(address)
    other = agent_of(run_settings(path)).get("name")
    if other == name:
        units = agent_units.of(checkpoint.read(path, "learner/params"))
        return Start(origin(path) if sources else {}, resumed=True, units=units)
    if other not in sources:
        wanted = f"agent={' or '.join((*sources, name))}"
        raise cli.Refused(f"--init_from={address} is a run of {other or 'no agent'}; {name} begins with {wanted}")
    if part != "all":
        raise cli.Refused(f"--init_from={address} names a part of skills, and {name} needs the whole; give {path}:all")
    settings, source = load_skills(path)
    stack = skill_stack(path)
    if stack != config.env.stack:
        raise cli.Refused(
            f"--init_from={address}: those skills see {stack} frames, and config.env.stack={config.env.stack}; set it "
            f"to {stack}, or learn skills of another config.data.stack"
        )
    return Start(registry.entry(name).settings_of(settings), source, other, settings)


def load_skills(path: Path) -> tuple[dict[str, Any], Params]:
    """The settings of the offline agent of a run, and its parameters; `path` may be one seed of several.

    Raises Refused, CheckpointError.
    """
    settings = agent_of(run_settings(path))
    if settings.get("name") not in registry.OFFLINE:
        raise cli.Refused(
            f"{path} is a run of {settings.get('name', 'no agent')}; give runs of experiments.helms_offline with agent="
            f"{', '.join(registry.OFFLINE)}"
        )
    return settings, checkpoint.read(path, "learner/params")


def skill_stack(path: Path) -> int:
    """How many frames the skills of that run see."""
    return frames_seen(path, run_settings(path))


def frames_seen(path: Path, settings: dict[str, Any]) -> int:
    """How many frames the agent of the run in folder `path` sees, by its settings. Raises Refused."""
    groups = [settings.get(name) for name in ("data", "env")]  # of demonstrations, or of worlds (imitate)
    stacks = [group["stack"] for group in groups if isinstance(group, dict) and "stack" in group]
    if not stacks:
        raise cli.Refused(f"{path} is a run without an agent; give the folder of a run that has learned one")
    return stacks[0]


def run_settings(path: Path) -> dict[str, Any]:
    """The config of a run, of which `path` is the folder or that of one seed."""
    return run_folder.settings(path if (path / "config.json").is_file() else path.parent)


def agent_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run's agent; empty for a run of another kind."""
    own = settings.get("agent")
    return own if isinstance(own, dict) else {}


def origin(path: Path) -> dict[str, Any]:
    """The settings that the online agent of a run shares with its skills. Raises RunFolderError."""
    return run_folder.read_origin(path if (path / run_folder.ORIGIN).is_file() else path.parent)  # of one seed of many


def made_up_settings(name: str, config: ConfigDict) -> dict[str, Any]:
    """The settings of skills that are made on the spot; they see what the agent's critic sees but pictures, or all."""
    entries = tuple(name for name in config.agent.critic if name != pixels.ENTRY)
    settings = {"low": entries[:1], "mid": entries, "hidden": (32, 32), "action_stddev": 0.1, "lookahead": 1}
    settings |= {} if name == "bc" else {"latent": 4}
    return settings | ({"skills": 3} if name.startswith("helms") else {})


def made_up(settings: dict, spec: Spec, rows: Trajectory, updates: int) -> Params:
    """Parameters of an offline agent after some updates on random actions: for trying a command out."""
    learner = learning.make_agent(registry.make, **settings, spec=spec, statistics=statistics(rows)).learner
    update, state = jax.jit(learner.update), jax.jit(learner.init)(jax.random.key(0))
    for i in range(updates):
        state, _ = update(state, rows, jax.random.key(i))
    return state.params


def random_rollout(env: Env) -> Trajectory:
    """Random actions in every world: [T, B, ...], the same for every agent and seed."""
    policy, length = open_loop.uniform(env.spec.action), min(RANDOM_ROWS, env.spec.limit + 1)

    @jax.jit
    def rows(key):  # an argument: of a constant XLA would compute what follows from it while it compiles, pictures too
        return rollout.rollout(env, policy, (), rollout.start(env, policy, key), key, length)[1]

    return rows(jax.random.key(0))


def statistics(rows: Trajectory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Entry -> (mean [d], standard deviation [d]) of the newest frames of vectors; other entries have none."""
    vectors = {name: entry[:, :, 0] for name, entry in rows.step.obs.items() if entry.ndim == 4}
    return dataset.scales(vectors)
