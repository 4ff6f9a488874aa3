"""The lines between the processes that look after the hosts of one run: how they meet, what they tell each other.

Plain TCP in plain Python, without JAX: what goes over a line are words, one message a line. `beat`: I am there; `done`:
my run has ended well; `failed`: it has not; `lost N HOW`: host N is no longer with us.
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

GRACE = 3.0  # s in which a host that has met the same fault as another may end with words of its own


def meet(place: Any, command: Sequence[str], wait: float) -> dict[int, socket.socket]:
    """The lines to the other hosts, by their numbers: of host 0 to all, of others to host 0.

    place: a hosts.Place; command: what all must have been started with, in any order; wait: s. Raises ValueError.
    """
    name, _, port = place.coordinator.rpartition(":")
    said = hashlib.sha256(json.dumps([place.hosts, sorted(command)]).encode()).hexdigest()
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


class Watchdog:
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
            signal.signal(number, self._pass_on)
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

    def _pass_on(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            with suppress(ProcessLookupError):
                os.kill(self.child, number)

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
