"""Holds what is handed to a cluster to the schema of its kind. Where each schema comes from stands in its file."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema

SCHEMAS = Path(__file__).parent / "schemas"


def skypilot_validator(name):
    """As SkyPilot does it: a draft of JSON schema and two keywords of its own."""

    def no_case(_, allowed, given, __):
        if given.lower() not in [one.lower() for one in allowed]:
            yield jsonschema.ValidationError(f"{given!r} is not one of {allowed}")

    kind = jsonschema.validators.extend(jsonschema.Draft7Validator, {"case_insensitive_enum": no_case})
    return kind(json.loads((SCHEMAS / "skypilot.json").read_text())[name])


def hold_task(task):
    skypilot_validator("task").validate(task)
    skypilot_validator("resources").validate(task["resources"])
    for mount in task["file_mounts"].values():
        skypilot_validator("storage").validate(mount)


def hold_jobset(jobset):
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / "jobset.json").read_text())).validate(jobset)


def hold_script(script):
    """Every option is one that sbatch has, and the shell can read the rest."""
    known = set((SCHEMAS / "sbatch.txt").read_text().splitlines())
    given = re.findall(r"^#SBATCH --([a-z-]+)", script, flags=re.M)
    assert given and set(given) <= known, set(given) - known
    hold_shell(script)


def hold_shell(lines):
    shell = shutil.which("bash") or "/bin/sh"
    assert subprocess.run([shell, "-n"], input=lines, text=True, capture_output=True).stderr == ""
