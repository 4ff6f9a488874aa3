"""Several machines (hosts) that work on one run, each started with the same command.

What a host does is done by a child of the process that was started. The parent knows nothing of JAX: it holds a line to
the other hosts (host 0 to all, on the port after the coordinator's), and hears at once when one goes, however it
goes. It then ends its child, which would wait for ever or be ended by JAX in its own way, and says what to do.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from skillhier.distributed import watchdog

JOIN = 300.0  # s that hosts wait for each other at the start


class HostPlace(NamedTuple):
    """A host among others."""

    coordinator: str  # HOST:PORT of host 0
    hosts: int
    host: int


def find_place(
    environ: Mapping[str, str], coordinator: str | None = None, hosts: int | None = None, host: int | None = None
) -> HostPlace | None:
    """This host's place, from what is given or else from the environment; None where there is but one host.

    Read from the environment: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID (launch.sweep sets them in
    Kubernetes), those that Slurm's srun sets for the tasks of a step, and the index of a Kubernetes Job. Raises
    ValueError, in one line.
    """

    def number(given: int | None, *names: str) -> int | None:
        read = (environ.get(name, "") for name in names)
        return next((int(text) for text in read if text.isdigit()), None) if given is None else given

    hosts = number(hosts, "JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS")
    if hosts is None and coordinator is None and host is None:
        return None
    if hosts is None or hosts < 1:
        given = "is missing" if hosts is None else f"={hosts} is less than 1"
        raise ValueError(f"--hosts{' ' if hosts is None else ''}{given}; give the number of hosts that work together")
    if hosts == 1:
        return None
    host = number(host, "JAX_PROCESS_ID", "SLURM_PROCID", "JOB_COMPLETION_INDEX")
    if host is None or not 0 <= host < hosts:
        given = "--host is missing" if host is None else f"--host={host} is not one of {hosts} hosts"
        raise ValueError(f"{given}; give 0 to {hosts - 1}")
    coordinator = coordinator or environ.get("JAX_COORDINATOR_ADDRESS") or _slurm(environ)
    port = coordinator.rpartition(":")[2] if coordinator else ""
    if not port.isdigit() or not 0 < int(port) < 65535 or coordinator == f":{port}":
        given = f"--coordinator={coordinator} is not" if coordinator else "--coordinator is missing; give"
        raise ValueError(f"{given} HOST:PORT of host 0, such as 10.0.0.1:8476; the port after it is used too")
    return HostPlace(coordinator, hosts, host)


def _slurm(environ: Mapping[str, str]) -> str | None:
    """The first machine of a Slurm step, and a port that is the job's own: node[003-010,12] begins with node003."""
    nodes, job = environ.get("SLURM_STEP_NODELIST", ""), environ.get("SLURM_JOB_ID", "")
    if not nodes or not job.isdigit():
        return None
    name, bracket, rest = nodes.split(",")[0].partition("[")
    first = name + rest.split("-")[0].rstrip("]") if bracket else name
    return f"{first}:{61000 + 2 * (int(job) % 2000)}"


def join(
    place: HostPlace, command: Sequence[str], *, patience: float, last: Callable[[], str], wait: float = JOIN
) -> None:
    """Returns, in a child of this process, once all hosts are there; the process itself ends when the run does.

    Before JAX is first used. patience: s of silence after which a host is given up; last: where the run would go on.
    Raises ValueError where hosts do not come, or were started with another command.
    """
    links = watchdog.meet(place, [jax.__version__, *command], wait)
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    ours, theirs = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(ours)
        code = watchdog.Watchdog(place.host, links, child, patience, last).run()
        sys.stdout.flush()
        os._exit(code)
    os.close(theirs)
    for link in links.values():
        link.close()  # only the parent's end counts: it must close when the parent dies
    threading.Thread(target=lambda: os.read(ours, 1) or os._exit(1), daemon=True).start()  # nobody survives its parent
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.hosts,
            place.host,
            cluster_detection_method="deactivate",
            initialization_timeout=int(wait),
            heartbeat_timeout_seconds=int(2 * patience) + 1,  # the parent is the one to notice
        )
    except RuntimeError as error:
        raise ValueError(f"JAX cannot join the hosts at {place.coordinator}: {error}; choose another port") from None
    barrier("joined")  # lines between CPUs are made at first use, and that waits for 30 s only: nobody compiles yet


def shutdown() -> None:
    """Waits until all hosts have come to the end of the run, and leaves them."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()


def is_main_host() -> bool:
    """Whether this host is the one that writes to the run folder."""
    return jax.process_index() == 0


def barrier(where: str) -> None:
    """Waits until all hosts have come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def any_host(flag: bool) -> bool:
    """Whether any host says so."""
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag)))) if jax.process_count() > 1 else flag


def is_distributed() -> bool:
    """Whether this process has joined others."""
    return jax.distributed.is_initialized()


def wait_for_watchdog() -> None:
    """Before an error is shown: where another host is its cause, the parent ends this process meanwhile."""
    time.sleep(2 * watchdog.GRACE)
