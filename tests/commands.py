"""Entry points called as from a shell, in this process."""

import signal
from types import ModuleType

import pytest

from experiments.shared import cli


def call(capsys, entry: ModuleType, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the main of an entry point that has no config."""
    former = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as stopped:
            cli.run(entry.main, needs_config=False, argv=[entry.__name__, *arguments])
    finally:
        signal.signal(signal.SIGTERM, former)
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err
