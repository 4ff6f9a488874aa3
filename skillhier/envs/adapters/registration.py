"""Our worlds under gymnasium's ids: `gymnasium.make("skillhier/dmc.cheetah_run-v0")` after `import skillhier`.

gymnasium 1.x has no plugin entry points, so its `register` must be called. Importing gymnasium here would slow down the
start of every command and print its notices; so an import hook registers the ids when gymnasium is imported, before or
after us, and does nothing otherwise.
"""

import importlib.abc
import importlib.util
import sys

from skillhier.envs.adapters.identifiers import identifier


def register() -> None:
    """Registers every world of the registry that is not registered yet."""
    from gymnasium.envs import registration

    from skillhier.envs import registry

    module = "skillhier.envs.adapters.env_to_gymnasium"
    for name in registry.names():
        if identifier(name) not in registration.registry:
            registration.register(
                identifier(name),
                entry_point=f"{module}:RegisteredEnv",
                vector_entry_point=f"{module}:GymnasiumVectorEnv",
                max_episode_steps=registry.limit_of(name),
                kwargs={"name": name},
            )


class _RegisterOnImport(importlib.abc.MetaPathFinder):
    """An import hook that registers our ids once gymnasium has been imported."""

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
    """Registers our worlds now if gymnasium is already imported, else when it is."""
    if sys.modules.get("gymnasium"):  # None if its import is blocked
        register()
    elif not any(isinstance(finder, _RegisterOnImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RegisterOnImport())
