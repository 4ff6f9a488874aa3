"""Watchdogs of the hosts of one run: their connections, their messages, and how a run ends when a host does.

Plain TCP and no JAX. Messages are text, one a line. `beat`: this host is alive; `done`: its run has ended well;
`failed`: its run has ended with an error; `lost N HOW`: host N has ended.
"""

import hashlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

GRACE = 3.0  # s in which a host that met the same error as another may end with its own message


def meet(place: Any, command: Sequence[str], wait: float) -> dict[int, socket.socket]:
    """Connections to the other hosts by number: of host 0 to all, of others to host 0.

    place: a hosts.HostPlace; command: the arguments that all hosts must have, in any order; wait: s until an error.
    Raises ValueError where hosts do not connect, were started with another command, or the port is in use.
    """
    name, _, port = place.coordinator.rpartition(":")
    fingerprint = hashlib.sha256(json.dumps([place.hosts, sorted(command)]).encode()).hexdigest()
    until = time.monotonic() + wait
    if place.host:
        while True:
            try:
                link = socket.create_connection((name.strip("[]"), int(port) + 1), timeout=5)
                link.settimeout(max(1.0, until - time.monotonic()))
                link.sendall(json.dumps({"host": place.host, "command": fingerprint}).encode() + b"\n")
                reply = json.loads(_line(link) or '""')
            except (OSError, ValueError):
                reply = ""
            if reply == "welcome":
                return {0: link}
            if reply:
                raise ValueError(reply)
            if time.monotonic() > until:
                raise ValueError(f"host 0 did not answer at {place.coordinator} within {wait:g} s; start it too")
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
                    number, command_of_other = int(other["host"]), other["command"]
                except (OSError, ValueError, KeyError, TypeError):
                    link.close()  # not a host of this run
                    continue
                if command_of_other != fingerprint or not 0 < number < place.hosts:
                    complaint = f"host {number} was started with another command than host 0; give both the same"
                    for each in (link, *links.values()):
                        each.sendall(json.dumps(complaint).encode() + b"\n")
                    raise ValueError(complaint)
                links[number] = link
    except TimeoutError:
        missing = ", ".join(str(number) for number in range(1, place.hosts) if number not in links)
        raise ValueError(
            f"host {missing} did not connect within {wait:g} s; start the same command there too"
        ) from None
    except OSError as error:
        raise ValueError(f"port {int(port) + 1} is not free ({error.strerror}); choose another --coordinator") from None
    for link in links.values():
        link.sendall(b'"welcome"\n')
    return links


def _line(link: socket.socket) -> bytes:
    """One line, without reading beyond it."""
    line = b""
    while not line.endswith(b"\n") and len(line) < 4096 and (byte := link.recv(1)):
        line += byte
    return line


class Watchdog:
    """The parent process of a host: it listens to the other hosts, and reports to them how its child ends.

    When another host is lost, it ends its child and prints why.
    """

    def __init__(
        self, host: int, links: dict[int, socket.socket], child: int, patience: float, last: Callable[[], str]
    ) -> None:
        self.host, self.links, self.child, self.patience, self.last = host, links, child, patience, last
        self.heard = dict.fromkeys(links, time.monotonic())
        self.done: dict[int, float] = {}  # hosts whose run has ended well, and when
        self.why = ""  # the message if this run ends early
        self.until = float("inf")  # when the child is killed

    def run(self) -> int:
        """Watches until the child ends; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):  # the terminal sends SIGINT to the child too
            signal.signal(number, self._pass_on)
        with selectors.DefaultSelector() as selector:
            for other, link in self.links.items():
                link.setblocking(False)
                selector.register(link, selectors.EVENT_READ, (other, bytearray()))
            beat, status = 0.0, None
            while status is None:
                for key, _ in selector.select(timeout=0.05):
                    if not self._receive(*key.data, key.fileobj):
                        selector.unregister(key.fileobj)
                now = time.monotonic()
                if now - beat > self.patience / 5:
                    beat = now
                    self._send("beat")
                for other, when in self.heard.items():
                    if other not in self.done and now - when > self.patience:
                        self._lose(other, "is gone", 0)
                if self.done and now - min(self.done.values()) > self.patience:
                    self._lose(min(self.done), "has stopped", 0)
                if now > self.until:
                    os.kill(self.child, signal.SIGKILL)
                status = self._ended()
            if status < 0 and not self.why:  # JAX aborts a process that lost host 0, perhaps before we received that
                for key, _ in selector.select(timeout=GRACE):
                    self._receive(*key.data, key.fileobj)
        return self._leave(status)

    def _pass_on(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            with suppress(ProcessLookupError):
                os.kill(self.child, number)

    def _receive(self, other: int, buffer: bytearray, link: Any) -> bool:
        """Reads messages of a host; False where the connection has closed. buffer: the start of an incomplete line."""
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
        buffer += received
        while b"\n" in buffer:
            line, _, rest = bytes(buffer).partition(b"\n")
            buffer[:] = rest
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
            self._send(f"lost {other} {how}")

    def _send(self, message: str) -> None:
        for link in self.links.values():
            try:
                link.send(message.encode() + b"\n")
            except OSError:  # a host that is gone or does not read is noticed by its silence
                continue

    def _ended(self) -> int | None:
        """The child's exit code, negative for a signal; None while it runs."""
        ended, status = os.waitpid(self.child, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None

    def _leave(self, status: int) -> int:
        if status == 0:
            self._send("done")
            return 0
        if status > 0 and (not self.why or "error" in self.why):  # the child has printed its own message
            self._send("failed")
            return status
        if not self.why:
            killed = signal.Signals(-status).name
            self.why = f"the run on host {self.host} was ended by {killed}; start the same command on all hosts again: "
            self.why += f"it goes on {self.last()}"
            self._send("failed")
        print(self.why, file=sys.stderr, flush=True)
        return 1
