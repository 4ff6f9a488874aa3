"""The runs of a sweep: their commands, whether their entry point accepts them, and how far each has come."""

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
from launch.grid import Axis, Condition, Refused

ROOT = Path(__file__).parents[1]


class Run(NamedTuple):
    name: str
    folder: Path
    experiment: str
    arguments: tuple[str, ...]  # of the entry point, without --workdir
    settings: dict[str, Any]  # the config that these arguments come to, by dotted names

    def command(self, python: str = "python", workdir: str | None = None) -> list[str]:
        """`workdir`: where the run writes, if its files lie elsewhere on the machine that it runs on."""
        workdir_flag = f"--workdir={workdir or self.folder}"
        return [python, "-m", f"experiments.{self.experiment}", *self.arguments, workdir_flag]

    def shell_line(self, python: str = "python", workdir: str | None = None) -> str:
        """The command, quoted for a shell."""
        return shlex.join(self.command(python, workdir))


def expand(
    experiment: str,
    config: str,
    fixed: Sequence[str],
    axes: Sequence[Axis],
    folder: Path,
    conditions: Sequence[Condition] = (),
) -> list[Run]:
    """The runs of the grid, before their entry point has checked them. `fixed`: arguments that all runs share."""
    _require_experiment(experiment)
    if not axes:
        raise Refused("nothing is swept; give --sweep=config.seed=0..4, or more of them")
    for flag in map(_flag, (*fixed, *(argument for one in conditions for argument in one.arguments))):
        if flag == "workdir":
            raise Refused("--workdir is chosen for every run; give --folder, the folder of all run folders")
        if flag in [axis.target for axis in axes]:
            raise Refused(f"--{flag} is both set and swept; leave out one of the two")
    runs = []
    for name, values in zip(grid.names(axes), grid.grid(axes), strict=True):
        value_of = {axis.target: value for axis, value in zip(axes, values, strict=True)}
        options, flags = "", []
        for target, value in value_of.items():
            if target.startswith("config:"):
                options += f",{target.removeprefix('config:')}={value}"
            else:
                flags.append(f"--{target}={value}")
        if options and not config:
            raise Refused(f"{options[1:]} is an option of a preset; give --config=FILE:PRESET")
        preset = [f"--config={config}{options}"] if config else []
        own = [argument for one in conditions if value_of[one.target] in one.values for argument in one.arguments]
        own_flags = [_flag(argument) for argument in own]
        repeated = [flag for i, flag in enumerate(own_flags) if flag in own_flags[:i] or flag in map(_flag, fixed)]
        if repeated:
            raise Refused(f"{name}: --when gives --{repeated[0]}, which it has already; leave out one of the two")
        runs.append(Run(name, folder / name, experiment, (*preset, *fixed, *flags, *own), {}))
    return runs


def resolve(runs: Sequence[Run]) -> list[Run]:
    """The runs with their settings, as their entry point reads them. Writes nothing, starts no run.

    Raises Refused with the entry point's own line for the first run it refuses, and for two that are the same.
    One process checks all of them: starting it takes seconds, reading a config milliseconds.
    """
    lines = "".join(f"{json.dumps(run.command()[3:])}\n" for run in runs)
    command = [sys.executable, "-m", f"experiments.{runs[0].experiment}", "--check_each"]
    process = subprocess.run(command, input=lines, capture_output=True, text=True, env=environment())
    answers = [json.loads(line) for line in process.stdout.splitlines()] if process.returncode == 0 else []
    if len(answers) != len(runs):
        error = (process.stderr.strip().splitlines() or ["it printed no error"])[-1]
        raise Refused(f"{shlex.join(command)} failed: {error}")
    first_with: dict[str, Run] = {}
    for run, answer in zip(runs, answers, strict=True):
        if "refused" in answer:
            raise Refused(f"{run.name}: {answer['refused']}")
        identity = json.dumps([answer["config"], _other_flags(run.arguments)], sort_keys=True)
        same = first_with.setdefault(identity, run)
        if same is not run:
            raise Refused(f"{same.name} and {run.name} are the same run; leave one of the two values out")
    return [run._replace(settings=answer["config"]) for run, answer in zip(runs, answers, strict=True)]


def check_folder(folder: Path) -> None:
    """Refuses a folder of runs, which need not be there, that cannot be written. Raises Refused."""
    above = folder.absolute()
    grid.check_text([str(above)])
    try:
        while not above.exists():
            above = above.parent
    except OSError as error:
        raise Refused(f"--folder={str(folder)[:200]}: {error.strerror}; give another --folder") from None
    if not above.is_dir():
        raise Refused(f"--folder={folder}: {above} is a file; give a folder")
    if os.statvfs(above).f_flag & os.ST_RDONLY:
        raise Refused(f"--folder={folder}: {above} is on a disk that can only be read; give another --folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise Refused(f"--folder={folder}: no permission to write in {above}; get it, or give another --folder")


def done(run: Run) -> bool:
    """Whether its folder holds the results of this very run.

    summary.json is written at the end of a run and removed when it is started again, so it belongs to the config
    beside it, budget included, and to the flags of its last start.
    """
    try:
        record = json.loads((run.folder / "config.json").read_text())
        # init_from is a flag that is recorded with the config; it is compared among the flags
        config = {name: value for name, value in record["config"].items() if name != "init_from"}
        recorded = record["entry"], config, _other_flags(record["starts"][-1]["command"][1:])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return False
    expected = run.experiment, run.settings, _other_flags(run.arguments)
    return recorded == expected and (run.folder / "summary.json").is_file()


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
    """The last line of a log that is not blank."""
    try:
        lines = file.read_bytes()[-4096:].decode(errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def environment() -> dict[str, str]:
    """The environment of this process, with the project on PYTHONPATH so that runs import it from any folder."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def _flag(argument: str) -> str:
    return argument.lstrip("-").partition("=")[0]


def _other_flags(arguments: Sequence[str]) -> list[str]:
    """All arguments but the config and the folder, in a fixed order."""
    return sorted(argument for argument in arguments if not argument.lstrip("-").startswith(("config", "workdir")))


def _require_experiment(experiment: str) -> None:
    """Raises Refused where there is no such entry point. One is known by its end: it hands `main` to cli.run."""
    files = sorted((ROOT / "experiments").glob("*.py"))
    entries = [file.stem for file in files if "cli.run(main" in file.read_text()]
    if experiment not in entries:
        near = difflib.get_close_matches(experiment, entries, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]}? " if near else ""
        raise Refused(f"experiment {experiment!r} is not known; {guess}choose {', '.join(entries)}")
