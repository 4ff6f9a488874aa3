"""Shell scripts of launch/, run with a stub in place of Python that says what it was asked."""

import os
import shlex
import subprocess
from pathlib import Path

from experiments.shared import cli
from skillhier.agents import registry as agents
from skillhier.envs import registry as worlds

ROOT = Path(__file__).parents[1]
READ = ("PRESET", "RUNS", "DATA", "OFFLINE", "PROTOCOL", "HIRO", "PYTHON")  # by the scripts, from the environment
STUB = """#!/bin/sh
# in place of Python: says what it was asked, and that all runs are done
for word in "$@"; do
  printf '%s\\n' "$word" | sed "s/'/'\\\\\\\\''/g; 1s/^/'/; \\$s/\\$/' /" | tr -d '\\n' >> "$SAID"
done
echo >> "$SAID"
case "$2" in launch.sweep) echo "# 1 runs of x in y: ${STATE:-1 done, 0 begun, 0 new}" ;; esac
exit "${CODE:-0}"
"""


def bare() -> dict[str, str]:
    """The environment without what the scripts read from it."""
    return {name: value for name, value in os.environ.items() if name not in READ}


def asked(tmp_path: Path, script: str, *flags: str, **environment: str) -> tuple[list[list[str]], int, str]:
    """(the commands that a script gives, its exit code, what it says) with a stub for Python."""
    stub, said = tmp_path / "python", tmp_path / "said"
    stub.write_text(STUB)
    stub.chmod(0o755)
    said.write_text("")
    completed = subprocess.run(
        ["sh", ROOT / "launch" / f"{script}.sh", *flags], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**bare(), "PYTHON": str(stub), "SAID": str(said), "PRESET": "cpu", "RUNS": "r", **environment},
    )  # fmt: skip
    commands = [shlex.split(line) for line in said.read_text().splitlines()]
    dry = [command for command in commands if "--dry_run" in command]
    if "--dry_run" not in flags:  # first all of it is looked at
        assert commands[: len(dry)] == dry
        commands = commands[len(dry) :]
    return commands, completed.returncode, completed.stderr


def options(command: list[str]) -> dict[str, list[str]]:
    """The flags of a command: name -> its values."""
    given: dict[str, list[str]] = {}
    for word in command[2:]:
        name, _, value = word.partition("=")
        given.setdefault(name.removeprefix("--"), []).append(value)
    return given


def swept(command: list[str]) -> dict[str, list[str]]:
    """The axes of a sweep: name -> its values."""
    return {axis: values.split(",") for axis, _, values in (s.partition("=") for s in options(command)["sweep"])}


def sweeps(commands: list[list[str]]) -> list[list[str]]:
    return [command for command in commands if command[1] == "launch.sweep"]


def begun(command: list[str]) -> dict[str, str]:
    """agent -> what it begins with."""
    whens = [when.split() for when in options(command).get("when", [])]
    return {when[0].removeprefix("agent="): when[1].removeprefix("--init_from=").strip("'") for when in whens}


def load_all(command: list[str]) -> None:
    """Reads the config of every run of a sweep, as launch.sweep does, without its process. Raises Refused.

    A setting that sweeps takes its values one by one; settings of transfers are for those that have them.
    """
    flags_of_run, axes = options(command), swept(command)
    file, _, preset = flags_of_run["config"][0].partition(":")
    changes = [(name.removeprefix("config."), values[-1]) for name, values in flags_of_run.items()
               if name.startswith("config.")]  # fmt: skip
    settings = {axis: values for axis, values in axes.items() if axis.startswith("config.") and axis != "config.seed"}
    for agent in axes.get("config:agent", [""]):
        for task in axes.get("config:task", [""]):
            chosen = preset + f",agent={agent}" * bool(agent) + f",task={task}" * bool(task)
            config, _ = cli.load_config(f"{ROOT / file}:{chosen}")
            assert config.env.name in worlds.WORLDS and config.agent.name in agents.AGENTS
            fits = [pair for pair in changes if not pair[0].startswith("transfer.") or "transfer" in config]
            cli.load_config(f"{ROOT / file}:{chosen}", fits)
            for axis, values in settings.items():
                for value in values:
                    swept_config, _ = cli.load_config(
                        f"{ROOT / file}:{chosen}", [*fits, (axis.removeprefix("config."), value)]
                    )
                    assert swept_config.env.name in worlds.WORLDS
