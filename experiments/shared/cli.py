"""What every entry point shares: its flags and their one-line errors, the compilation cache, the run folder.

An entry point is a file with a docstring and

    def main(run: cli.Run) -> None: ...

    if __name__ == "__main__":
        cli.run(main)

and perhaps `check(run)`, which refuses flags before `main` and for --check; it reads no data and builds no worlds.
What a config file is stands in settings.py, how a command ends in endings.py; both are to be had from here too.
"""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
from absl import flags
from jax.sharding import Mesh
from ml_collections import ConfigDict

from experiments.shared import endings, help_page, preflight, streams, world_settings
from experiments.shared.compilation_cache import open_cache
from experiments.shared.endings import RunStopped
from experiments.shared.settings import (
    CONFIGS,
    Refused,
    change,
    choose,
    flat,
    load_config,
    pick,
    presets,
    unknown,
    validate,
)
from skillhier.distributed import hosts, sharding
from skillhier.train import checkpoint, run_folder, trackers

__all__ = [
    "CONFIGS",
    "Refused",
    "RunStopped",
    "change",
    "choose",
    "flat",
    "load_config",
    "pick",
    "validate",
]  # of settings.py, endings.py

flags.DEFINE_string("config", None, "FILE:PRESET[,key=value,...]; then --config.NAME=VALUE changes any setting")
flags.DEFINE_string("workdir", None, "the run folder; the same command on the same folder continues the run")
flags.DEFINE_string("init_from", None, "RUN:PART, parameters of another run to begin with: all, or a part by its name")
flags.DEFINE_bool("deterministic", False, "on a GPU, kernels that give the same bits every time; slower")
flags.DEFINE_enum(
    "matmul_precision",
    "default",
    ["default", "high", "highest"],
    "of the nets' products; worlds always have the highest",
)
flags.DEFINE_integer("devices", 0, "of each machine's devices, how many share the work; 0: all")
flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of host 0, where several hosts work on one run; read from JAX_... or Slurm"
)
flags.DEFINE_integer("hosts", None, "how many hosts work together, each started with this command; 1: this one alone")
flags.DEFINE_integer("host", None, "which of them this is, from 0 on")
flags.DEFINE_float("host_timeout", 60.0, "s without a word from another host until it is given up", 1.0, 1e6)
flags.DEFINE_enum("track", "none", ["none", *trackers.LIBRARIES], "also keep metrics there; on this machine by default")
flags.DEFINE_string("track_project", "skillhier", "the project there")
flags.DEFINE_bool("track_online", False, "send them to wandb while the run goes on; else `wandb sync` does")
flags.DEFINE_bool("check", False, "validate flags and config, and exit")
flags.DEFINE_bool("check_each", False, "the same of many commands: a JSON list of arguments a line of standard input")
SHORT = ("run",)  # flags of some entry points that stand for the setting of that name
TRACKING = ("track", "track_project", "track_online")
LEARNING = ("init_from", "devices", "coordinator", "hosts", "host", *TRACKING)  # flags of entry points that learn


class Run(NamedTuple):
    """What an entry point is asked to do."""

    name: str  # of the entry point
    config: ConfigDict | None  # locked; None for entry points without one
    workdir: Path | None
    free: tuple[str, ...] = ()  # settings that may change when a run goes on
    init_from: str | None = None  # RUN:PART, see learning.with_init_from
    mesh: Mesh | None = None  # the devices that share the work, if there are several
    tracker: trackers.Tracker | None = None  # where metrics go beside the run folder
    env_from: tuple[str, ...] = ()  # modules that register the user's own worlds


def run(
    main: Callable[[Run], None], *, needs_config: bool = True, learns: bool = False, argv: Sequence[str] | None = None
) -> None:
    """Parses the command line, sets up the compilation cache and calls `main`. Never returns.

    Exit codes: 0 done, or stopped by SIGTERM after saving; 2 wrong use, with one line; 1 a run that could not go on.
    """
    argv = list(sys.argv if argv is None else argv)
    module = sys.modules[main.__module__]
    name = Path(module.__file__).stem
    if module.__name__ == "__main__":
        streams.settle(heedless=needs_config)
    with endings.handled(module.__name__):
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # until here experiments/__init__.py heard it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if any(argument in ("--help", "-h", "-help", "--helpfull") for argument in argv[1:]):
            print(help_page.text(name, module.__doc__ or "", argv), flush=True)
            sys.exit(0)
        if "--check_each" in argv[1:]:
            check_each(name, needs_config, learns, module)
            sys.exit(0)
        asked = parse_command(name, argv, needs_config)
        look(asked, learns, module)
        place = find_host(asked) if learns else None
        asked = asked._replace(tracker=find_tracker())
        if flags.FLAGS.check:
            print("the command and its config are valid")
            sys.exit(0)
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax reports each save in many lines
        signal.signal(signal.SIGTERM, endings.stop)  # until a loop listens for itself, and again after it
        set_numerics()
        open_cache()
        if place:
            join(place, asked, argv)
        main(asked._replace(mesh=make_mesh()) if learns else asked)
        sys.stdout.flush()
        hosts.shutdown()
    sys.exit(0)


def parse_command(name: str, argv: Sequence[str], needs_config: bool = True) -> Run:
    """The command line as a Run; raises Refused. Writes nothing, compiles nothing."""
    preflight.check_arguments(argv[1:])
    changes, rest = [], [argv[0]]
    arguments = iter(argv[1:])
    for argument in arguments:
        stripped = argument.lstrip("-")
        if argument.startswith("-") and stripped.startswith("config."):
            path, equals, text = stripped.removeprefix("config.").partition("=")
            changes.append((path, text if equals else next(arguments, "")))
        else:
            rest.append(argument)
    for flag in flags.FLAGS:
        flags.FLAGS[flag].unparse()  # what another command gave this process
    try:
        extra = flags.FLAGS(rest)[1:]
    except flags.UnrecognizedFlagError as error:
        raise Refused(unknown("flag", f"--{error.flagname}", [f"--{flag}" for flag in flags.FLAGS])) from None
    except flags.Error as error:
        raise Refused(" ".join(str(error).split())) from None
    if extra:
        raise Refused(f"{extra[0]!r} means nothing here; flags begin with --, see --help")
    preflight.check_numbers(flags.FLAGS)
    world_settings.import_own()
    workdir = Path(flags.FLAGS.workdir) if flags.FLAGS.workdir else None
    if not flags.FLAGS.config:
        if needs_config or changes:
            example = f"experiments/configs/{name}.py:{next(iter(presets(name)), 'PRESET')}"
            raise Refused(f"--config is missing; for example --config={example}, see --help for the presets")
        return Run(name, None, workdir, init_from=flags.FLAGS.init_from, env_from=tuple(flags.FLAGS.env_from))
    preflight.check_config_file(name, flags.FLAGS.config, needs_config)
    short = {name: flags.FLAGS[name].value for name in SHORT if name in flags.FLAGS and flags.FLAGS[name].value}
    config, module = load_config(flags.FLAGS.config, changes, short)
    getattr(module, "check_beginning", lambda *_: None)(config, flags.FLAGS.init_from)
    return Run(
        name,
        config,
        workdir,
        tuple(getattr(module, "FREE", ())),
        flags.FLAGS.init_from,
        env_from=tuple(flags.FLAGS.env_from),
    )


def look(asked: Run, learns: bool, module: ModuleType | None = None, missing_ok: bool = False) -> None:
    """Looks at all that the command names, before anything is written; see preflight.py. Raises Refused."""
    if not learns:
        preflight.check_learning(asked.name, LEARNING)
    path = asked.workdir or (asked.config or {}).get("folder")  # collect names one in its config
    with preflight.refusing():
        preflight.check_flags(missing_ok)
        if asked.config is not None and path:
            preflight.check_run(Path(path), run_settings(asked), asked.free)
        getattr(module, "check", lambda _: None)(asked)


def check_each(name: str, needs_config: bool = True, learns: bool = True, module: ModuleType | None = None) -> None:
    """Holds every line of standard input to what this entry point takes: {"config": settings} or {"refused": why}."""
    for line in sys.stdin:
        try:
            asked = parse_command(name, [name, *json.loads(line)], needs_config)
            look(asked, learns, module, missing_ok=True)
            answer = {"config": flat(asked.config) if asked.config is not None else {}}
        except (Refused, run_folder.RunFolderError) as error:
            answer = {"refused": " ".join(str(error).split())}
        print(json.dumps(answer))


def run_settings(asked: Run) -> dict[str, Any]:
    """What the run folder keeps of a command: its config, and the flags that a continued run must share."""
    settings = flat(asked.config) if asked.config is not None else {}
    if asked.init_from:
        settings["init_from"] = asked.init_from
    if asked.env_from:
        settings["env_from"] = list(asked.env_from)
    return settings


def open_run(asked: Run, workdir: Path | None = None) -> tuple[Path, dict[str, str]]:
    """Opens the run folder and writes its config.json: (its path, what a continued run must share with this one)."""
    path = workdir or asked.workdir or Path("runs") / f"{asked.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    settings = run_settings(asked)
    if not hosts.is_main_host():
        return path, run_folder.fingerprint(settings, asked.free)
    begun = (path / "config.json").exists()
    opened = run_folder.open_run(path, asked.name, settings, asked.free)
    if not begun:
        endings.FRESH.append(path)
    return opened


def find_host(asked: Run) -> hosts.HostPlace | None:
    """Which of several hosts this is; None if there is but one. Raises Refused."""
    given = flags.FLAGS
    try:
        place = hosts.find_place(os.environ, given.coordinator, given.hosts, given.host)
    except ValueError as error:
        raise Refused(str(error)) from None
    if place and not asked.workdir:
        raise Refused(f"{place.hosts} hosts need --workdir, a run folder that all of them see")
    return place


def join(place: hosts.HostPlace, asked: Run, argv: Sequence[str]) -> None:
    """Waits for the other hosts; what follows is done by a child of this process. Raises Refused."""

    def last() -> str:
        saved = checkpoint.steps(asked.workdir / "checkpoints")
        return f"from update {saved[-1]}" if saved else "from the beginning"

    shared = [argument for argument in argv[1:] if not argument.lstrip("-").startswith("host=")]
    try:
        hosts.join(place, shared, patience=flags.FLAGS.host_timeout, last=last)
    except ValueError as error:
        raise Refused(str(error)) from None


def find_tracker() -> trackers.Tracker | None:
    """What --track asks for. Raises Refused where its library is not installed."""
    given = flags.FLAGS
    if given.track == "none":
        for flag in TRACKING[1:]:
            if given[flag].present:
                raise Refused(f"--{flag} means nothing without --track; set --track=wandb or --track=trackio")
        return None
    tracker = trackers.Tracker(given.track, given.track_project, given.track_online)
    try:
        trackers.check(tracker)
    except ValueError as error:
        raise Refused(str(error)) from None
    return tracker


def make_mesh() -> Mesh | None:
    """The devices that --devices asks for; None for a single one. Raises Refused."""
    try:
        return sharding.mesh(flags.FLAGS.devices)
    except ValueError as error:
        raise Refused(str(error)) from None


def set_numerics() -> None:
    """What --deterministic and --matmul_precision ask for; before the first use of a device."""
    if flags.FLAGS.deterministic:  # implies that no kernel is chosen by its time; nothing is left to chance on a CPU
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    if flags.FLAGS.matmul_precision != "default":
        jax.config.update("jax_default_matmul_precision", flags.FLAGS.matmul_precision)
