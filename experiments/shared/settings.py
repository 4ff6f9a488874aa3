"""Configs of entry points: reading, changing and checking them, each mistake in one line with the nearest valid name.

A config file (experiments/configs/NAME.py) has `PRESETS` {name: what it is for and its expected time},
`get_config(arg) -> ConfigDict`, and may have `LIMITS` {setting: (lowest, highest) or a list of the names allowed},
`FREE` (settings that may change when a run goes on), `check(config)` and `check_beginning(config, init_from)`, which
raise Refused. A limit of a tuple may say how many numbers it has: (lowest, highest, count), or SOME for one or more.
"""

import difflib
import importlib.util
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

from ml_collections import ConfigDict

CONFIGS = Path(__file__).parents[1] / "configs"
# what an entry point's --help lists all of; settings depend on options of the preset, such as the agent
IN_HELP = dict.fromkeys(("flag", "preset"), "--help lists all") | {"setting": "--help with this --config lists all"}
KINDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}
SOME = "some"  # how many numbers a tuple has that may not be empty
SMALLEST, LARGEST = 1.2e-38, 3.4e38  # of the numbers of float32, but for 0


class Refused(ValueError):
    """Wrong use: one line that says what was given, what is allowed, and which setting to change."""


def load_config(
    address: str, changes: Iterable[tuple[str, str]] = (), flags: Mapping[str, str] = MappingProxyType({})
) -> tuple[ConfigDict, ModuleType]:
    """The locked, validated config at 'FILE:PRESET[,key=value,...]' after `changes`, and the config file's module.

    flags: values of flags that are another name of settings, where the config has one of that name
    """
    file, _, argument = address.partition(":")
    module = _load_module(Path(file))
    config = module.get_config(argument)
    config.lock()
    limits = getattr(module, "LIMITS", {})
    for path, text in changes:
        change(config, path, text, limits)
    for name, text in flags.items():
        if name in config:
            change(config, name, text, limits)
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
                raise Refused(unknown(f"config.{path}", repr(value), limit))
            continue
        lowest, highest, *lengths = limit
        if isinstance(value, tuple) and lengths == [SOME] and not value:
            raise Refused(f"config.{path} is empty; give one number, or several separated by commas")
        if isinstance(value, tuple) and lengths not in ([], [SOME], [len(value)]):
            raise Refused(f"config.{path} is {value}; it must have {lengths[0]} numbers, separated by a comma")
        if not all(lowest <= number <= highest for number in (value if isinstance(value, tuple) else (value,))):
            raise Refused(f"config.{path} is {value}; it must lie between {lowest} and {highest}")
    getattr(module, "check", lambda _: None)(config)


def choose(argument: str, presets: Iterable[str], **options: Any) -> SimpleNamespace:
    """Reads 'PRESET[,key=value,...]'.

    An option's value here is its default, or a list of the names allowed, the default first.
    """
    given, *pairs = argument.split(",")
    presets = list(presets)
    if given not in presets:
        raise Refused(unknown("preset", repr(given), presets))
    chosen = {name: value[0] if isinstance(value, list) else value for name, value in options.items()}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        of = [option for option, value in options.items() if isinstance(value, list) and name in value]
        if of and not equals:  # its value alone
            raise Refused(f"option {name!r} is a value of option {of[0]}; write {of[0]}={name}")
        if name not in options:
            raise Refused(unknown("option", repr(name), options))
        if isinstance(options[name], list) and text not in options[name]:
            raise Refused(unknown(name, repr(text), options[name]))
        chosen[name] = _convert(name, text, chosen[name])
    return SimpleNamespace(preset=given, **chosen)


def pick(what: str, name: str, table: dict[str, Any]) -> Any:
    """table[name]; raises Refused with the nearest name where there is none."""
    if name not in table:
        raise Refused(unknown(what, repr(name), list(table)))
    return table[name]


def flat(config: ConfigDict, above: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    settings = {}
    for name, value in config.items():
        settings.update(flat(value, f"{above}{name}.") if isinstance(value, ConfigDict) else {f"{above}{name}": value})
    return settings


def presets(name: str) -> dict[str, str]:
    file = CONFIGS / f"{name}.py"
    return _load_module(file).PRESETS if file.is_file() else {}


def change(config: ConfigDict, path: str, text: str, limits: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Sets the setting `path` to what `text` says. `limits` tell of an empty tuple what it holds. Raises Refused."""
    known = flat(config)
    if path not in known:
        groups = {name.rpartition(".")[0] for name in known} - {""}
        if path in groups:
            raise Refused(f"config.{path} is a group; set one of {', '.join(n for n in known if n.startswith(path))}")
        raise Refused(unknown("setting", f"config.{path}", [f"config.{name}" for name in known]))
    limit = limits.get(path)
    element = limit[0] if isinstance(limit, tuple) else ""
    value = _convert(f"config.{path}", text, known[path], element)
    *groups, last = path.split(".")
    group = config
    for name in groups:
        group = group[name]
    group[last] = value


def _load_module(file: Path) -> ModuleType:
    try:
        is_file = file.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or a folder that cannot be looked into
        raise Refused(f"config file {str(file)[:80]}: {getattr(error, 'strerror', None) or error}") from None
    if not is_file:
        there = [os.path.relpath(path) for path in sorted(CONFIGS.glob("*.py")) if path.stem != "__init__"]
        raise Refused(unknown("config file", str(file), there))
    spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
    if spec is None:
        raise Refused(f"config file {file} is no Python file; give --config=FILE.py:PRESET")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise Refused(f"config file {file} has no get_config; choose one of experiments/configs")
    return module


def _convert(name: str, text: str, like: Any, element: Any = "") -> Any:
    """`text` as a value of the type of `like`; of an empty tuple the type of its elements is that of `element`."""
    is_tuple = isinstance(like, tuple)
    kind = (like[0] if like else element) if is_tuple else like
    try:
        if is_tuple:
            return tuple(_read(part.strip(), kind) for part in text.strip("()[] ").split(",") if part.strip())
        return _read(text, kind)
    except (ValueError, KeyError, OverflowError):
        several = ", or several separated by commas" if is_tuple else ""
        raise Refused(f"{name} wants {KINDS[type(kind)]}{several}, not {text!r} (now {like})") from None


def _read(text: str, like: Any) -> Any:
    """`text` as a value of the type of `like`. Raises ValueError, KeyError, OverflowError."""
    if isinstance(like, bool):
        return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    if isinstance(like, int):
        number = float(text) if "e" in text.lower() else int(text)
        return int(number) if number == int(number) else int("not whole")
    if isinstance(like, float):
        return finite(float(text))
    return text


def finite(number: float) -> float:
    """`number`, which programs hold as float32. Raises ValueError where that is no number, or 0 and this is not."""
    if not math.isfinite(number) or abs(number) > LARGEST or 0 < abs(number) < SMALLEST:
        raise ValueError(f"{number} is no finite number of float32; give 0, or {SMALLEST:.1g} to {LARGEST:.1g}")
    return number


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """One line about a name that is not known: the nearest one, and all there are or where they are listed."""
    known = [str(name) for name in known]
    listed = f"choose {', '.join(known)}" if len(known) <= 12 or what not in IN_HELP else IN_HELP[what]
    return f"{what} {given} is not known; {guess(given, known)}{listed}"


def guess(given: str, known: Iterable[str]) -> str:
    """A question whether the name most like it was meant; empty where none is like it."""
    near = difflib.get_close_matches(given.strip("'"), list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]}? " if near else ""
