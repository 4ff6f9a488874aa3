"""Our worlds under gymnasium's ids: `gymnasium.make("skillhier/dmc.cheetah_run-v0")` after `import skillhier`.

gymnasium 1.x reads no plugin entry points, so somebody must call its `register`. To import it here would
cost every command of ours its start and let it print its notices; so the ids are entered when gymnasium is
imported, before us or after us, and where it never is nothing happens.
"""

import importlib.abc
import importlib.util
import sys

NAMESPACE, VERSION = "skillhier", 0


def identifier(name: str) -> str:
    """The id of the world `name`; gymnasium allows no `@`: `dmc.cheetah_run@pixels` is `dmc.cheetah_run.pixels`."""
    return f"{NAMESPACE}/{name.replace('@', '.')}-v{VERSION}"


def register() -> None:
    """Enters every world of the registry that is not entered yet."""
    from gymnasium.envs import registration

    from skillhier.envs import registry

    module = "skillhier.envs.adapters.env_to_gymnasium"
    for name in registry.names():
        if identifier(name) not in registration.registry:
            registration.register(
                identifier(name),
                entry_point=f"{module}:GymnasiumEnv",
                vector_entry_point=f"{module}:GymnasiumVectorEnv",
                kwargs={"name": name},
            )


class _Afterwards(importlib.abc.MetaPathFinder):
    """Finds gymnasium as anyone would, and has our ids entered once it is imported."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module) -> None:
            execute(module)
            register()

        spec.loader.exec_module = execute_and_register
        return spec


def register_with_gymnasium() -> None:
    """Enters our worlds now if gymnasium is imported already, else when it is."""
    if sys.modules.get("gymnasium"):  # None where its import was forbidden
        register()
    elif not any(isinstance(finder, _Afterwards) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Afterwards())
