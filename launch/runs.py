"""The runs of a sweep: their commands, whether their entry point takes them, and how far each has come."""

import difflib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from launch import grid
from launch.grid import Axis, Refused, When

ROOT = Path(__file__).parents[1]


class Run(NamedTuple):
    name: str
    folder: Path
    experiment: str
    arguments: tuple[str, ...]  # of the entry point, without --workdir
    settings: dict[str, Any]  # the config that these arguments come to, by dotted names

    def command(self, python: str = "python", folder: str | None = None) -> list[str]:
        """`folder`: where the run writes, if its files lie elsewhere on the machine that it runs on."""
        where = f"--workdir={folder or self.folder}"
        return [python, "-m", f"experiments.{self.experiment}", *self.arguments, where]

    def shown(self, python: str = "python", folder: str | None = None) -> str:
        """The command as one writes it in a shell."""
        return shlex.join(self.command(python, folder))


def expand(
    experiment: str, config: str, fixed: Sequence[str], axes: Sequence[Axis], folder: Path, whens: Sequence[When] = ()
) -> list[Run]:
    """The runs of the grid, not yet looked at by their entry point. `fixed`: further arguments that all runs share."""
    _find(experiment)
    if not axes:
        raise Refused("nothing is swept; give --sweep=config.seed=0..4, or more of them")
    for flag in map(_flag, (*fixed, *(argument for one in whens for argument in one.arguments))):
        if flag == "workdir":
            raise Refused("--workdir is chosen for every run; give --folder, where they all lie")
        if flag in [axis.target for axis in axes]:
            raise Refused(f"--{flag} is both set and swept; leave out one of the two")
    found = []
    for name, values in zip(grid.names(axes), grid.grid(axes), strict=True):
        options, flags = "", []
        for axis, value in zip(axes, values, strict=True):
            if axis.target.startswith("config:"):
                options += f",{axis.target.removeprefix('config:')}={value}"
            else:
                flags.append(f"--{axis.target}={value}")
        if options and not config:
            raise Refused(f"{options[1:]} is an option of a preset; give --config=FILE:PRESET")
        given = [f"--config={config}{options}"] if config else []
        chosen = {axis.target: value for axis, value in zip(axes, values, strict=True)}
        own = [argument for one in whens if chosen[one.target] in one.values for argument in one.arguments]
        named = [_flag(argument) for argument in own]
        twice = [flag for i, flag in enumerate(named) if flag in named[:i] or flag in map(_flag, fixed)]
        if twice:
            raise Refused(f"{name}: --when gives --{twice[0]}, which it has already; leave out one of the two")
        found.append(Run(name, folder / name, experiment, (*given, *fixed, *flags, *own), {}))
    return found


def checked(runs: Sequence[Run]) -> list[Run]:
    """The runs with their settings, as their entry point reads them. Writes nothing, starts nothing.

    Raises Refused with the entry point's own line for the first run it does not take, and for two that are the same.
    One process looks at all of them: to start it takes seconds, to read a config milliseconds.
    """
    asked = "".join(f"{json.dumps(run.arguments)}\n" for run in runs)
    command = [sys.executable, "-m", f"experiments.{runs[0].experiment}", "--check_each"]
    told = subprocess.run(command, input=asked, capture_output=True, text=True, env=environment())
    answers = [json.loads(line) for line in told.stdout.splitlines()] if told.returncode == 0 else []
    if len(answers) != len(runs):
        last = (told.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Refused(f"{shlex.join(command)} failed: {last}")
    found: dict[str, Run] = {}
    for run, answer in zip(runs, answers, strict=True):
        if "refused" in answer:
            raise Refused(f"{run.name}: {answer['refused']}")
        same = found.setdefault(json.dumps([answer["config"], _plain(run.arguments)], sort_keys=True), run)
        if same is not run:
            raise Refused(f"{same.name} and {run.name} are the same run; leave one of the two values out")
    return [run._replace(settings=answer["config"]) for run, answer in zip(runs, answers, strict=True)]


def done(run: Run) -> bool:
    """Whether its folder holds what came out of this very run.

    summary.json is written at the end of a run and taken away when it is started again, so it belongs to the config
    beside it, budget included, and to the flags of its last start.
    """
    try:
        about = json.loads((run.folder / "config.json").read_text())
        config = {
            name: value for name, value in about["config"].items() if name != "init_from"
        }  # a flag, compared as one
        found = about["entry"], config, _plain(about["starts"][-1]["command"][1:])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return False
    return found == (run.experiment, run.settings, _plain(run.arguments)) and (run.folder / "summary.json").is_file()


def begun(run: Run) -> bool:
    return (run.folder / "config.json").is_file()


def updates(run: Run) -> int:
    """Updates so far: the step in the last complete line of its metrics; of several seeds, of the first."""
    for file in [run.folder / "metrics.jsonl", *sorted(run.folder.glob("seed_*/metrics.jsonl"))]:
        try:
            with file.open("rb") as lines:
                lines.seek(max(0, file.stat().st_size - 65536))
                return int(json.loads(lines.read().split(b"\n")[-2])["step"])
        except (OSError, ValueError, IndexError, KeyError, TypeError):
            continue
    return 0


def last_line(file: Path) -> str:
    """What a log ends with."""
    try:
        lines = file.read_bytes()[-4096:].decode(errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def environment() -> dict[str, str]:
    """That of this process, with the project where Python finds it from any folder."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def _flag(argument: str) -> str:
    return argument.lstrip("-").partition("=")[0]


def _plain(arguments: Sequence[str]) -> list[str]:
    """The flags beside the config and the folder."""
    kept = [argument for argument in arguments if not argument.lstrip("-").startswith(("config", "workdir"))]
    return sorted(kept)


def _find(experiment: str) -> None:
    """Raises Refused where there is no such entry point. One is known by how it ends: it hands `main` to cli.run."""
    files = sorted((ROOT / "experiments").glob("*.py"))
    entries = [file.stem for file in files if file.stem != "cli" and "cli.run(main" in file.read_text()]
    if experiment not in entries:
        near = difflib.get_close_matches(experiment, entries, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]}? " if near else ""
        raise Refused(f"experiment {experiment!r} is not known; {guess}choose {', '.join(entries)}")
