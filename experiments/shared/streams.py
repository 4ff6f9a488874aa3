"""Standard output and error, which may be closed, full, or read by nobody any more.

What a command is for lies in its folder. So a message that nobody can read is no reason to stop, and a run goes on
without; a command that writes nowhere else ends instead.
"""

import os
import sys
from typing import TextIO


class Heedless:
    """A stream as it is, until a write fails: from then on what is written is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lost = False

    def write(self, text: str) -> int:
        self._attempt(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self.stream.flush)

    def _attempt(self, operation) -> None:
        if self.lost:
            return
        try:
            operation()
        except (OSError, ValueError):  # ValueError: it was closed
            self.lost = True
            null = os.open(os.devnull, os.O_WRONLY)  # what the stream still holds is dropped when the process ends
            os.dup2(null, self.stream.fileno())

    def __getattr__(self, name: str):
        return getattr(self.stream, name)


def settle(*, heedless: bool) -> None:
    """Gives this process streams that it can write to; with `heedless` also standard output drops what fails.

    A stream that was closed when the process began would be the first file that it opens.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))  # noqa: SIM115
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are no UTF-8
    sys.stderr = Heedless(sys.stderr)
    if heedless:
        sys.stdout = Heedless(sys.stdout)
