"""Worlds by name: `make(name, worlds=..., ...) -> Env`, `names()`. Listing them builds nothing."""

import difflib
import importlib
import inspect
from collections.abc import Callable
from functools import partial

from skillhier.envs import batch
from skillhier.envs.adapters import libraries
from skillhier.envs.render import pixels
from skillhier.types import Env

SETS = (1, 2, 3, 4, 5)
COLOURS = ("red", "green", "blue")
QUADRUPED = (
    "walk", "walk_upright", "run", "reach", "reach_upright", "obstacles_random", "obstacles_line", "obstacles_cove",
)  # fmt: skip


def _sawyer(number: int, goal) -> Callable[..., batch.Task]:
    from skillhier.envs.sawyer import objects, tasks

    return partial(tasks.make, objects.OBJECT_SETS[number], goal)


def _suite(domain: str, *asked) -> Callable[..., batch.Task]:
    return partial(importlib.import_module(f"skillhier.envs.dmc.{domain}").make, *asked)


def _quadruped(name: str) -> Callable[..., batch.Task]:
    from skillhier.envs.dmc import quadruped

    return quadruped.TASKS[name]


# name -> what gives the constructor of its Task, which takes keyword settings
WORLDS: dict[str, Callable[[], Callable[..., batch.Task]]] = {
    **{
        f"sawyer.stack_{COLOURS[top]}_on_{COLOURS[bottom]}.set{n}": partial(_sawyer, n, (top, bottom))
        for n in SETS
        for top in range(3)
        for bottom in range(3)
        if top != bottom
    },
    **{f"sawyer.stack_all.set{n}": partial(_sawyer, n, "all") for n in SETS},
    **{f"sawyer.pyramid.set{n}": partial(_sawyer, n, "pyramid") for n in SETS},
    "dmc.cheetah_run": partial(_suite, "cheetah"),
    **{f"dmc.walker_{task}": partial(_suite, "walker", task) for task in ("stand", "walk", "run")},
    **{f"dmc.hopper_{task}": partial(_suite, "hopper", task) for task in ("stand", "hop")},
    **{
        f"dmc.cartpole_{task}": partial(_suite, "cartpole", task)
        for task in ("balance", "balance_sparse", "swingup", "swingup_sparse")
    },
    "dmc.pendulum_swingup": partial(_suite, "pendulum"),
    **{f"dmc.quadruped_{task}": partial(_quadruped, f"dmc.quadruped_{task}") for task in QUADRUPED},
}
WORLDS |= {f"{name}{pixels.SUFFIX}": constructor for name, constructor in WORLDS.items()}  # the same, through a camera
STACK = {"sawyer": 3}  # frames that a family of worlds shows unless asked for others; elsewhere one


def names() -> tuple[str, ...]:
    """All worlds."""
    return tuple(WORLDS)


def canonical(name: str) -> str:
    """How the registry spells `name`: dmc/cheetah_run is dmc.cheetah_run."""
    return name.replace("/", ".", 1)


def make(
    name: str,
    *,
    worlds: int = 1,
    limit: int | None = None,
    delay: tuple[int, int] = (0, 0),
    stack: int | None = None,
    repeat: int = 1,
    **settings,
) -> Env:
    """`worlds` worlds called `name`. `worlds` to `repeat`: see `batch.make`; `settings`: the task's.

    `stack` is 3 in Sawyer worlds and 1 in others, if nothing is said. `NAME@pixels` shows pictures in place of its
    entries (privileged ones stay), one frame unless asked for more; settings of `pixels.drawing`. `gymnasium:NAME`
    and `playground:NAME` are worlds of those libraries, with settings as in `adapters.from_gymnasium` and
    `adapters.from_playground`.
    """
    if ":" in name:
        return libraries.make(name, worlds=worlds, limit=limit, delay=delay, stack=stack, repeat=repeat, **settings)
    name = canonical(name)
    seen = name.endswith(pixels.SUFFIX)
    stack = (1 if seen else STACK.get(name.split(".")[0], 1)) if stack is None else stack
    made = task(name, worlds=worlds, **settings)
    draw = pixels.drawing(made.physics, name, worlds, **_of_pictures(name, settings)) if seen else None
    episodes = {"limit": limit, "delay": delay, "stack": stack, "repeat": repeat}
    return batch.make(made, worlds, **episodes, draw=draw, draw_only=seen)


def task(name: str, *, worlds: int = 1, **settings) -> batch.Task:
    """The task of the world `name`, for those who want its model: `task(name).physics.model`. Settings as in `make`.

    Those of pictures are known and change nothing.
    """
    name = canonical(name)
    if name not in WORLDS:
        raise ValueError(f"world '{name}' is not known; {_nearest(name, WORLDS)}; set env.name")
    constructor = WORLDS[name]()
    allowed = [p.name for p in inspect.signature(constructor).parameters.values() if p.kind == p.KEYWORD_ONLY]
    seen = pixels.SETTINGS if name.endswith(pixels.SUFFIX) else ()
    pictured = _of_pictures(name, settings)
    settings = {setting: value for setting, value in settings.items() if setting not in pictured}
    for setting in settings:
        if setting not in allowed:
            known = [*allowed, "limit", "delay", "stack", "repeat", *seen]
            raise ValueError(f"world '{name}' has no setting '{setting}'; {_nearest(setting, known)}")
    if "worlds" in allowed:
        settings["worlds"] = worlds
    return constructor(**settings)


def _of_pictures(name: str, settings: dict) -> dict:
    """Those of the settings that say how `name` is drawn."""
    return {k: v for k, v in settings.items() if k in pixels.SETTINGS and name.endswith(pixels.SUFFIX)}


def _nearest(given: str, known) -> str:
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(known)}"
