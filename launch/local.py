"""Runs of a sweep on this machine: so many at once, each with its log, and one line that tells of all."""

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

LOG = "log.txt"  # in the run folder; a run that goes on adds to it
PATIENCE = 120.0  # s that a run has to finish its epoch, save and go once it has been told to
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child(NamedTuple):
    run: Run
    process: subprocess.Popen
    slot: int  # of the `parallel` places


def start(pending: Sequence[Run], *, parallel: int, gpus: int, done: int, out: TextIO | None = None) -> int:
    """Runs all of `pending`, `parallel` at once; one that fails stops no other. Gives back the exit code.

    gpus: cards for each run, its own ones; 0 lets every run see all
    done: runs of the sweep that were done before
    Exit codes: 0 all done, or stopped by SIGTERM; 1 some failed; 130 stopped by Ctrl-C.
    SIGTERM and Ctrl-C are passed on: each run saves, nothing new starts, and a second start goes on from there.
    """
    return Local(pending, parallel, gpus, done, out or sys.stderr).work()


class Local:
    def __init__(self, pending: Sequence[Run], parallel: int, gpus: int, done: int, out: TextIO) -> None:
        self.left, self.parallel, self.gpus, self.done, self.out = list(pending), parallel, gpus, done, out
        self.total = done + len(pending)
        self.children: list[Child] = []
        self.failed: list[Run] = []
        self.saved: list[Run] = []  # stopped before they were done
        self.heard: list[int] = []
        self.told = -float("inf")  # when the progress was told last

    def work(self) -> int:
        former = {number: signal.signal(number, self._pass_on) for number in SIGNALS}
        try:
            while self.children or (self.left and not self.heard):
                while self.left and len(self.children) < self.parallel and not self.heard:
                    self._begin(self.left.pop(0))
                for child in [child for child in self.children if child.process.poll() is not None]:
                    self._end(child)
                self._tell()
                time.sleep(0.1)
        finally:
            for child in self.children:  # only where something here went wrong
                child.process.terminate()
            for number, handler in former.items():
                signal.signal(number, handler)
        return self._close()

    def _begin(self, run: Run) -> None:
        slot = min(set(range(self.parallel)) - {child.slot for child in self.children})
        environment = runs.environment()
        if self.gpus:
            cards = range(slot * self.gpus, (slot + 1) * self.gpus)
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, cards))
        how = "goes on" if runs.begun(run) else "starts"
        run.folder.mkdir(parents=True, exist_ok=True)
        with (run.folder / LOG).open("a") as log:
            print(f"$ {run.shown()}", file=log, flush=True)
            process = subprocess.Popen(
                run.command(sys.executable),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C would reach it twice
            )
        self.children.append(Child(run, process, slot))
        if self.heard:  # a signal came while it was being started
            process.send_signal(self.heard[0])
        self._say(f"{run.name}: {how}, log in {run.folder / LOG}")

    def _end(self, child: Child) -> None:
        self.children.remove(child)
        run, code = child.run, child.process.returncode
        if code == 0 and (run.folder / "summary.json").is_file():
            self.done += 1
            self._say(f"{run.name}: done")
        elif self.heard:
            self.saved.append(run)
        else:
            self.failed.append(run)
            why = runs.last_line(run.folder / LOG)
            self._say(f"{run.name}: {_ended(code)}: {why}")

    def _pass_on(self, number: int, _frame: object) -> None:
        if not self.heard:
            self.deadline = time.monotonic() + PATIENCE
        self.heard.append(number)
        for child in self.children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    def _tell(self) -> None:
        """The progress line: renewed every second on a terminal, elsewhere written every half minute."""
        now = time.monotonic()
        if self.heard and now > self.deadline:
            for child in self.children:
                with suppress(ProcessLookupError):
                    os.killpg(child.process.pid, signal.SIGKILL)  # the last checkpoint stays
        live = self.out.isatty()
        if now - self.told < (1.0 if live else 30.0):
            return
        self.told = now
        line = self.line()
        if live:
            self.out.write(f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}")
            self.out.flush()
        else:
            print(line, file=self.out, flush=True)

    def line(self) -> str:
        """Where the whole sweep stands, then the updates of each run under way."""
        counts = f"{self.done}/{self.total} done, {len(self.children)} running"
        counts += f", {len(self.failed)} failed" if self.failed else ""
        counts += f", {len(self.left)} left"
        under_way = []
        for run in [child.run for child in self.children]:
            budget = run.settings.get("train.updates")
            under_way.append(f"{run.name} {runs.updates(run)}" + (f"/{budget}" if budget else ""))
        return "  ".join([counts, *under_way])

    def _say(self, text: str) -> None:
        start = "\r\033[K" if self.out.isatty() else ""
        print(f"{start}{text}", file=self.out, flush=True)

    def _close(self) -> int:
        """Says what became of it all; the exit code."""
        told = [f"{self.done} of {self.total} runs done"]
        told += [f"{len(self.failed)} failed ({', '.join(run.name for run in self.failed)})"] if self.failed else []
        told += [f"{len(self.saved)} stopped"] if self.saved else []
        told += [f"{len(self.left)} not started"] if self.left else []
        if self.heard and (self.saved or self.left):
            self._say(f"{', '.join(told)}; the same command goes on")
            return 0 if self.heard[0] == signal.SIGTERM else 128 + self.heard[0]
        self._say(", ".join(told) + ("; the same command tries them again" if self.failed else ""))
        return 1 if self.failed else 0


def _ended(code: int) -> str:
    """How a process left that is not done."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"failed with code {code}" if code else "left before it was done"
