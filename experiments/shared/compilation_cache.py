"""Where compiled programs are kept between runs, and what is done about an entry that cannot be read."""

import glob
import os
import re
import sys
import warnings
from pathlib import Path

import jax

from experiments.shared.settings import Refused

UNREADABLE = "Error reading persistent compilation cache entry for "  # what JAX warns of, with the program's name
UNWRITABLE = "Error writing persistent compilation cache entry for "


def open_cache() -> None:
    """Compiled programs are kept between runs, per user, in a folder that nobody else can write.

    Whoever can write there can have this process run any code: a folder open to others is refused.
    """
    try:
        top = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skillhier"
    except RuntimeError:  # neither HOME nor an entry of this user says where it is
        print("no compilation cache: this user has no home folder; set XDG_CACHE_HOME to keep one", file=sys.stderr)
        return
    for cache in (top, top / "xla"):
        try:
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = cache.stat()
        except OSError as error:
            print(f"no compilation cache: {cache}: {error.strerror}; set XDG_CACHE_HOME to keep one", file=sys.stderr)
            return
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise Refused(f"others can write the compilation cache {cache}; chmod 700 it, or set XDG_CACHE_HOME")
        if status.st_mode & 0o077:
            cache.chmod(0o700)
    jax.config.update("jax_compilation_cache_dir", str(top / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    _hear_warnings(top / "xla")


def _hear_warnings(cache: Path) -> None:
    """From here on an entry that JAX cannot read is removed, so that what JAX compiles in its place is kept, and one
    line says that entries cannot be written.

    JAX writes no entry that is there already, so it would warn of the damaged one at every start. Its warning comes
    before it compiles; it names the program and not the entry, so all entries of that program are removed.
    """
    show, unwritable = warnings.showwarning, []

    def show_or_mend(message: Warning | str, *about, **settings) -> None:
        if str(message).startswith(UNWRITABLE):
            if not unwritable:
                unwritable.append(str(message).rpartition("] ")[2])
                print(f"the compilation cache {cache} cannot be written: {unwritable[0]}", file=sys.stderr)
            return
        program = re.match(f"{UNREADABLE}'(.+?)': ", str(message))
        if program is None:
            show(message, *about, **settings)
            return
        try:
            for entry in cache.glob(f"{glob.escape(program[1])}-*-cache"):
                entry.unlink(missing_ok=True)
        except OSError as error:
            done = f"it cannot be removed ({error.strerror}), so delete {cache}"
        else:
            done = f"it is removed and compiled anew; if this happens again, delete {cache}"
        print(f"the compilation cache holds a damaged entry of {program[1]}: {done}", file=sys.stderr)

    for message in (UNREADABLE, UNWRITABLE):
        warnings.filterwarnings("always", message=message)
    warnings.showwarning = show_or_mend
