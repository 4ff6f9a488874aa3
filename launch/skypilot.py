"""Runs of a sweep as SkyPilot managed jobs, a task file each: `sky jobs launch FILE`.

A machine that is taken away is replaced and the run goes on from the bucket, which holds all its files.
"""

import shlex
from collections.abc import Sequence
from types import SimpleNamespace

from launch import grid, jobs
from launch.grid import Refused
from launch.runs import Run


def check(options: SimpleNamespace) -> None:
    """Raises Refused for options that do not fit together. Looks at nothing on this machine."""
    if not options.bucket:
        raise Refused("--to=skypilot needs --bucket=gs://NAME (s3://, ...), which holds the run folders")
    if options.gpus and not options.accelerator:
        raise Refused(f"--gpus={options.gpus} of which kind? give --accelerator=L4, A100, H100, ...")
    if options.accelerator and not options.gpus:
        raise Refused(f"--accelerator={options.accelerator}: how many on each host? give --gpus=1")


def show(pending: Sequence[Run], options: SimpleNamespace) -> str:
    """The files that would be written, one after the other."""
    return jobs.show(options, [(run.name, task(run, options)) for run in pending])


def start(pending: Sequence[Run], options: SimpleNamespace) -> str:
    """Writes the files; returns the command that submits them."""
    folder = jobs.write(options, [(run.name, task(run, options)) for run in pending])
    files = f"{shlex.quote(str(folder))}/*.yaml"
    return f'start them from here: for task in {files}; do sky jobs launch --yes --detach-run "$task"; done'


def task(run: Run, options: SimpleNamespace) -> dict:
    """A SkyPilot task: it uploads this folder, installs the project, starts the run. `options` have passed `check`."""
    resources = {
        "image_id": f"docker:{options.image}",
        "accelerators": {options.accelerator: options.gpus} if options.gpus else None,
        "cpus": f"{options.cpus}+" if options.cpus else None,
        "memory": f"{options.memory}+" if options.memory else None,
        "use_spot": options.spot or None,
        "job_recovery": {"recover_on_exit_codes": [jobs.STOPPED]},
    }
    return {
        "name": grid.label(f"{options.folder.name}-{run.name}", 60),
        "workdir": ".",
        "resources": {name: value for name, value in resources.items() if value is not None},
        "file_mounts": {jobs.STORE: {"source": options.bucket, "mode": "MOUNT_CACHED"}},
        "setup": jobs.install_lines("cuda" if options.gpus else ""),
        "run": jobs.run_lines(run, options.folder),
    }
