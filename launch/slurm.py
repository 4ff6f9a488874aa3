"""Runs of a sweep as one Slurm job array, through submitit.

Slurm signals a job 120 s before it takes it away (preemption, time limit): the run finishes its epoch, saves and is
queued again. submitit's files lie in FOLDER/jobs/slurm; each run's log lies in its own folder.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from launch import runs
from launch.grid import Refused
from launch.local import LOG
from launch.runs import ROOT, Run

TOOLS = ("sbatch", "srun", "squeue")  # of Slurm, which a submission needs and a dry run does not
WARNING = 120  # s between the signal and the end of a job
REQUEUES = 1000  # times that a run longer than the limit goes on in another job


class Work:
    """What a task of the array does. Runs on the cluster's machines, which read it from submitit's files."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.command, self.folder = list(command), folder
        self.child: subprocess.Popen | None = None

    def __call__(self) -> None:
        rank = int(os.environ.get("SLURM_PROCID", 0))
        if rank:  # submitit's own handler acts in the first task only
            signal.signal(signal.SIGUSR2, lambda *_: self._stop())
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / (f"{rank}-{LOG}" if rank else LOG)).open("a") as log:
            print(f"$ {shlex.join(self.command)}", file=log, flush=True)
            # Slurm sends submitit's signal to all processes of the job; it would end the run before it has saved.
            ignore = lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # noqa: E731
            self.child = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT, preexec_fn=ignore)
        while self.child.poll() is None:
            time.sleep(0.2)
        if self.child.returncode:
            raise RuntimeError(f"code {self.child.returncode}: {runs.last_line(self.folder / LOG)}")
        if rank == 0 and not (self.folder / "summary.json").is_file():
            raise RuntimeError("the run was stopped before it was done; the same sweep again goes on")

    def checkpoint(self):
        """Called by submitit before it queues the job again: the run saves, and the same command continues it."""
        from submitit.helpers import DelayedSubmission

        self._stop()
        return DelayedSubmission(Work(self.command, self.folder))

    def _stop(self) -> None:
        """Stops the run and waits until it has saved.

        This may interrupt `poll`, which holds a lock, so the operating system is asked for the child's state instead.
        """
        if self.child is None or self.child.returncode is not None:
            return
        os.kill(self.child.pid, signal.SIGTERM)
        end = time.monotonic() + WARNING - 10
        while time.monotonic() < end:
            if os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
            time.sleep(0.1)

    def __getstate__(self) -> dict:
        return {"command": self.command, "folder": self.folder, "child": None}


def check(options: SimpleNamespace) -> None:
    """Raises Refused for options that do not fit together. Looks at nothing on this machine."""
    if minutes(options.time) * 60 <= WARNING:
        raise Refused(
            f"--time={options.time} is not longer than the {WARNING} s before its end at which Slurm warns a job, so a "
            f"run would be stopped as it starts; give at least {WARNING // 60 + 1} minutes"
        )


def show(pending: Sequence[Run], options: SimpleNamespace) -> str:
    """The script that would be submitted, and what each task of the array runs."""
    executor = _executor(options, dry=True)
    if len(pending) > 1:
        executor.parameters["map_count"] = len(pending)
    script = executor._make_submission_file_text(executor._submitit_command_str, "")
    return "\n".join([script.rstrip(), *(f"# {i}: {run.shell_line()}" for i, run in enumerate(pending))])


def start(pending: Sequence[Run], options: SimpleNamespace) -> str:
    """Submits the runs that are not queued yet; returns a line about them."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise Refused(
            f"--to=slurm needs {', '.join(missing)}, not on the PATH of this machine; "
            "start the sweep on a login node of the cluster, look at it with --dry_run, or choose another --to"
        )
    record = options.folder / "jobs" / "slurm.json"
    try:
        job_ids = dict(json.loads(record.read_bytes())) if record.is_file() else {}
    except (ValueError, TypeError):
        raise Refused(f"{record} is damaged; see with squeue --me that nothing is queued, and delete it") from None
    queued = _queued() if job_ids else set()
    waiting = {run.name for run in pending if job_ids.get(run.name) in queued}
    fresh = [run for run in pending if run.name not in waiting]
    if not fresh:
        return f"all {len(waiting)} are queued or running; squeue --me shows them"
    executor = _executor(options)
    work = [Work(run.command(sys.executable, str(run.folder.absolute())), run.folder.absolute()) for run in fresh]
    with executor.batch():
        jobs = [executor.submit(one) for one in work]
    record.parent.mkdir(parents=True, exist_ok=True)
    job_ids |= {run.name: job.job_id for run, job in zip(fresh, jobs, strict=True)}
    draft = record.with_name(f"{record.name}.part")
    with draft.open("w") as file:
        file.write(json.dumps(job_ids, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(record)
    also = f", {len(waiting)} queued before" if waiting else ""
    return f"submitted {len(fresh)} as job {jobs[0].job_id.split('_')[0]}{also}; the same command submits what is left"


def minutes(text: str) -> int:
    """Reads a time limit: minutes, or [D-]HH:MM:SS. Raises Refused."""
    if re.fullmatch(r"[1-9]\d*", text):
        return int(text)
    parts = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text)
    days, hours, mins, seconds = (int(part or 0) for part in parts.groups()) if parts else (0, 0, 0, 0)
    total = (days * 24 + hours) * 60 + mins + (seconds > 0)
    if not total:
        raise Refused(f"--time={text} is no time limit; give minutes or [D-]HH:MM:SS, such as 90 or 24:00:00")
    return total


def _executor(options: SimpleNamespace, *, dry: bool = False):
    """submitit's executor with the parameters of these options; `dry` works on machines without Slurm."""
    try:
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError:
        raise Refused("--to=slurm needs submitit; install the extra `launch`: pip install -e '.[launch]'") from None

    class Dry(SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 2  # submitit's constructor refuses where srun is missing, but a dry run writes a script only

    folder = options.folder.absolute() / "jobs" / "slurm"
    executor = (Dry if dry else SlurmExecutor)(folder, max_num_timeout=REQUEUES)
    parameters = {
        "job_name": options.folder.name,
        "time": minutes(options.time),
        "nodes": options.hosts,
        "ntasks_per_node": 1,
        "cpus_per_task": options.cpus,
        "gpus_per_node": options.gpus or None,
        "mem": f"{options.memory}GB" if options.memory else None,
        "partition": options.partition,
        "account": options.account,
        "array_parallelism": options.parallel,
    }
    executor.update_parameters(
        **{name: value for name, value in parameters.items() if value is not None},
        signal_delay_s=WARNING,
        additional_parameters={"requeue": True},
        setup=[f"export PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}"],
    )
    return executor


def _queued() -> set[str]:
    """Ids of this user's jobs that wait or run, one for each task of an array.

    Raises Refused where Slurm does not answer: a run that is queued already would be submitted a second time.
    """
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
    try:
        return set(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split())
    except (OSError, subprocess.SubprocessError) as error:
        raise Refused(f"squeue does not tell which runs are queued ({error}); try again later") from None
