"""Files that are there whole or not at all, also after a power cut.

What is written goes to a draft beside the file and is synced; the draft takes the file's name; then the folder is
synced, for a name may be lost with the power too. Knows nothing of what the files hold.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DRAFT = ".part"  # ends the name of what is half written


@contextlib.contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file or folder `path`, which it replaces when the block ends without an error.

    After an error there is neither a draft nor a change. OSErrors name `path`.
    """
    unfinished = path.with_name(f"{path.name}{DRAFT}")
    remove(unfinished)  # of a process that was killed
    with naming(path, instead_of=unfinished):
        try:
            yield unfinished
            sync_below(unfinished)
            unfinished.rename(path)
            sync(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                remove(unfinished)
            raise


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file: whole or not at all."""
    with draft(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file: whole or not at all. Bytes of file names that are no UTF-8 are spelt out: \\udcff."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, content: object) -> None:
    """Writes a JSON file: whole or not at all."""
    write_text(path, f"{json.dumps(content, indent=2)}\n")


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file that tells by an entry `digest` whether anything in it was changed."""
    write_json(path, content | {"digest": _digest_of(content)})


def unseal(data: bytes) -> dict[str, Any]:
    """The content of a file that `write_sealed` wrote. Raises ValueError if a byte of it was changed."""
    content = json.loads(data)
    if not isinstance(content, dict) or content.pop("digest", None) != _digest_of(content) or data[-1:] != b"\n":
        raise ValueError("damaged")
    return content


def _digest_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Makes durable what a file holds, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_below(path: Path) -> None:
    """Makes a file durable, or a folder with all that is in it."""
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            sync(Path(folder) / name)
        sync(Path(folder))
    if path.is_file():
        sync(path)


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def require_room(folder: Path, size: int) -> None:
    """Raises OSError where a folder's disk has no room for `size` bytes."""
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def reserve(folder: Path, size: int) -> None:
    """As `require_room`, also where the owner may not take so many; for a short while they are taken."""
    handle, name = tempfile.mkstemp(suffix=DRAFT, dir=folder)
    try:
        os.posix_fallocate(handle, 0, size)
    finally:
        os.close(handle)
        os.unlink(name)


@contextlib.contextmanager
def naming(path: Path, instead_of: Path | None = None) -> Iterator[None]:
    """Has errors of the operating system name `path` where they name no file, as that of a full disk, or `instead_of`
    or a file below it.
    """
    try:
        yield
    except OSError as error:
        named = error.filename and instead_of and Path(os.fsdecode(error.filename)).is_relative_to(instead_of)
        if error.errno is None or not (error.filename is None or named):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
