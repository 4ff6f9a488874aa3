"""What every entry point shares: its flags and their one-line errors, the compilation cache, the run folder.

An entry point is a file with a docstring and

    def main(run: cli.Run) -> None: ...

    if __name__ == "__main__":
        cli.run(main)

A config file (experiments/configs/NAME.py) has `PRESETS` {name: what it is for and its expected time},
`get_config(arg) -> ConfigDict`, and may have `LIMITS` {setting: (lowest, highest) or a list of the names allowed},
`FREE` (settings that may change when a run goes on) and `check(config)`, which raises Refused.
"""

import difflib
import importlib.util
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import jax
from absl import flags
from ml_collections import ConfigDict

from skillhier.agents.learner import begun_with
from skillhier.data import faults
from skillhier.train import checkpoint, folder
from skillhier.types import Learner

CONFIGS = Path(__file__).parent / "configs"

flags.DEFINE_string("config", None, "FILE:PRESET[,key=value,...]; then --config.NAME=VALUE changes any setting")
flags.DEFINE_string("workdir", None, "the run folder; the same command on the same folder continues the run")
flags.DEFINE_string("init_from", None, "RUN:SUBTREE, parameters of another run to begin with: skills (all), or a part")
flags.DEFINE_bool("deterministic", False, "on a GPU, kernels that give the same bits every time; slower")
flags.DEFINE_enum(
    "matmul_precision",
    "default",
    ["default", "high", "highest"],
    "of the nets' products; worlds always have the highest",
)
flags.DEFINE_bool("check", False, "validate flags and config, and exit")
flags.DEFINE_bool("check_each", False, "the same of many commands: a JSON list of arguments a line of standard input")


class Refused(ValueError):
    """Wrong use: one line that says what was given, what is allowed, and which setting to change."""


class Stopped(Exception):
    """A run that a signal ended, after saving."""

    def __init__(self, number: signal.Signals, message: str) -> None:
        super().__init__(message)
        self.code = 0 if number == signal.SIGTERM else 128 + number


class Run(NamedTuple):
    """What an entry point is asked to do."""

    name: str  # of the entry point
    config: ConfigDict | None  # locked; None for entry points without one
    workdir: Path | None
    free: tuple[str, ...] = ()  # settings that may change when a run goes on
    init_from: str | None = None  # RUN:SUBTREE, see `begun`


def run(
    main: Callable[[Run], None], *, needs_config: bool = True, learns: bool = False, argv: Sequence[str] | None = None
) -> None:
    """Parses the command line, sets up the compilation cache and calls `main`. Never returns.

    Exit codes: 0 done, or stopped by SIGTERM after saving; 2 wrong use, with one line; 1 a run that could not go on.
    """
    argv = list(sys.argv if argv is None else argv)
    module = sys.modules[main.__module__]
    name = Path(module.__file__).stem
    try:
        if any(argument in ("--help", "-h", "-help", "--helpfull") for argument in argv[1:]):
            print(help_text(name, module.__doc__ or ""))
            sys.exit(0)
        if "--check_each" in argv[1:]:
            check_each(name, needs_config)
            sys.exit(0)
        asked = parse_command(name, argv, needs_config)
        if asked.init_from and not learns:
            raise Refused(f"--init_from={asked.init_from} means nothing to {name}, which learns nothing; leave it out")
        if flags.FLAGS.check:
            print("the command and its config are valid")
            sys.exit(0)
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax reports each save in many lines
        signal.signal(signal.SIGTERM, _stop)  # until a loop listens for itself, and again after it
        set_numerics()
        open_cache()
        main(asked)
    except Stopped as stopped:
        _leave(_one_line(stopped, stopped.code))
    except KeyboardInterrupt:
        _leave(_one_line("interrupted; the same command goes on from what was saved", 130))
    except (Refused, folder.Unfit) as error:
        sys.exit(_one_line(error, 2))
    except (faults.DataFault, checkpoint.Broken, FloatingPointError) as error:
        sys.exit(_one_line(error, 1))
    sys.exit(0)


def parse_command(name: str, argv: Sequence[str], needs_config: bool = True) -> Run:
    """The command line as a Run; raises Refused. Writes nothing, compiles nothing."""
    changes, rest = [], [argv[0]]
    arguments = iter(argv[1:])
    for argument in arguments:
        stripped = argument.lstrip("-")
        if argument.startswith("-") and stripped.startswith("config."):
            path, equals, text = stripped.removeprefix("config.").partition("=")
            changes.append((path, text if equals else next(arguments, "")))
        else:
            rest.append(argument)
    try:
        extra = flags.FLAGS(rest)[1:]
    except flags.UnrecognizedFlagError as error:
        raise Refused(_unknown("flag", f"--{error.flagname}", [f"--{flag}" for flag in flags.FLAGS])) from None
    except flags.Error as error:
        raise Refused(" ".join(str(error).split())) from None
    if extra:
        raise Refused(f"{extra[0]!r} means nothing here; flags begin with --, see --help")
    workdir = Path(flags.FLAGS.workdir) if flags.FLAGS.workdir else None
    if not flags.FLAGS.config:
        if needs_config or changes:
            example = f"experiments/configs/{name}.py:{next(iter(_presets(name)), 'PRESET')}"
            raise Refused(f"--config is missing; for example --config={example}, see --help for the presets")
        return Run(name, None, workdir, init_from=flags.FLAGS.init_from)
    config, module = load_config(flags.FLAGS.config, changes)
    return Run(name, config, workdir, tuple(getattr(module, "FREE", ())), flags.FLAGS.init_from)


def check_each(name: str, needs_config: bool = True) -> None:
    """Holds every line of standard input to what this entry point takes: {"config": settings} or {"refused": why}."""
    for line in sys.stdin:
        for flag in flags.FLAGS:
            flags.FLAGS[flag].unparse()
        try:
            asked = parse_command(name, [name, *json.loads(line)], needs_config)
            told = {"config": flat(asked.config) if asked.config is not None else {}}
        except Refused as error:
            told = {"refused": " ".join(str(error).split())}
        print(json.dumps(told))


def load_config(address: str, changes: Iterable[tuple[str, str]] = ()) -> tuple[ConfigDict, ModuleType]:
    """The locked, validated config at 'FILE:PRESET[,key=value,...]' after `changes`, and the config file's module."""
    file, _, argument = address.partition(":")
    module = _load_module(Path(file))
    config = module.get_config(argument)
    config.lock()
    for path, text in changes:
        _change(config, path, text)
    validate(config, module)
    return config, module


def validate(config: ConfigDict, module: ModuleType) -> None:
    """Holds a config to its file's LIMITS and check. Raises Refused."""
    settings = flat(config)
    for path, limit in getattr(module, "LIMITS", {}).items():
        if path not in settings:  # of another agent
            continue
        value = settings[path]
        if isinstance(limit, list):
            if value not in limit:
                raise Refused(_unknown(f"config.{path}", repr(value), limit))
        elif not all(limit[0] <= number <= limit[1] for number in (value if isinstance(value, tuple) else (value,))):
            raise Refused(f"config.{path} is {value}; it must lie between {limit[0]} and {limit[1]}")
    getattr(module, "check", lambda _: None)(config)


def choose(argument: str, presets: Iterable[str], **options: Any) -> SimpleNamespace:
    """Reads 'PRESET[,key=value,...]'.

    An option's value here is its default, or a list of the names allowed, the default first.
    """
    given, *pairs = argument.split(",")
    presets = list(presets)
    if given not in presets:
        raise Refused(_unknown("preset", repr(given), presets))
    chosen = {name: value[0] if isinstance(value, list) else value for name, value in options.items()}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name not in options:
            raise Refused(_unknown("option", repr(name), options))
        if isinstance(options[name], list) and text not in options[name]:
            raise Refused(_unknown(name, repr(text), options[name]))
        chosen[name] = _convert(name, text, chosen[name])
    return SimpleNamespace(preset=given, **chosen)


def pick(what: str, name: str, table: dict[str, Any]) -> Any:
    """table[name]; raises Refused with the nearest name where there is none."""
    if name not in table:
        raise Refused(_unknown(what, repr(name), list(table)))
    return table[name]


def open_run(asked: Run, workdir: Path | None = None) -> tuple[Path, dict[str, str]]:
    """Opens the run folder and writes its config.json: (its path, what a continued run must share with this one)."""
    path = workdir or asked.workdir or Path("runs") / f"{asked.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    settings = flat(asked.config) if asked.config is not None else {}
    if asked.init_from:
        settings["init_from"] = asked.init_from
    return folder.enter(path, asked.name, settings, asked.free)


def begun(asked: Run, learner: Learner) -> Learner:
    """`learner`, which begins with the parameters that --init_from names, if it is given. Raises Refused, Broken."""
    if not asked.init_from:
        return learner
    source, _, subtree = asked.init_from.rpartition(":")
    if not source or not subtree:
        raise Refused(
            f"--init_from={asked.init_from} is not RUN:SUBTREE, for example runs/skills:skills or runs/skills:low"
        )
    parts = [] if subtree == "skills" else subtree.strip("/").split("/")
    found = checkpoint.read(Path(source), "/".join(["learner/params", *parts]))
    for part in reversed(parts):
        found = {part: found}
    learner = begun_with(learner, found)
    try:
        jax.eval_shape(learner.init, jax.random.key(0))
    except ValueError as error:
        raise Refused(
            f"--init_from={asked.init_from} does not fit: {error}; take config.agent of that run, or another part"
        ) from None
    return learner


def set_numerics() -> None:
    """What --deterministic and --matmul_precision ask for; before the first use of a device."""
    if flags.FLAGS.deterministic:  # implies that no kernel is chosen by its time; nothing is left to chance on a CPU
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    if flags.FLAGS.matmul_precision != "default":
        jax.config.update("jax_default_matmul_precision", flags.FLAGS.matmul_precision)


def open_cache() -> None:
    """Compiled programs are kept between runs, per user, in a folder that nobody else can write.

    Whoever can write there can have this process run any code: a folder open to others is refused.
    """
    top = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skillhier"
    for cache in (top, top / "xla"):
        try:
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = cache.stat()
        except OSError as error:
            print(f"no compilation cache: {cache}: {error.strerror}; set XDG_CACHE_HOME to keep one", file=sys.stderr)
            return
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise Refused(f"others can write the compilation cache {cache}; chmod 700 it, or set XDG_CACHE_HOME")
        if status.st_mode & 0o077:
            cache.chmod(0o700)
    jax.config.update("jax_compilation_cache_dir", str(top / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def help_text(name: str, doc: str) -> str:
    """The entry point's docstring, its presets and their times, its settings, its flags."""
    lines = [doc.strip(), ""]
    presets = _presets(name)
    if presets:
        file = f"experiments/configs/{name}.py"
        lines += [f"presets (--config={file}:PRESET):"]
        lines += [f"  {preset:<14} {purpose}" for preset, purpose in presets.items()]
        config, _ = load_config(f"{CONFIGS / name}.py:{next(iter(presets))}")
        lines += ["", f"settings (--config.NAME=VALUE), here as in {next(iter(presets))}:"]
        lines += [f"  {path} = {value}" for path, value in sorted(flat(config).items())]
    lines += ["", "flags:"]
    modules = flags.FLAGS.flags_by_module_dict()
    ours = (__name__, sys.argv[0], f"experiments.{name}")  # absl names the file that was run by its command
    shown = [flag for module in ours for flag in modules.get(module, [])]
    lines += [f"  --{flag.name:<12} {flag.help}" for flag in sorted(shown, key=lambda flag: flag.name)]
    return "\n".join(lines)


def flat(config: ConfigDict, above: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    found = {}
    for name, value in config.items():
        found.update(flat(value, f"{above}{name}.") if isinstance(value, ConfigDict) else {f"{above}{name}": value})
    return found


def _load_module(file: Path) -> ModuleType:
    if not file.is_file():
        there = [os.path.relpath(path) for path in sorted(CONFIGS.glob("*.py")) if path.stem != "__init__"]
        raise Refused(_unknown("config file", str(file), there))
    spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
    if spec is None:
        raise Refused(f"config file {file} is no Python file; give --config=FILE.py:PRESET")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise Refused(f"config file {file} has no get_config; choose one of experiments/configs")
    return module


def _presets(name: str) -> dict[str, str]:
    file = CONFIGS / f"{name}.py"
    return _load_module(file).PRESETS if file.is_file() else {}


def _change(config: ConfigDict, path: str, text: str) -> None:
    known = flat(config)
    if path not in known:
        groups = {name.rpartition(".")[0] for name in known} - {""}
        if path in groups:
            raise Refused(f"config.{path} is a group; set one of {', '.join(n for n in known if n.startswith(path))}")
        raise Refused(_unknown("setting", f"config.{path}", [f"config.{name}" for name in known]))
    value = _convert(f"config.{path}", text, known[path])
    *groups, last = path.split(".")
    group = config
    for name in groups:
        group = group[name]
    group[last] = value


def _convert(name: str, text: str, like: Any) -> Any:
    """`text` as a value of the type of `like`."""
    try:
        if isinstance(like, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if isinstance(like, int):
            number = float(text) if "e" in text.lower() else int(text)
            return int(number) if number == int(number) else int("not whole")
        if isinstance(like, float):
            number = float(text)
            return number if math.isfinite(number) else float("not finite")
        if isinstance(like, tuple):
            kind = like[0] if like else ""
            return tuple(_convert(name, part.strip(), kind) for part in text.strip("()[]").split(",") if part.strip())
        return text
    except (ValueError, KeyError, OverflowError):
        kinds = {bool: "true or false", int: "a whole number", float: "a finite number"}
        raise Refused(f"{name} wants {kinds[type(like)]}, not {text!r} (now {like})") from None


def _unknown(what: str, given: str, known: Iterable[str]) -> str:
    known = [str(name) for name in known]
    near = difflib.get_close_matches(given.strip("'"), known, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]}? " if near else ""
    listed = f"choose {', '.join(known)}" if len(known) <= 12 else "--help lists all"
    return f"{what} {given} is not known; {guess}{listed}"


def _stop(number: int, _frame: object) -> None:
    _leave(_one_line("stopped; the same command goes on from what was saved", 0))


def _leave(code: int) -> None:
    """Ends the process at once, without tidying up and without raising anything.

    A compiled program that calls back to Python would otherwise be waited for by an interpreter that answers no
    more; and where its callback runs in this thread, it would take an exception for a fault of its own.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _one_line(error: Exception | str, code: int) -> int:
    print(" ".join(str(error).split()), file=sys.stderr)
    return code
