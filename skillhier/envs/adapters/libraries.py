"""Worlds of other libraries by name: `gymnasium:Pendulum-v1`, `playground:CartpoleBalance`."""

from collections.abc import Callable

from skillhier.types import Env


def make(name: str, *, delay: tuple[int, int] = (0, 0), repeat: int = 1, **settings) -> Env:
    """The world `LIBRARY:NAME`; `settings` as in `adapters.from_gymnasium` and `adapters.from_playground`."""
    library, inner = split(name)
    for setting, value, default in (("delay", tuple(delay), (0, 0)), ("repeat", repeat, 1)):
        if value != default:
            raise ValueError(f"{setting} must be {default} for worlds of other libraries, got {value} for '{name}'")
    return LIBRARIES[library](inner, **settings)


def split(name: str) -> tuple[str, str]:
    """The library of the world `LIBRARY:NAME`, and its name there. Raises ValueError for a library not known here."""
    library, _, inner = name.partition(":")
    if library not in LIBRARIES:
        raise ValueError(f"library '{library}' of world '{name}' is not known; choose {' or '.join(LIBRARIES)}")
    return library, inner


def _gymnasium(name: str, **settings) -> Env:
    from skillhier.envs.adapters import gymnasium_to_env

    return gymnasium_to_env.make(name, **settings)


def _playground(name: str, **settings) -> Env:
    from skillhier.envs.adapters import playground_to_env

    return playground_to_env.make(name, **settings)


LIBRARIES: dict[str, Callable[..., Env]] = {"gymnasium": _gymnasium, "playground": _playground}
