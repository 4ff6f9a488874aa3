"""Several machines (hosts) that work on one run, each started with the same command.

On each host the started process forks: the child runs the training, the parent is a watchdog. The parent does not use
JAX. It is connected to the other hosts' parents (host 0 to all, on the port after the coordinator's), so it notices at
once when a host ends, for whatever reason. It then ends its child, which would otherwise wait forever or be aborted by
JAX, and prints what to do.
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

JOIN_TIMEOUT = 300.0  # s that hosts wait for each other at the start


class HostPlace(NamedTuple):
    """The position of a host among those of a run."""

    coordinator: str  # HOST:PORT of host 0
    hosts: int
    host: int


def find_place(
    environ: Mapping[str, str], coordinator: str | None = None, hosts: int | None = None, host: int | None = None
) -> HostPlace | None:
    """This host's place, from the arguments or else from the environment; None for a single host.

    Environment variables: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID (launch.sweep sets them in
    Kubernetes), those that Slurm's srun sets for the tasks of a step, and the index of a Kubernetes Job. Raises
    ValueError with one line.
    """

    def number(argument: int | None, *names: str) -> int | None:
        texts = (environ.get(name, "") for name in names)
        return next((int(text) for text in texts if text.isdigit()), None) if argument is None else argument

    hosts = number(hosts, "JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS")
    if hosts is None and coordinator is None and host is None:
        return None
    if hosts is None or hosts < 1:
        problem = " is missing" if hosts is None else f"={hosts} is less than 1"
        raise ValueError(f"--hosts{problem}; give the number of hosts that work together")
    if hosts == 1:
        return None
    host = number(host, "JAX_PROCESS_ID", "SLURM_PROCID", "JOB_COMPLETION_INDEX")
    if host is None or not 0 <= host < hosts:
        problem = "--host is missing" if host is None else f"--host={host} is not one of {hosts} hosts"
        raise ValueError(f"{problem}; give 0 to {hosts - 1}")
    coordinator = coordinator or environ.get("JAX_COORDINATOR_ADDRESS") or _slurm(environ)
    port = coordinator.rpartition(":")[2] if coordinator else ""
    if not port.isdigit() or not 0 < int(port) < 65535 or coordinator == f":{port}":
        problem = f"--coordinator={coordinator} is not" if coordinator else "--coordinator is missing; give"
        raise ValueError(f"{problem} HOST:PORT of host 0, such as 10.0.0.1:8476; the port after it is used too")
    return HostPlace(coordinator, hosts, host)


def _slurm(environ: Mapping[str, str]) -> str | None:
    """The first node of a Slurm step (node003 of node[003-010,12]) and a port derived from the job's number."""
    nodes, job = environ.get("SLURM_STEP_NODELIST", ""), environ.get("SLURM_JOB_ID", "")
    if not nodes or not job.isdigit():
        return None
    name, bracket, rest = nodes.split(",")[0].partition("[")
    first = name + rest.split("-")[0].rstrip("]") if bracket else name
    return f"{first}:{61000 + 2 * (int(job) % 2000)}"


def join(
    place: HostPlace, command: Sequence[str], *, patience: float, last: Callable[[], str], wait: float = JOIN_TIMEOUT
) -> None:
    """Waits for all hosts and returns in a child of this process; the process itself ends when the run does.

    Call before JAX is first used. patience: s of silence after which a host counts as lost; last: says where the run
    would resume. Raises ValueError where a host does not connect or was started with another command.
    """
    links = watchdog.meet(place, [jax.__version__, *command], wait)
    jax.config.update("jax_enable_preemption_service", False)  # it would handle SIGTERM itself
    child_end, parent_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(child_end)
        code = watchdog.Watchdog(place.host, links, child, patience, last).run()
        sys.stdout.flush()
        os._exit(code)
    os.close(parent_end)
    for link in links.values():
        link.close()  # a connection must close when the parent dies, so only the parent may hold it
    # the pipe closes when the parent dies, and the child ends with it
    threading.Thread(target=lambda: os.read(child_end, 1) or os._exit(1), daemon=True).start()
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.hosts,
            place.host,
            cluster_detection_method="deactivate",
            initialization_timeout=int(wait),
            heartbeat_timeout_seconds=int(2 * patience) + 1,  # later than the watchdog, which is to notice first
        )
    except RuntimeError as error:
        raise ValueError(f"JAX cannot join the hosts at {place.coordinator}: {error}; choose another port") from None
    barrier("joined")  # connections between CPUs open at first use and wait for 30 s only: before anyone compiles


def shutdown() -> None:
    """Waits until all hosts have reached the end of the run, and disconnects."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()


def is_main_host() -> bool:
    """Whether this host writes to the run folder."""
    return jax.process_index() == 0


def barrier(where: str) -> None:
    """Waits until all hosts have called this with the same `where`."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def any_host(flag: bool) -> bool:
    """Whether `flag` is true on any host."""
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag)))) if jax.process_count() > 1 else flag


def is_distributed() -> bool:
    """Whether this process belongs to a run of several hosts."""
    return jax.distributed.is_initialized()


def wait_for_watchdog() -> None:
    """Gives the watchdog time to end this process before it shows an error that another host caused."""
    time.sleep(2 * watchdog.GRACE)
