"""Worlds by name: `make(name, worlds=..., ...) -> Env`, `names()`. Listing them builds nothing.

`register_task` and `register_env` add worlds of one's own.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable
from functools import partial

from skillhier.envs import batch, limits, relabel
from skillhier.envs.adapters import identifiers, libraries
from skillhier.envs.render import pixels
from skillhier.types import Env, TimeStep

EPISODES = ("limit", "delay", "stack", "repeat")  # settings of `make` that no task has
SETS = (1, 2, 3, 4, 5)
MAZES = ("s", "m", "l", "xl")
FETCH = ("push", "pick_and_place")
COLOURS = ("red", "green", "blue")
QUADRUPED = (
    "walk", "walk_upright", "run", "reach", "reach_upright", "obstacles_random", "obstacles_line", "obstacles_cove",
)  # fmt: skip


def _sawyer(number: int, goal) -> Callable[..., batch.Task]:
    from skillhier.envs.sawyer import objects, tasks

    return partial(tasks.make, objects.OBJECT_SETS[number], goal)


def _suite(domain: str, *arguments) -> Callable[..., batch.Task]:
    return partial(importlib.import_module(f"skillhier.envs.dmc.{domain}").make, *arguments)


def _antmaze(maze: str) -> Callable[..., batch.Task]:
    from skillhier.envs.antmaze import tasks

    return partial(tasks.make, maze)


def _fetch(name: str) -> Callable[..., batch.Task]:
    from skillhier.envs.fetch import tasks

    return partial(tasks.make, name)


def _point() -> Callable[..., batch.Task]:
    from skillhier.envs import point

    return point.make


def _quadruped(name: str) -> Callable[..., batch.Task]:
    from skillhier.envs.dmc import quadruped

    return quadruped.TASKS[name]


# name -> a function that returns the constructor of its Task, which takes keyword settings
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
    **{f"antmaze.{maze}": partial(_antmaze, maze) for maze in MAZES},
    **{f"fetch.{name}": partial(_fetch, name) for name in FETCH},
}
# the same worlds with pictures
WORLDS |= {f"{name}{pixels.SUFFIX}": constructor for name, constructor in WORLDS.items()}
WORLDS["point.path"] = _point  # has no bodies to be drawn
BUILT_IN = frozenset(WORLDS)
ENVS: dict[str, Callable[..., Env]] = {}  # worlds of one's own that are no tasks
STACK = {"sawyer": 3}  # default of `stack` for a family of worlds; 1 for others


def names() -> tuple[str, ...]:
    """All worlds."""
    return (*WORLDS, *ENVS)


def limit_of(name: str) -> int | None:
    """Control steps of an episode of the world `name`, without building it; None for a world of one's own."""
    return limits.LIMITS[name.split(".")[0]] if name in BUILT_IN else None


def register_task(name: str, constructor: Callable[..., batch.Task]) -> None:
    """Adds a world of one's own: constructor(**settings) -> batch.Task, whose keywords are the world's settings.

    With it comes `NAME@pixels`. Raises ValueError: a name that is taken, or that a command line could not give.
    """
    _check_new(name)
    WORLDS[name] = WORLDS[f"{name}{pixels.SUFFIX}"] = lambda: constructor


def register_env(name: str, constructor: Callable[..., Env]) -> None:
    """Adds a world of one's own that is no task: constructor(worlds=..., **settings) -> Env.

    Of limit, delay, stack and repeat it is given those that are asked for, and need not know any. Raises ValueError as
    `register_task`.
    """
    _check_new(name)
    ENVS[name] = constructor


def canonical(name: str) -> str:
    """How the registry spells `name`: dmc/cheetah_run is dmc.cheetah_run. Names of other libraries are theirs, but
    gymnasium:skillhier/dmc.cheetah_run-v0, which data recorded through gymnasium name, is that world too.
    """
    if name.startswith(f"gymnasium:{identifiers.NAMESPACE}/"):
        return {identifiers.identifier(own): own for own in names()}.get(name.partition(":")[2], name)
    return name if ":" in name else name.replace("/", ".", 1)


def check(name: str) -> str:
    """`name` as the registry spells it; raises ValueError with the nearest name where it has no such world.

    Of a world of another library only the library is looked at, so nothing is imported.
    """
    name = canonical(name)
    if ":" in name:
        libraries.split(name)
    elif name not in WORLDS and name not in ENVS:
        raise ValueError(f"world '{name}' is not known; {_nearest(name, names())}")
    return name


def make(
    name: str,
    *,
    worlds: int = 1,
    limit: int | None = None,
    delay: tuple[int, int] = (0, 0),
    stack: int | None = None,
    repeat: int = 1,
    entries: bool = False,
    **settings,
) -> Env:
    """`worlds` worlds called `name`. `worlds` to `repeat`: see `batch.make`; `settings`: the task's.

    `stack`, newest frame first, is by default 3 in Sawyer worlds and 1 in others. `NAME@pixels` has pictures in place
    of its entries (privileged ones stay), by default one frame; it takes the settings of `pixels.drawing`, and with
    `entries` shows its entries beside the pictures. `gymnasium:NAME` and `playground:NAME` are worlds of those
    libraries, with settings as in `adapters.from_gymnasium` and `adapters.from_playground`.
    """
    name = canonical(name)
    if ":" in name:
        return libraries.make(name, worlds=worlds, limit=limit, delay=delay, stack=stack, repeat=repeat, **settings)
    if name in ENVS:
        return _make_env(name, worlds, limit=limit, delay=tuple(delay), stack=stack, repeat=repeat, **settings)
    pictured = name.endswith(pixels.SUFFIX)
    if entries and not pictured:
        raise ValueError(f"world '{name}' shows its entries and no pictures; set env.name={name}{pixels.SUFFIX}")
    stack = (1 if pictured else STACK.get(name.split(".")[0], 1)) if stack is None else stack
    world_task = task(name, worlds=worlds, **settings)
    draw = pixels.drawing(world_task.physics, name, worlds, **_picture_settings(name, settings)) if pictured else None
    episodes = {"limit": limit, "delay": delay, "stack": stack, "repeat": repeat}
    return batch.make(world_task, worlds, **episodes, draw=draw, draw_only=pictured and not entries)


def task(name: str, *, worlds: int = 1, **settings) -> batch.Task:
    """The task of the world `name`, e.g. for its model `task(name).physics.model`. Settings as in `make`; those of
    pictures are accepted and ignored.
    """
    name = canonical(name)
    if name in ENVS:
        raise ValueError(f"world '{name}' is an Env of its own and no task; choose another")
    if check(name) not in WORLDS:
        raise ValueError(f"world '{name}' is another library's and no task; choose another")
    constructor = WORLDS[name]()
    allowed = [p.name for p in inspect.signature(constructor).parameters.values() if p.kind == p.KEYWORD_ONLY]
    extra = pixels.SETTINGS if name.endswith(pixels.SUFFIX) else ()
    picture_settings = _picture_settings(name, settings)
    settings = {setting: value for setting, value in settings.items() if setting not in picture_settings}
    for setting in settings:
        if setting not in allowed:
            known = [*allowed, *EPISODES, *extra, *(["entries"] if extra else [])]
            raise ValueError(f"world '{name}' has no setting '{setting}'; {_nearest(setting, known)}")
    if "worlds" in allowed:
        settings["worlds"] = worlds
    return constructor(**settings)


def relabelling(name: str, *, worlds: int = 1, repeat: int = 1, **settings) -> Callable[[TimeStep], TimeStep]:
    """What the world `name` would have shown and paid on stored rows of another one: see `relabel.relabelling`.

    It takes the settings of `make`; those of episodes do not matter. Raises ValueError: a world whose reward cannot be
    computed from rows.
    """
    computed = None
    if ":" not in name and not name.endswith(pixels.SUFFIX):  # pictures cannot be drawn anew
        of_task = {setting: value for setting, value in settings.items() if setting not in EPISODES}
        computed = relabel.relabelling(task(name, **of_task), repeat)
    if computed is None:
        raise ValueError(
            f"what '{name}' pays cannot be computed from stored rows; of dmc.quadruped_{{{','.join(QUADRUPED)}}} it can"
        )
    return computed


def _make_env(name: str, worlds: int, **settings) -> Env:
    """A world of ENVS, with those of the settings that are asked for. Raises ValueError for one it does not have."""
    constructor = ENVS[name]
    plain = {"limit": (None,), "delay": ((0, 0),), "stack": (None, 1), "repeat": (1,)}
    settings = {setting: value for setting, value in settings.items() if value not in plain.get(setting, ())}
    parameters = inspect.signature(constructor).parameters
    if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values()):
        for setting in settings.keys() - parameters.keys():
            raise ValueError(f"world '{name}' has no setting '{setting}'; {_nearest(setting, parameters)}")
    env = constructor(worlds=worlds, **settings)
    if env.spec.worlds != worlds:
        raise ValueError(f"world '{name}' made {env.spec.worlds} worlds where {worlds} were asked for")
    return env


def _check_new(name: str) -> None:
    if name in WORLDS or name in ENVS:
        raise ValueError(f"world '{name}' is registered already; choose another name")
    if not name or set(name) & set(":@,=/ "):
        raise ValueError(f"world '{name}' cannot be named on a command line; leave out : @ , = / and spaces")


def _picture_settings(name: str, settings: dict) -> dict:
    """Those of the settings that say how `name` is drawn."""
    return {k: v for k, v in settings.items() if k in pixels.SETTINGS and name.endswith(pixels.SUFFIX)}


def _nearest(name: str, known) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(known)}"
