"""Runs of a sweep as SkyPilot managed jobs, a task file each: `sky jobs launch FILE`.

A machine that is taken away is replaced and the run goes on from the bucket, where all its files are kept.
"""

from collections.abc import Sequence
from types import SimpleNamespace

from launch import grid, jobs
from launch.grid import Refused
from launch.runs import Run


def show(pending: Sequence[Run], asked: SimpleNamespace) -> str:
    """The files that would be written, one after the other."""
    return jobs.show(asked, [(run.name, task(run, asked)) for run in pending])


def start(pending: Sequence[Run], asked: SimpleNamespace) -> str:
    """Writes the files; what to do with them."""
    folder = jobs.write(asked, [(run.name, task(run, asked)) for run in pending])
    files = f"{folder}/*.yaml"
    return f'start them from here: for task in {files}; do sky jobs launch --yes --detach-run "$task"; done'


def task(run: Run, asked: SimpleNamespace) -> dict:
    """A SkyPilot task: this folder goes to the machine, its environment is made there, the run is started."""
    if not asked.bucket:
        raise Refused("--to=skypilot needs --bucket=gs://NAME (s3://, ...): the runs are kept there, not on machines")
    if asked.gpus and not asked.accelerator:
        raise Refused(f"--gpus={asked.gpus} of which kind? give --accelerator=L4, A100, H100, ...")
    if asked.accelerator and not asked.gpus:
        raise Refused(f"--accelerator={asked.accelerator}: how many on each host? give --gpus=1")
    resources = {
        "image_id": f"docker:{asked.image}",
        "accelerators": {asked.accelerator: asked.gpus} if asked.gpus else None,
        "cpus": f"{asked.cpus}+" if asked.cpus else None,
        "memory": f"{asked.memory}+" if asked.memory else None,
        "use_spot": asked.spot or None,
        "job_recovery": {"recover_on_exit_codes": [jobs.STOPPED]},
    }
    return {
        "name": grid.label(f"{asked.folder.name}-{run.name}", 60),
        "workdir": ".",
        "resources": {name: value for name, value in resources.items() if value is not None},
        "file_mounts": {jobs.STORE: {"source": asked.bucket, "mode": "MOUNT_CACHED"}},
        "setup": jobs.install("cuda" if asked.gpus else ""),
        "run": jobs.run(run, asked.folder),
    }
