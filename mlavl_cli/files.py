"""Files: their fingerprints, and writes that are whole or not at all."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mlavl_cli.errors import MlavlError


def sha256(path: Path) -> str:
    """The hex SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def csv_text(text: str) -> str:
    """A csv cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe before it."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO]:
    """A file that appears under its name only when it is whole and on the disk.

    Written beside, synced, renamed: a killed process leaves the old file or the new one, never half of one. A link
    stays a link, and what is no regular file (a pipe, a device) is written straight through, never replaced.

    Raises:
        MlavlError: the folder can't be made or written.
    """
    path = Path(path)
    temporary = None
    # A name that isn't UTF-8 is written as the bytes it has.
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    try:
        if _is_no_regular_file(path):
            with open(path, mode, **text) as file:  # noqa: PTH123
                yield file
            return
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
        with os.fdopen(handle, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101 - mkstemp makes files private
        os.replace(temporary, path)  # noqa: PTH105
        temporary = None
    except OSError as error:
        hint = "Choose another output folder or free some space."
        raise MlavlError(f"can't be written ({error.strerror})", path=path, hint=hint) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Waits until no other process is in here with the same file, which is made and stays; nothing where locks aren't.

    Raises:
        MlavlError: the file can't be made.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        file = path.open("w")
    except OSError as error:
        raise MlavlError(f"can't be written ({error.strerror})", path=path, hint="Choose another folder.") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_no_regular_file(path: Path) -> bool:
    # /dev/stdout may lead to a regular file that a shell holds open: that is not ours to replace either.
    of_the_system = any(path.absolute().is_relative_to(folder) for folder in ("/dev", "/proc"))
    return of_the_system or (path.exists() and not path.is_file())


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
