"""Runs of a sweep on this machine: so many at once, each with its log, and one progress line for all."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, TextIO

from launch import runs
from launch.runs import Run

LOG = "log.txt"  # in the run folder; a run that goes on appends to it
GRACE = 120.0  # s that a stopped run has to finish its epoch and save; then it is killed
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child(NamedTuple):
    run: Run
    process: subprocess.Popen
    slot: int  # which of the `parallel` places it takes; its cards follow from it


def start(pending: Sequence[Run], *, parallel: int, gpus: int, done: int, out: TextIO | None = None) -> int:
    """Runs all of `pending`, `parallel` at once; one that fails stops no other. Returns the exit code.

    gpus: cards of each run, which then sees only these; 0 lets every run see all
    done: runs of the sweep that were done before
    Exit codes: 0 all done, or stopped by SIGTERM; 1 some failed; 130 stopped by Ctrl-C.
    SIGTERM and Ctrl-C are forwarded: each run saves, nothing new starts, and a second start goes on from there.
    """
    return Local(pending, parallel, gpus, done, out or sys.stderr or open(os.devnull, "w")).work()


class Local:
    def __init__(self, pending: Sequence[Run], parallel: int, gpus: int, done: int, out: TextIO) -> None:
        self.waiting, self.parallel, self.gpus, self.done, self.out = list(pending), parallel, gpus, done, out
        self.total = done + len(pending)
        self.children: list[Child] = []
        self.failed: list[Run] = []
        self.stopped: list[Run] = []  # by a signal, before they were done
        self.signals: list[int] = []  # received so far; the first one decides
        self.reported_at = -float("inf")

    def work(self) -> int:
        handlers = {number: signal.signal(number, self._forward) for number in SIGNALS}
        try:
            while self.children or (self.waiting and not self.signals):
                while self.waiting and len(self.children) < self.parallel and not self.signals:
                    self._start(self.waiting.pop(0))
                for child in [child for child in self.children if child.process.poll() is not None]:
                    self._finish(child)
                self._kill_overdue()
                self._report()
                time.sleep(0.1)
        finally:
            for child in self.children:  # only where something here went wrong
                child.process.terminate()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self._summarise()

    def _start(self, run: Run) -> None:
        slot = min(set(range(self.parallel)) - {child.slot for child in self.children})
        environment = runs.environment()
        if self.gpus:
            cards = range(slot * self.gpus, (slot + 1) * self.gpus)
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, cards))
        verb = "goes on" if runs.begun(run) else "starts"
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            log = (run.folder / LOG).open("a")
            print(f"$ {run.shell_line()}", file=log, flush=True)
        except OSError as error:
            self.failed.append(run)
            self._print(f"{run.name}: not started: {run.folder / LOG}: {error.strerror}")
            return
        with log:
            process = subprocess.Popen(
                run.command(sys.executable),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal would send it Ctrl-C a second time
            )
        self.children.append(Child(run, process, slot))
        if self.signals:  # one came while the run was being started
            process.send_signal(self.signals[0])
        self._print(f"{run.name}: {verb}, log in {run.folder / LOG}")

    def _finish(self, child: Child) -> None:
        self.children.remove(child)
        run, code = child.run, child.process.returncode
        if code == 0 and (run.folder / "summary.json").is_file():
            self.done += 1
            self._print(f"{run.name}: done")
        elif self.signals:
            self.stopped.append(run)
        else:
            self.failed.append(run)
            self._print(f"{run.name}: {_outcome(code)}: {runs.last_line(run.folder / LOG)}")

    def _forward(self, number: int, _frame: object) -> None:
        """Handles a signal: every run gets it, a hang-up as a request to stop."""
        if not self.signals:
            self.deadline = time.monotonic() + GRACE
        self.signals.append(number)
        for child in self.children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    def _kill_overdue(self) -> None:
        if self.signals and time.monotonic() > self.deadline:
            for child in self.children:
                with suppress(ProcessLookupError):
                    os.killpg(child.process.pid, signal.SIGKILL)  # the last checkpoint stays

    def _report(self) -> None:
        """The progress line: renewed every second on a terminal, elsewhere written every half minute."""
        now, live = time.monotonic(), self.out.isatty()
        if now - self.reported_at < (1.0 if live else 30.0):
            return
        self.reported_at = now
        line = self.line()
        self._write(f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}" if live else f"{line}\n")

    def line(self) -> str:
        """Counts of the whole sweep, then the updates of each run under way."""
        counts = f"{self.done}/{self.total} done, {len(self.children)} running"
        counts += f", {len(self.failed)} failed" if self.failed else ""
        counts += f", {len(self.waiting)} left"
        progress = []
        for run in [child.run for child in self.children]:
            budget = run.settings.get("train.updates")
            progress.append(f"{run.name} {runs.updates(run)}" + (f"/{budget}" if budget else ""))
        return "  ".join([counts, *progress])

    def _print(self, text: str) -> None:
        start = "\r\033[K" if self.out.isatty() else ""
        self._write(f"{start}{text}\n")

    def _write(self, text: str) -> None:
        with suppress(OSError):  # that nobody reads it, or that there is no room for it, stops no run
            self.out.write(text)
            self.out.flush()

    def _summarise(self) -> int:
        """Prints how the sweep ended; returns the exit code."""
        parts = [f"{self.done} of {self.total} runs done"]
        parts += [f"{len(self.failed)} failed ({', '.join(run.name for run in self.failed)})"] if self.failed else []
        parts += [f"{len(self.stopped)} stopped"] if self.stopped else []
        parts += [f"{len(self.waiting)} not started"] if self.waiting else []
        if self.signals and (self.stopped or self.waiting):
            self._print(f"{', '.join(parts)}; the same command goes on")
            return 0 if self.signals[0] == signal.SIGTERM else 128 + self.signals[0]
        self._print(", ".join(parts) + ("; the same command tries them again" if self.failed else ""))
        return 1 if self.failed else 0


def _outcome(code: int) -> str:
    """How a process ended that is not done."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"failed with code {code}" if code else "ended before it was done"
