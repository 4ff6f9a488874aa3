"""Configs of entry points: reading, changing and checking them, each mistake in one line with the nearest valid name.

A config file (experiments/configs/NAME.py) has `PRESETS` {name: what it is for and its expected time},
`get_config(arg) -> ConfigDict`, and may have `LIMITS` {setting: (lowest, highest) or a list of the names allowed},
`FREE` (settings that may change when a run goes on), `check(config)` and `check_beginning(config, init_from)`, which
raise Refused.
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
    for path, text in changes:
        change(config, path, text)
    for name, text in flags.items():
        if name in config:
            change(config, name, text)
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
        raise Refused(unknown("preset", repr(given), presets))
    chosen = {name: value[0] if isinstance(value, list) else value for name, value in options.items()}
    for pair in pairs:
        name, _, text = pair.partition("=")
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


def change(config: ConfigDict, path: str, text: str) -> None:
    known = flat(config)
    if path not in known:
        groups = {name.rpartition(".")[0] for name in known} - {""}
        if path in groups:
            raise Refused(f"config.{path} is a group; set one of {', '.join(n for n in known if n.startswith(path))}")
        raise Refused(unknown("setting", f"config.{path}", [f"config.{name}" for name in known]))
    value = _convert(f"config.{path}", text, known[path])
    *groups, last = path.split(".")
    group = config
    for name in groups:
        group = group[name]
    group[last] = value


def _load_module(file: Path) -> ModuleType:
    if not file.is_file():
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


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """One line about a name that is not known: the nearest one, and all there are or where they are listed."""
    known = [str(name) for name in known]
    listed = f"choose {', '.join(known)}" if len(known) <= 12 or what not in IN_HELP else IN_HELP[what]
    return f"{what} {given} is not known; {guess(given, known)}{listed}"


def guess(given: str, known: Iterable[str]) -> str:
    """A question whether the name most like it was meant; empty where none is like it."""
    near = difflib.get_close_matches(given.strip("'"), list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]}? " if near else ""
