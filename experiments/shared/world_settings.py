"""Worlds as commands name them, and settings that a config has for all worlds, and that mean nothing to some."""

import importlib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from absl import flags

from experiments.shared.settings import Refused, guess
from skillhier.envs import registry
from skillhier.envs.render import pixels

flags.DEFINE_list("env_from", [], "MODULE, imported first: of your own package, where it registers worlds")


def import_own() -> None:
    """Imports what --env_from names. Raises Refused."""
    for name in flags.FLAGS.env_from:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if f"{name}.".startswith(f"{error.name}."):
                raise Refused(
                    f"--env_from={name} cannot be found; give a module as `import` wants it, from the folder that its "
                    "package lies in, or with PYTHONPATH"
                ) from None
            raise Refused(f"--env_from={name} imports {error.name}, which is not installed") from None
        except Exception as error:
            raise Refused(f"--env_from={name} cannot be imported: {type(error).__name__}: {error}") from None


def check_name(setting: str, name: str) -> str:
    """The world `name`, as the registry spells it. Raises Refused, with the nearest name and where names come from."""
    try:
        return registry.check(name)
    except ValueError as error:
        if ":" in name:
            raise Refused(f"{setting}: {error}") from None
        meant = guess(registry.canonical(name), registry.names())
        raise Refused(
            f"{setting} {name!r} is not known; {meant}python -m experiments.envs lists all, gymnasium:ID and "
            "playground:NAME are worlds too, and --env_from imports a module that registers your own"
        ) from None


def of_task(task: str, short: Mapping[str, str]) -> str:
    """The world that a config's option `task` means: one of `short`, name -> world, or any world by its own name."""
    if task in short:
        return short[task]
    if set(task) & set("./:") or task in registry.names():
        return check_name("task", task)
    meant = guess(task, [*short, *registry.names()])
    listed = f"choose {', '.join(short)}, or any world" if any(short) else "give a world"
    raise Refused(f"task {task!r} is not known; {meant}{listed} by its name, which python -m experiments.envs lists")


def is_library(world: str) -> bool:
    """Whether another library makes it."""
    return ":" in world


def repeats(world: str) -> bool:
    """Whether a decision may last for several of its control steps."""
    own = registry.ENVS.get(world)
    return not is_library(world) and (own is None or "repeat" in inspect.signature(own).parameters)


def on_host(world: str) -> bool:
    """Whether its state lies with Python objects on the host, of which there is one, and which no checkpoint holds."""
    return world.startswith("gymnasium:")


def suited(world: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that mean something to worlds of that name, for registry.make."""
    if not world.endswith(pixels.SUFFIX):  # how pictures are drawn means nothing where there are none
        settings = _without(settings, (*pixels.SETTINGS, "entries"))
    if is_library(world) or world in registry.ENVS:  # these have engines of their own
        settings = _without(settings, ("engine",))
    if settings.get("limit") == 0:  # the world's own
        settings = _without(settings, ("limit",))
    return dict(settings)


def _without(settings: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}
