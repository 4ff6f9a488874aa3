"""The agent of a run folder, as it was saved, and the world that it belongs in. The flags of those who let it act."""

import inspect
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
from absl import flags

from experiments.shared import cli
from skillhier.agents import offline, transfer
from skillhier.envs import registry
from skillhier.train import checkpoint, run_folder
from skillhier.types import Env, Params, Policy

flags.DEFINE_string("run", None, "the folder of a run that holds an agent")
flags.DEFINE_string("env", None, "the world to act in; by default the one that the run belongs to")
flags.DEFINE_integer("episodes", None, "how many; helms_skills: for each skill, even, 20 if not said", lower_bound=1)
flags.DEFINE_integer("rows", None, "decisions of an episode; by default the world's limit", lower_bound=1)
flags.DEFINE_enum("engine", "auto", ["auto", "native", "mjx", "warp"], "of the physics")
flags.DEFINE_integer("rollout_seed", 0, "of the starts and of the agent's own chance", lower_bound=0)

FALLBACK = "sawyer.stack_red_on_blue.set4"  # of data that do not say where they come from


class Agent(NamedTuple):
    """Whoever acts: `act(skill)` gives the policy of that skill, or with None of the agent as it is."""

    act: Callable[..., Policy]
    params: Params
    skills: int  # 0 for an agent without


def world(path: Path, settings: dict[str, Any], name: str | None = None) -> tuple[str, dict[str, Any]]:
    """The world of the run in folder `path`, by name, and the settings that registry.make wants. Raises Refused.

    `settings` are the run's; `name` chooses another world, in which the run's own settings hold.
    """
    if "env" in settings:
        chosen = {key: value for key, value in settings["env"].items() if key not in ("worlds", "engine")}
        own = chosen.pop("name")
    elif "data" in settings:
        if settings["data"]["path"] == "toy" and not name:
            raise cli.Refused(
                f"{path} learned from made-up data, which no world shows; give a run on demonstrations of stacking"
            )
        own, chosen = name or _recorded(settings["data"]["path"]), {"stack": settings["data"]["stack"]}
    else:
        raise cli.Refused(f"{path} says nothing of a world; give the folder of a run that holds an agent")
    name = registry.canonical(name or own)
    cli.pick("world", name, registry.WORLDS)
    return name, chosen


def worlds(name: str, count: int, engine: str = "auto", **settings: Any) -> Env:
    """`count` worlds of that name. Raises Refused where a setting does not suit it."""
    try:
        return registry.make(name, worlds=count, engine=engine, **settings)
    except ValueError as error:
        raise cli.Refused(str(error)) from None


def model(name: str, engine: str, settings: dict[str, Any]) -> mujoco.MjModel:
    """The model of the worlds that `worlds` makes of the same settings. Raises Refused where there is none of ours."""
    outer = inspect.signature(registry.make).parameters  # of episodes and observations: no task knows them
    inner = {key: value for key, value in settings.items() if key not in outer}
    try:
        return registry.task(name, engine=engine, **inner).physics.model
    except (ValueError, AttributeError):
        raise cli.Refused(f"{name} has no model of ours that could be drawn; choose another --env") from None


def agent(path: Path, settings: dict[str, Any], env: Env, *, sample: bool = False) -> Agent:
    """The agent of the run in folder `path` in `env`. sample: latents and actions are drawn. Raises Refused, Broken."""
    told = settings.get("agent", {})
    online = "source" in settings  # a run of experiments.helms_transfer
    cli.pick("agent", told.get("name", ""), transfer.SYSTEMS if online else offline.SYSTEMS)
    action = jax.ShapeDtypeStruct(env.spec.action.shape, jnp.float32)
    params = checkpoint.read(path, "learner/params")
    try:
        if online:
            system = transfer.make(env.spec.obs, action, **told, **origin(path))
        else:
            system = offline.make(env.spec.obs, action, **told)
        wanted = jax.eval_shape(system.learner.init, jax.random.key(0)).params
        fits = jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, wanted)
    except TypeError as error:
        raise cli.Refused(f"{path} was begun by a version with other settings: {error}; use that version") from None
    except ValueError as error:
        raise cli.Refused(f"the agent of {path} cannot act here: {error}; choose another --env") from None
    if not fits:
        raise cli.Refused(f"the agent of {path} sees or does other things than this world has; choose another --env")
    if online:
        return Agent(lambda skill=None: system.explore if sample else system.exploit, params, 0)
    return Agent(partial(system.act, sample=sample), params, told.get("skills", 0))


def origin(path: Path) -> dict[str, Any]:
    """What the agent of a run of experiments.helms_transfer was told of its skills, parameters left out. Refused."""
    home = path if (path / run_folder.ORIGIN).is_file() else path.parent  # of one seed of several
    try:
        found = json.loads((home / run_folder.ORIGIN).read_text())
        return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    except (OSError, ValueError, AttributeError):
        raise cli.Refused(
            f"{path / run_folder.ORIGIN} cannot be read; give the folder of a run that is whole"
        ) from None


def _recorded(data: str) -> str:
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
