"""Axes of a sweep, their grid, and the names of its runs."""

import hashlib
import itertools
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MAX_RUNS = 10_000  # of a sweep; more is most likely a mistake
MAX_NAME = 150  # characters of a run's name; file systems allow 255
OPENING, CLOSING = "([", ")]"


class Refused(ValueError):
    """Wrong use: one line that says what was given, what is allowed, and what to change."""


class Axis(NamedTuple):
    """What varies, and its values as they are written on the command line.

    target: `config.agent.beta_z` (a setting), `config:agent` (an option of the preset), `init_from` (another flag)
    """

    target: str
    values: tuple[str, ...]


class Condition(NamedTuple):
    """Arguments of only those runs in which an axis has one of these values."""

    target: str
    values: tuple[str, ...]
    arguments: tuple[str, ...]


def check_text(arguments: Iterable[str]) -> None:
    """Refuses what would break a line of a script or a job file: control characters, bytes that are no UTF-8."""
    for argument in arguments:
        wrong = next((letter for letter in argument if unicodedata.category(letter) in ("Cc", "Cs")), None)
        if wrong is not None:
            what = "a byte that is no UTF-8" if unicodedata.category(wrong) == "Cs" else f"the character {wrong!r}"
            raise Refused(f"{argument[:80]!a} holds {what}; arguments are one line of text, leave it out")


def axis(text: str) -> Axis:
    """Reads 'TARGET=VALUE,VALUE,...'; `a..b` counts, a value in brackets may hold commas. Raises Refused."""
    target, equals, listed = text.partition("=")
    target = target.strip().lstrip("-")
    if not target or not equals or not listed.strip():
        raise Refused(f"--sweep={text} lacks a name or values; write --sweep=config.seed=0..4 or --sweep=config.x=a,b")
    if target in ("config", "workdir", "check"):
        raise Refused(f"--sweep={text}: --{target} cannot be swept; sweep config.SETTING or config:OPTION")
    values = [value for piece in _split(text, listed) for value in _count(text, piece)]
    repeated = {value for value in values if values.count(value) > 1} if len(values) <= MAX_RUNS else set()
    if repeated:
        raise Refused(f"--sweep={text} lists {min(repeated)} twice; remove one")
    return Axis(target, tuple(values))


def axes(texts: Iterable[str]) -> list[Axis]:
    """Reads every --sweep. Raises Refused for a target that comes twice."""
    result: list[Axis] = []
    for text in texts:
        new = axis(text)
        if new.target in [one.target for one in result]:
            raise Refused(f"{new.target} is swept twice; put its values into one --sweep={new.target}=...")
        result.append(new)
    return result


def conditions(texts: Iterable[str], axes: Sequence[Axis]) -> list[Condition]:
    """Reads every --when, 'AXIS=VALUE,... --FLAG=VALUE ...'; AXIS is a target, or its short form in the runs' names."""
    by_name = {axis.target: axis for axis in axes} | dict(zip(_keys([axis.target for axis in axes]), axes, strict=True))
    result = []
    for text in texts:
        selector, _, rest = text.strip().partition(" ")
        try:
            selected, arguments = axis(selector), shlex.split(rest)
        except ValueError as error:
            raise Refused(f"--when={text}: {str(error).removeprefix(f'--sweep={selector} ')}") from None
        if selected.target not in by_name:
            listed = ", ".join(axis.target for axis in axes)
            raise Refused(
                f"--when={text}: {selected.target} is not swept; choose one of {listed or 'what --sweep names'}"
            )
        swept = by_name[selected.target]
        absent = [value for value in selected.values if value not in swept.values]
        if absent:
            raise Refused(f"--when={text}: {swept.target} is never {absent[0]}; it is {', '.join(swept.values)}")
        if not arguments or not all(argument.startswith("--") for argument in arguments):
            raise Refused(f"--when={text} has no flags; write --when='agent=a,b --init_from=RUN:all'")
        result.append(Condition(swept.target, selected.values, tuple(arguments)))
    return result


def grid(axes: Sequence[Axis]) -> list[tuple[str, ...]]:
    """Every combination, one value an axis, the last axis fastest."""
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MAX_RUNS:
        raise Refused(f"the sweep has {count} runs, more than {MAX_RUNS}; use fewer values, or make several sweeps")
    return list(itertools.product(*(axis.values for axis in axes)))


def names(axes: Sequence[Axis]) -> list[str]:
    """A folder's name for every combination of the grid: `beta_z=0.01,seed=3`. Raises Refused where two are the same.

    A key is the last part of its target, and more of it where two axes end alike.
    """
    keys = _keys([axis.target for axis in axes])
    result: dict[str, tuple[str, str]] = {}  # by lower-case name: some file systems ignore case
    for values in grid(axes):
        written = " ".join(f"{key}={value}" for key, value in zip(keys, values, strict=True))
        name = ",".join(f"{key}={_sanitise(value)}" for key, value in zip(keys, values, strict=True))
        if len(name) > MAX_NAME:
            name = f"{name[: MAX_NAME - 9]}-{_digest(written)}"
        _, other = result.setdefault(name.casefold(), (name, written))
        if other != written:
            raise Refused(f"{other} and {written} would both be named {name}; drop or rewrite one of the values")
    return [name for name, _ in result.values()]


def label(text: str, max_length: int) -> str:
    """A name of lower-case letters, digits and dashes, as clusters want it: readable, and unique by a digest."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return f"{plain[: max_length - 9].strip('-')}-{_digest(text)}"


def _keys(targets: Sequence[str]) -> list[str]:
    """The shortest endings of the targets that tell them apart."""
    parts = [re.split(r"[.:]", target) for target in targets]
    for length in range(1, max(map(len, parts), default=0) + 1):
        keys = [".".join(part[-length:]) for part in parts]
        if len(set(keys)) == len(keys):
            break
    else:
        keys = list(targets)
    return [re.sub(r"[^A-Za-z0-9._-]+", "-", key) for key in keys]


def _sanitise(value: str) -> str:
    """A value as part of a file's name."""
    text = re.sub(r"\s*,\s*", "x", value.strip(OPENING + CLOSING).strip(", "))
    text = re.sub(r"[^A-Za-z0-9._+-]+", "-", text)
    return text if len(text) <= 40 else f"{text[:31]}-{_digest(value)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _split(text: str, listed: str) -> list[str]:
    """`listed` cut at the commas outside brackets."""
    pieces, open_brackets = [""], []
    for letter in listed:
        if letter in OPENING:
            open_brackets.append(CLOSING[OPENING.index(letter)])
        elif letter in CLOSING and (not open_brackets or open_brackets.pop() != letter):
            raise Refused(f"--sweep={text} closes a bracket that is not open")
        if letter == "," and not open_brackets:
            pieces.append("")
        else:
            pieces[-1] += letter
    if open_brackets:
        raise Refused(f"--sweep={text} leaves a bracket open; close it with {open_brackets[-1]}")
    pieces = [piece.strip() for piece in pieces]
    if "" in pieces:
        raise Refused(f"--sweep={text} has an empty value; remove a comma")
    return pieces


def _count(text: str, piece: str) -> list[str]:
    """The numbers that `a..b` stands for; any other value as it is."""
    ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", piece)
    if not ends:
        return [piece]
    first, last = map(int, ends.groups())
    if last < first:
        raise Refused(f"--sweep={text}: {piece} counts down; write {last}..{first}")
    if last - first >= MAX_RUNS:
        raise Refused(f"--sweep={text}: {piece} are {last - first + 1} values, more than {MAX_RUNS}")
    return [str(number) for number in range(first, last + 1)]
