"""How a command ends: its exit code, and one line in place of a traceback where it is not to blame.

Codes: 0 done, or stopped by SIGTERM after saving; 2 wrong use; 1 a run that could not go on; else 128 + the signal.
"""

import contextlib
import errno
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from experiments import INTERRUPTED, STOPPED
from experiments.shared import preflight
from experiments.shared.settings import Refused
from skillhier.data import faults
from skillhier.distributed import hosts
from skillhier.train import checkpoint, metrics, run_folder

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OF_THE_SYSTEM = (*FULL, *preflight.REMEDIES, errno.EIO, errno.EMFILE, errno.ENFILE)
FRESH: list[Path] = []  # run folders that this process has begun


class RunStopped(Exception):
    """A run that a signal ended, after saving."""

    def __init__(self, number: signal.Signals, message: str) -> None:
        super().__init__(message)
        self.code = 0 if number == signal.SIGTERM else 128 + number


@contextlib.contextmanager
def handled(module: str) -> Iterator[None]:
    """Ends the process with one line where the block raises an error that its user, or the machine, has to mend."""
    try:
        yield
    except BrokenPipeError:  # whoever read what was printed, `head` perhaps, has seen enough
        os._exit(141)
    except RunStopped as stopped:
        hosts.shutdown()
        _leave(_one_line(stopped, stopped.code))
    except KeyboardInterrupt:
        _leave(_one_line(INTERRUPTED, 130))
    except (Refused, run_folder.RunFolderError) as error:
        leave_nothing()
        _end(_one_line(error, 2), module)
    except faults.DataFault as error:
        leave_nothing()
        _end(_one_line(error, 1), module)
    except (checkpoint.CheckpointError, metrics.RecordError, FloatingPointError) as error:
        _end(_one_line(error, 1), module)
    except OSError as error:
        if error.errno not in OF_THE_SYSTEM:
            raise
        remedy = "make room" if error.errno in FULL else "see to it"
        where = error.filename or "standard output"  # files are named by who writes them
        line = f"{where}: {error.strerror}; {remedy}, and the same command goes on from what was saved"
        _end(_one_line(line, 1), module)
    except Exception as error:
        lacking = missing_setting(error)
        if lacking:
            leave_nothing()
            line = f"the config has no setting {lacking}, which this version wants; compare it with experiments/configs"
            _end(_one_line(line, 2), module)
        if not hosts.is_distributed():
            raise
        hosts.wait_for_watchdog()
        traceback.print_exc()
        _leave(1)


def missing_setting(error: Exception) -> str | None:
    """The setting, quoted, that a config was asked for and does not have, as one's own of an earlier version."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    asked = isinstance(error, AttributeError | KeyError) and last.filename == inspect.getfile(ConfigDict)
    return str(error.args[0]).strip('"') if asked and error.args else None


def leave_nothing() -> None:
    """Takes back the folders that this command, which is refused, has begun: the corrected one begins them anew."""
    for path in FRESH:
        run_folder.take_back(path)
    FRESH.clear()


def stop(number: int, _frame: object) -> None:
    """A handler of SIGTERM, for whenever no loop listens for it."""
    _leave(_one_line(STOPPED, 0))


def _leave(code: int) -> None:
    """Ends the process at once, without tidying up and without raising anything.

    A compiled program that calls back to Python would otherwise be waited for by an interpreter that answers no
    more; and where its callback runs in this thread, it would take an exception for a fault of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or there is no room for it
            stream.flush()
    os._exit(code)


def _end(code: int, module: str) -> None:
    """Ends the process: at once where it is a command of its own, for what it had begun to compute may call back to
    Python (`_leave`), or where there are other hosts, for whom JAX would wait.
    """
    if module == "__main__" or hosts.is_distributed():
        _leave(code)
    sys.exit(code)


def _one_line(error: Exception | str, code: int) -> int:
    print(" ".join(str(error).split()), file=sys.stderr)
    return code
