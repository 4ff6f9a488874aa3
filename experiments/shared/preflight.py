"""What every command looks at before it writes or computes anything, and what --check looks at too.

Refused in one line: arguments that no file or page could show, numbers that are none, files of another entry point,
folders that cannot be read or written, runs that cannot go on as they are told to.
"""

import contextlib
import errno
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.shared.settings import CONFIGS, Refused, finite
from skillhier.train import checkpoint, run_folder

WRITTEN = ("workdir", "out")  # flags that name a folder to write to
READ = ("run", "file")  # flags that name what is read
BUDGET = "train.updates"
REMEDIES = {  # what may be wrong about a path, and what to do about it
    errno.EACCES: "get permission for it, or name another path",
    errno.EPERM: "get permission for it, or name another path",
    errno.EROFS: "name a path on another disk",
    errno.ENAMETOOLONG: "give a shorter name; file systems allow 255 bytes",
    errno.ENOTDIR: "name a folder where a file is in its place",
    errno.EISDIR: "name a file where a folder is in its place",
    errno.ELOOP: "its links lead in a circle; name another path",
}


def trouble(error: OSError) -> str | None:
    """One line about a path that cannot be used; None where the error is of another kind."""
    if error.errno not in REMEDIES or error.filename is None:
        return None
    return f"{str(error.filename)[:200]}: {error.strerror}; {REMEDIES[error.errno]}"


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Raises Refused in place of an error of a path that the command has named."""
    try:
        yield
    except OSError as error:
        message = trouble(error)
        if message is None:
            raise
        raise Refused(message) from None


def check_arguments(arguments: Iterable[str]) -> None:
    """Refuses what would break a line of a script, a job file or a page: control characters, bytes not of UTF-8."""
    for argument in arguments:
        wrong = next((letter for letter in argument if unicodedata.category(letter) in ("Cc", "Cs")), None)
        if wrong is not None:
            what = "a byte that is no UTF-8" if unicodedata.category(wrong) == "Cs" else f"the character {wrong!r}"
            raise Refused(f"{argument[:80]!a} holds {what}; arguments are one line of text, leave it out")


def check_numbers(given: flags.FlagValues) -> None:
    """Refuses flags whose number is none: NaN, Inf, or smaller than float32 knows."""
    for name in given:
        if isinstance(given[name].value, float):
            try:
                finite(given[name].value)
            except ValueError as error:
                raise Refused(f"--{name}={given[name].value}: {error}") from None


def check_config_file(name: str, address: str, needs_config: bool) -> None:
    """Refuses the config file of another entry point than `name`, and any where none is read."""
    file = Path(address.partition(":")[0])
    if not needs_config:
        raise Refused(f"--config={address[:80]} means nothing to {name}, which has no config; leave it out")
    own = CONFIGS / f"{name}.py"
    if own.is_file() and file.stem != name and os.path.realpath(file.parent) == os.path.realpath(CONFIGS):
        raise Refused(f"--config={address[:80]} is a config of {file.stem}; {name} takes {os.path.relpath(own)}:PRESET")


def check_learning(name: str, learning: Iterable[str]) -> None:
    """Refuses the flags `learning` of the entry point `name`, which learns nothing."""
    for flag in learning:
        if flags.FLAGS[flag].present:
            given = f"--{flag}={flags.FLAGS[flag].value}"
            raise Refused(f"{given} means nothing to {name}, which learns nothing; leave it out")


def check_flags(missing_ok: bool = False) -> None:
    """Refuses flags of this command that name folders which cannot be read or written.

    missing_ok: what is read need not be there yet, as in a sweep that begins with the runs of another one
    """
    for flag in WRITTEN:
        if flag in flags.FLAGS and flags.FLAGS[flag].value:
            check_writable(f"--{flag}", Path(flags.FLAGS[flag].value))
    for flag in READ:
        if flag in flags.FLAGS and flags.FLAGS[flag].value:
            path = Path(flags.FLAGS[flag].value)
            if not _exists(path) and missing_ok:
                continue
            if flag == "run":
                run_folder.read_config(path)
            elif not path.exists():
                raise Refused(f"--{flag}={path}: there is nothing at this path; name a file that there is")
    if flags.FLAGS.init_from:
        check_init_from(flags.FLAGS.init_from, missing_ok)


def check_init_from(address: str, missing_ok: bool = False) -> None:
    """Refuses RUN:PART whose run is not there, or cannot be read. Raises RunFolderError."""
    path = Path(address.rpartition(":")[0])
    if not _exists(path):
        if missing_ok:
            return
        raise Refused(f"--init_from={address[:200]}: there is no folder {str(path)[:200]}; give RUN:all of a run")
    if not os.access(path, os.R_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if not (path / "config.json").is_file() and not (path.parent / "config.json").is_file():
        run_folder.read_config(path)


def check_writable(flag: str, path: Path) -> None:
    """Refuses a folder, which need not be there, that this process could not write to."""
    above = path.absolute()
    try:
        while not above.exists():
            above = above.parent
    except OSError as error:
        raise Refused(f"{flag}={trouble(error) or error}") from None
    if not above.is_dir():
        raise Refused(f"{flag}={path}: {above} is a file; give a folder")
    if os.statvfs(above).f_flag & os.ST_RDONLY:
        raise Refused(f"{flag}={path}: {above} is on a disk that can only be read; choose another {flag}")
    if not os.access(above, os.W_OK | os.X_OK):
        raise Refused(f"{flag}={path}: no permission to write in {above}; get it, or choose another {flag}")


def check_run(path: Path, settings: Mapping[str, Any], free: Sequence[str]) -> None:
    """Refuses to go on with a run in `path` that was begun otherwise, or has done more. Raises RunFolderError too."""
    check_writable("--workdir", path)
    if not (path / "config.json").is_file():
        return
    run_folder.check(path, settings, free)
    done = max(checkpoint.steps(path / "checkpoints"), default=0)
    if settings.get(BUDGET, done) < done:
        raise Refused(
            f"config.{BUDGET}={settings[BUDGET]} is less than the {done} updates that {path} has done; set it to at "
            "least that, or choose another --workdir"
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise Refused(trouble(error) or str(error)) from None
