"""Entry points. A command of one of them that is stopped while it still imports ends as later: by one line."""

import os
import signal
import sys
from pathlib import Path

STOPPED = "stopped; the same command goes on from what was saved"
INTERRUPTED = "interrupted; the same command goes on from what was saved"


def _is_command() -> bool:
    """Whether this process was started to run an entry point: `python -m experiments.NAME` or the file itself."""
    if sys.argv[:1] == ["-m"]:  # while the package of a module to be run is imported
        return any(argument.startswith("experiments.") for argument in sys.orig_argv)
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return main is not None and Path(main).resolve().parent == Path(__file__).parent


def _end(number: int, _frame: object) -> None:
    """Ends the process with the line and the code that experiments.shared.cli gives later."""
    line, code = (STOPPED, 0) if number == signal.SIGTERM else (INTERRUPTED, 130)
    print(line, file=sys.stderr, flush=True)
    os._exit(code)


if _is_command():
    for _number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(_number) in (signal.SIG_DFL, signal.default_int_handler):  # else who starts it ignores it
            signal.signal(_number, _end)
