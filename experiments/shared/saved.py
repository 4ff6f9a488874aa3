"""The agent of a run folder, as it was saved, and the world that it belongs in."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
from absl import flags

from experiments.shared import cli, warm_start, world_settings
from skillhier.agents import registry as agents
from skillhier.agents import units
from skillhier.data import dataset
from skillhier.data.faults import DataFault
from skillhier.envs import registry
from skillhier.envs.batch import Task
from skillhier.train import checkpoint
from skillhier.types import Env, Params, Policy

flags.DEFINE_string("run", None, "the folder of a run that holds an agent")

FALLBACK = "sawyer.stack_red_on_blue.set4"  # of data with entries of a Sawyer that do not say where they come from


class Agent(NamedTuple):
    """Whoever acts: `act(skill)` gives the policy of that skill, or with None of the agent as it is."""

    act: Callable[..., Policy]
    params: Params
    skills: int  # 0 for an agent without
    dream: Callable[..., dict] | None = None  # as types.Agent.dream, of an agent with a world model
    propose: Callable[..., dict] | None = None  # as types.Agent.propose, of one whose manager names goals
    coders: tuple[str, ...] = ()  # whose goals those are
    infer: Callable[..., Any] | None = None  # as types.Agent.infer, of an agent that learned skills from demonstrations


def world(path: Path, settings: dict[str, Any], name: str | None = None) -> tuple[str, dict[str, Any]]:
    """The world of the run in folder `path`, by name, and the settings that registry.make wants. Raises Refused.

    `settings` are the run's; `name` chooses another world, in which the run's own settings hold.
    """
    env, data = (settings[name] if isinstance(settings.get(name), dict) else {} for name in ("env", "data"))
    if "name" in env:
        chosen = {key: value for key, value in env.items() if key not in ("worlds", "engine")}
        own = chosen.pop("name")
    elif "path" in data:
        if data["path"] == "toy" and not name:
            raise cli.Refused(f"{path} learned from made-up data, which no world shows; give a run on demonstrations")
        own, chosen = name or _recorded(settings), {"stack": warm_start.frames_seen(path, settings)}
    else:
        raise cli.Refused(f"{path} says nothing of a world; give the folder of a run that holds an agent")
    name = name or own
    if settings.get("env_from") and registry.canonical(name) not in registry.names() and ":" not in name:
        modules = ",".join(settings["env_from"])
        raise cli.Refused(f"{path} was begun with --env_from={modules}, which knows its world {name}; give it here too")
    name = world_settings.check_name("world", name)
    return name, world_settings.suited(name, chosen)


def worlds(name: str, count: int, engine: str = "auto", **settings: Any) -> Env:
    """`count` worlds of that name. Raises Refused where a setting does not suit it."""
    try:
        return registry.make(name, worlds=count, **world_settings.suited(name, {"engine": engine, **settings}))
    except ValueError as error:
        raise cli.Refused(str(error)) from None


def task_or_none(name: str, engine: str, settings: dict[str, Any]) -> Task | None:
    """The task of the worlds that `worlds` makes of the same settings; None where no model of ours could be drawn."""
    outer = inspect.signature(registry.make).parameters  # of episodes and observations: no task knows them
    inner = {key: value for key, value in settings.items() if key not in outer}
    try:
        task = registry.task(name, engine=engine, **inner)
        return task if task.physics.model is not None else None
    except (ValueError, AttributeError):
        return None


def model(name: str, engine: str, settings: dict[str, Any]) -> mujoco.MjModel:
    """The model of the worlds that `worlds` makes of the same settings. Raises Refused where there is none of ours."""
    drawable = model_or_none(name, engine, settings)
    if drawable is None:
        raise cli.Refused(f"{name} has no model of ours that could be drawn; choose another --env")
    return drawable


def model_or_none(name: str, engine: str, settings: dict[str, Any]) -> mujoco.MjModel | None:
    """As `model`; None where there is none of ours."""
    task = task_or_none(name, engine, settings)
    return None if task is None else task.physics.model


def agent(path: Path, settings: dict[str, Any], env: Env, *, sample: bool = False) -> Agent:
    """The agent of the run in folder `path` in `env`. sample: latents and actions are sampled.

    Raises Refused, CheckpointError.
    """
    own = warm_start.agent_of(settings)
    name = own.get("name", "")
    if not name:
        raise cli.Refused(f"{path} is a run without an agent; give the folder of a run that has learned one")
    cli.pick("agent", name, agents.AGENTS)
    params = checkpoint.read(path, "learner/params")
    skills = warm_start.origin(path) if agents.entry(name).sources else {}
    try:
        system = agents.make(**own, **skills, spec=env.spec, units=units.of(params))
        shapes = jax.eval_shape(system.learner.init, jax.random.key(0)).params
        fits = jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    except TypeError as error:
        raise cli.Refused(f"{path} was begun by a version with other settings: {error}; use that version") from None
    except ValueError as error:
        raise cli.Refused(f"the agent of {path} cannot act here: {error}; choose another --env") from None
    if not fits:
        raise cli.Refused(f"the agent of {path} sees or does other things than this world has; choose another --env")

    def act(skill=None) -> Policy:
        if skill is None:
            return system.explore if sample else system.exploit
        return system.hold(skill, sample=sample)

    return Agent(act, params, system.skills, system.dream, system.propose, system.coders, system.infer)


def _recorded(settings: dict[str, Any]) -> str:
    """The world that the data set of a run says it comes from. Raises Refused."""
    data = settings["data"]["path"]
    try:
        name = dataset.world(dataset.about(data))
    except DataFault:
        name = None
    if name:
        return name
    if any(name.startswith("sawyer.") for name in settings.get("agent", {}).get("low", ())):
        print(
            f"{data} does not say which world it comes from; acting in {FALLBACK}, --env chooses another",
            file=sys.stderr,
        )
        return FALLBACK
    raise cli.Refused(f"{data} does not say which world it comes from; --env names one")
