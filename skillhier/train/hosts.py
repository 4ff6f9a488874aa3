"""Several machines (hosts) that work on one run, each started with the same command.

What a host does is done by a child of the process that was started. The parent knows nothing of JAX: it holds a line to
the other hosts (host 0 to all, on the port after the coordinator's), and hears at once when one goes, however it
goes. It then ends its child, which would wait for ever or be ended by JAX in its own way, and says what to do.
"""

import hashlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

JOIN = 300.0  # s that hosts wait for each other at the start
GRACE = 3.0  # s in which a host that has met the same fault as another may end with words of its own


class Place(NamedTuple):
    """A host among others."""

    coordinator: str  # HOST:PORT of host 0
    hosts: int
    host: int


def find(
    environ: Mapping[str, str], coordinator: str | None = None, hosts: int | None = None, host: int | None = None
) -> Place | None:
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
    return Place(coordinator, hosts, host)


def _slurm(environ: Mapping[str, str]) -> str | None:
    """The first machine of a Slurm step, and a port that is the job's own: node[003-010,12] begins with node003."""
    nodes, job = environ.get("SLURM_STEP_NODELIST", ""), environ.get("SLURM_JOB_ID", "")
    if not nodes or not job.isdigit():
        return None
    name, bracket, rest = nodes.split(",")[0].partition("[")
    first = name + rest.split("-")[0].rstrip("]") if bracket else name
    return f"{first}:{61000 + 2 * (int(job) % 2000)}"


def join(place: Place, command: Sequence[str], *, patience: float, last: Callable[[], str], wait: float = JOIN) -> None:
    """Returns, in a child of this process, once all hosts are there; the process itself ends when the run does.

    Before JAX is first used. patience: s of silence after which a host is given up; last: where the run would go on.
    Raises ValueError where hosts do not come, or were started with another command.
    """
    links = _meet(place, command, wait)
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    ours, theirs = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(ours)
        code = _Watch(place.host, links, child, patience, last).run()
        sys.stdout.flush()
        os._exit(code)
    os.close(theirs)
    for link in links.values():
        link.close()  # only the parent's end counts: it must close when the parent dies
    threading.Thread(target=lambda: os.read(ours, 1) or os._exit(1), daemon=True).start()  # nobody survives its parent
    jax.distributed.initialize(
        place.coordinator,
        place.hosts,
        place.host,
        cluster_detection_method="deactivate",
        initialization_timeout=int(wait),
        heartbeat_timeout_seconds=int(2 * patience) + 1,  # the parent is the one to notice
    )


def _meet(place: Place, command: Sequence[str], wait: float) -> dict[int, socket.socket]:
    """The lines to the other hosts, by their numbers: of host 0 to all, of others to host 0."""
    name, _, port = place.coordinator.rpartition(":")
    said = hashlib.sha256(json.dumps([jax.__version__, place.hosts, sorted(command)]).encode()).hexdigest()
    until = time.monotonic() + wait
    if place.host:
        while True:
            try:
                link = socket.create_connection((name.strip("[]"), int(port) + 1), timeout=5)
                link.settimeout(max(1.0, until - time.monotonic()))
                link.sendall(json.dumps({"host": place.host, "command": said}).encode() + b"\n")
                told = json.loads(_line(link) or '""')
            except (OSError, ValueError):
                told = ""
            if told == "welcome":
                return {0: link}
            if told:
                raise ValueError(told)
            if time.monotonic() > until:
                raise ValueError(f"host 0 was not to be reached at {place.coordinator} within {wait:g} s; start it too")
            time.sleep(0.2)
    links: dict[int, socket.socket] = {}
    try:
        with socket.create_server(("", int(port) + 1), reuse_port=False) as server:
            while len(links) < place.hosts - 1:
                server.settimeout(max(0.01, until - time.monotonic()))
                link, _ = server.accept()
                link.settimeout(5)
                try:
                    other = json.loads(_line(link))
                    number, theirs = int(other["host"]), other["command"]
                except (OSError, ValueError, KeyError, TypeError):
                    link.close()  # somebody else
                    continue
                if theirs != said or not 0 < number < place.hosts:
                    complaint = f"host {number} was started with another command than host 0; give both the same"
                    for each in (link, *links.values()):
                        each.sendall(json.dumps(complaint).encode() + b"\n")
                    raise ValueError(complaint)
                links[number] = link
    except TimeoutError:
        missing = ", ".join(str(number) for number in range(1, place.hosts) if number not in links)
        raise ValueError(f"host {missing} did not come within {wait:g} s; start the same command there too") from None
    except OSError as error:
        raise ValueError(f"port {int(port) + 1} is not free ({error.strerror}); choose another --coordinator") from None
    for link in links.values():
        link.sendall(b'"welcome"\n')
    return links


def _line(link: socket.socket) -> bytes:
    """One line, and not a byte more."""
    found = b""
    while not found.endswith(b"\n") and len(found) < 4096 and (byte := link.recv(1)):
        found += byte
    return found


class _Watch:
    """What the parent does: it hears the other hosts, and lets them hear what becomes of its child."""

    def __init__(
        self, host: int, links: dict[int, socket.socket], child: int, patience: float, last: Callable[[], str]
    ) -> None:
        self.host, self.links, self.child, self.patience, self.last = host, links, child, patience, last
        self.heard = dict.fromkeys(links, time.monotonic())
        self.done: dict[int, float] = {}  # hosts whose run has ended well, and when
        self.why = ""  # what ends this run before its time
        self.until = float("inf")  # when it ends at the latest

    def run(self) -> int:
        """The exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):  # Ctrl-C reaches the child by itself
            signal.signal(number, lambda number, _: number == signal.SIGTERM and os.kill(self.child, number))
        with selectors.DefaultSelector() as found:
            for other, link in self.links.items():
                link.setblocking(False)
                found.register(link, selectors.EVENT_READ, (other, bytearray()))
            beat, status = 0.0, None
            while status is None:
                for key, _ in found.select(timeout=0.05):
                    if not self._hear(*key.data, key.fileobj):
                        found.unregister(key.fileobj)
                now = time.monotonic()
                if now - beat > self.patience / 5:
                    beat = now
                    self._tell("beat")
                for other, when in self.heard.items():
                    if other not in self.done and now - when > self.patience:
                        self._lose(other, "is gone", 0)
                if self.done and now - min(self.done.values()) > self.patience:
                    self._lose(min(self.done), "has stopped", 0)
                if now > self.until:
                    os.kill(self.child, signal.SIGKILL)
                status = self._ended()
            if status < 0 and not self.why:  # JAX ends a process whose host 0 is gone, perhaps before it is heard of
                for key, _ in found.select(timeout=GRACE):
                    self._hear(*key.data, key.fileobj)
        return self._leave(status)

    def _hear(self, other: int, begun: bytearray, link: Any) -> bool:
        """Takes in what a host says; False where it will say no more."""
        try:
            received = link.recv(4096)
        except BlockingIOError:
            return True
        except OSError:
            received = b""
        if not received:
            if other not in self.done:
                self._lose(other, "is gone", 0)
                self.heard.pop(other, None)
            return False
        self.heard[other] = time.monotonic()
        begun += received
        while b"\n" in begun:
            line, _, rest = bytes(begun).partition(b"\n")
            begun[:] = rest
            word, _, more = line.decode(errors="replace").partition(" ")
            if word == "done":
                self.done[other] = time.monotonic()
            elif word == "failed":
                self._lose(other, "ended with an error", GRACE)
            elif word == "lost":
                number, _, how = more.partition(" ")
                self._lose(int(number), how, GRACE if "error" in how else 0)
        return True

    def _lose(self, other: int, how: str, grace: float) -> None:
        if not self.why:
            self.why = f"host {other} {how}; start the same command on all hosts again: it goes on {self.last()}"
            self.until = time.monotonic() + grace
            self._tell(f"lost {other} {how}")

    def _tell(self, words: str) -> None:
        for link in self.links.values():
            try:
                link.send(words.encode() + b"\n")
            except OSError:  # gone, or deaf: it will be noticed
                continue

    def _ended(self) -> int | None:
        """The child's exit code, negative for a signal; None while it runs."""
        ended, status = os.waitpid(self.child, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None

    def _leave(self, status: int) -> int:
        if status == 0:
            self._tell("done")
            return 0
        if status > 0 and (not self.why or "error" in self.why):  # it has said why
            self._tell("failed")
            return status
        if not self.why:
            killed = signal.Signals(-status).name
            self.why = f"the run on host {self.host} was ended by {killed}; start the same command on all hosts again: "
            self.why += f"it goes on {self.last()}"
            self._tell("failed")
        print(self.why, file=sys.stderr, flush=True)
        return 1


def part() -> None:
    """Waits until all hosts have come to the end of the run, and leaves them."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()


def first() -> bool:
    """Whether this host is the one that writes to the run folder."""
    return jax.process_index() == 0


def together(where: str) -> None:
    """Waits until all hosts have come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def anyone(flag: bool) -> bool:
    """Whether any host says so."""
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag)))) if jax.process_count() > 1 else flag


def several() -> bool:
    """Whether this process has joined others."""
    return jax.distributed.is_initialized()


def linger() -> None:
    """Before an error is shown: where another host is its cause, the parent ends this process meanwhile."""
    time.sleep(2 * GRACE)
