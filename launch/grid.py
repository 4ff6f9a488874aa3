"""Axes of a sweep, their grid, and the names of its runs."""

import hashlib
import itertools
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MOST = 10_000  # runs of a sweep; more is a slip of the pen
LONGEST = 150  # characters of a name; file systems allow 255
OPENING, CLOSING = "([", ")]"


class Refused(ValueError):
    """Wrong use: one line that says what was given, what is allowed, and what to change."""


class Axis(NamedTuple):
    """What varies, and its values as they are written on the command line.

    target: `config.agent.beta_z` (a setting), `config:agent` (an option of the preset), `init_from` (another flag)
    """

    target: str
    values: tuple[str, ...]


class When(NamedTuple):
    """Arguments of those runs alone in which an axis has one of these values."""

    target: str
    values: tuple[str, ...]
    arguments: tuple[str, ...]


def axis(text: str) -> Axis:
    """Reads 'TARGET=VALUE,VALUE,...'; `a..b` counts, a value in brackets may hold commas. Raises Refused."""
    target, equals, listed = text.partition("=")
    target = target.strip().lstrip("-")
    if not target or not equals or not listed.strip():
        raise Refused(f"--sweep={text} names nothing to sweep; write --sweep=config.seed=0..4 or --sweep=config.x=a,b")
    if target in ("config", "workdir", "check"):
        raise Refused(f"--sweep={text}: --{target} cannot be swept; sweep config.SETTING or config:OPTION")
    values = [value for piece in _pieces(text, listed) for value in _range(text, piece)]
    twice = {value for value in values if values.count(value) > 1} if len(values) <= MOST else set()
    if twice:
        raise Refused(f"--sweep={text} holds {min(twice)} twice; leave one out")
    return Axis(target, tuple(values))


def axes(texts: Iterable[str]) -> list[Axis]:
    """Reads every --sweep. Raises Refused for a target that comes twice."""
    found: list[Axis] = []
    for text in texts:
        new = axis(text)
        if new.target in [one.target for one in found]:
            raise Refused(f"{new.target} is swept twice; put its values into one --sweep={new.target}=...")
        found.append(new)
    return found


def whens(texts: Iterable[str], axes: Sequence[Axis]) -> list[When]:
    """Reads every --when, 'AXIS=VALUE,... --FLAG=VALUE ...', an axis by its target or as in the runs' names."""
    called = {axis.target: axis for axis in axes} | dict(zip(_keys([axis.target for axis in axes]), axes, strict=True))
    found = []
    for text in texts:
        condition, _, rest = text.strip().partition(" ")
        try:
            asked, arguments = axis(condition), shlex.split(rest)
        except ValueError as error:
            raise Refused(f"--when={text}: {str(error).removeprefix(f'--sweep={condition} ')}") from None
        if asked.target not in called:
            listed = ", ".join(axis.target for axis in axes)
            raise Refused(f"--when={text}: {asked.target} is not swept; choose one of {listed or 'what --sweep names'}")
        one = called[asked.target]
        never = [value for value in asked.values if value not in one.values]
        if never:
            raise Refused(f"--when={text}: {one.target} is never {never[0]}; it is {', '.join(one.values)}")
        if not arguments or not all(argument.startswith("--") for argument in arguments):
            raise Refused(f"--when={text} gives no flags; write --when='agent=a,b --init_from=RUN:skills'")
        found.append(When(one.target, asked.values, tuple(arguments)))
    return found


def grid(axes: Sequence[Axis]) -> list[tuple[str, ...]]:
    """Every combination, one value an axis, the last axis fastest."""
    count = 1
    for one in axes:
        count *= len(one.values)
    if count > MOST:
        raise Refused(f"the sweep has {count} runs, more than {MOST}; leave out values, or make several sweeps")
    return list(itertools.product(*(one.values for one in axes)))


def names(axes: Sequence[Axis]) -> list[str]:
    """A folder's name for every combination of the grid: `beta_z=0.01,seed=3`. Raises Refused where two are the same.

    A key is the last part of its target, and more of it where two axes end alike.
    """
    keys = _keys([one.target for one in axes])
    found: dict[str, tuple[str, str]] = {}  # by name in small letters, for some file systems know no case
    for values in grid(axes):
        written = " ".join(f"{key}={value}" for key, value in zip(keys, values, strict=True))
        name = ",".join(f"{key}={_plain(value)}" for key, value in zip(keys, values, strict=True))
        if len(name) > LONGEST:
            name = f"{name[: LONGEST - 9]}-{_digest(written)}"
        _, former = found.setdefault(name.casefold(), (name, written))
        if former != written:
            raise Refused(f"{former} and {written} would both be named {name}; leave one out or write it otherwise")
    return [name for name, _ in found.values()]


def label(text: str, longest: int) -> str:
    """A name for systems that allow lower-case letters, digits and dashes: readable, and its own by a digest."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return f"{plain[: longest - 9].strip('-')}-{_digest(text)}"


def _keys(targets: Sequence[str]) -> list[str]:
    parts = [re.split(r"[.:]", target) for target in targets]
    for long in range(1, max(map(len, parts), default=0) + 1):
        keys = [".".join(part[-long:]) for part in parts]
        if len(set(keys)) == len(keys):
            break
    else:
        keys = list(targets)
    return [re.sub(r"[^A-Za-z0-9._-]+", "-", key) for key in keys]


def _plain(value: str) -> str:
    """A value as part of a file's name."""
    text = re.sub(r"\s*,\s*", "x", value.strip(OPENING + CLOSING).strip(", "))
    text = re.sub(r"[^A-Za-z0-9._+-]+", "-", text)
    return text if len(text) <= 40 else f"{text[:31]}-{_digest(value)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _pieces(text: str, listed: str) -> list[str]:
    """`listed` cut at the commas that stand in no brackets."""
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
        raise Refused(f"--sweep={text} holds an empty value; a comma is one too many")
    return pieces


def _range(text: str, piece: str) -> list[str]:
    ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", piece)
    if not ends:
        return [piece]
    first, last = map(int, ends.groups())
    if last < first:
        raise Refused(f"--sweep={text}: {piece} counts down; write {last}..{first}")
    if last - first >= MOST:
        raise Refused(f"--sweep={text}: {piece} are {last - first + 1} values, more than {MOST}")
    return [str(number) for number in range(first, last + 1)]
