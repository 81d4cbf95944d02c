"""Files: their fingerprints, and writes that are whole or not at all."""

import errno
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from mlavl_cli.errors import MlavlError, one_line
from mlavl_cli.leftovers import hold, own_mark, sweep_parts


def sha256(path: Path) -> str:
    """The hex SHA-256 of a file's content, read in pieces.

    Raises:
        OSError: can't be read, or is far longer than what is stored of it.
    """
    refuse_irregular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_LOCK_S = 5.0
_MOST_LINKS = 40  # one behind the other, as systems have it


_HOLLOW_BYTES, _HOLLOW = 64 << 20, 20  # a file system that compresses saves less than this share


def refuse_irregular(path: Path, most: int | None = None) -> None:
    """Opening a pipe or a device in the place of a file may never end, and reading a hollow file fills the memory.

    Args:
        path: of a file that may not be there.
        most: bytes that a file of its kind has at the most.

    Raises:
        OSError: it is there, and no regular file, hollow (far longer than what is stored of it), or too large.
    """
    if not path.exists():
        return
    _refuse_special(path)
    if is_hollow(path):
        raise OSError(errno.EFBIG, "far longer than what is stored of it", str(path))
    if most is not None and path.stat().st_size > most:
        raise OSError(errno.EFBIG, f"larger than {most / 1e6:,.0f} MB, which nothing of its kind is", str(path))


def _refuse_special(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def is_hollow(path: Path) -> bool:
    """Whether a file is much longer than what is stored of it: its holes read as zeros, and take no space."""
    status = path.stat()
    stored = getattr(status, "st_blocks", 0)  # of 512 bytes; 0 where a drive doesn't say, or hasn't written it yet
    if status.st_size <= max(_HOLLOW_BYTES, stored * 512 * _HOLLOW):
        return False
    return stored > 0 or _holds_nothing(path)


def stored_bytes(path: Path) -> int:
    """A file's length; of one with holes, the most that a file with as much on the disk may have."""
    status = path.stat()
    stored = getattr(status, "st_blocks", 0) * 512 or status.st_size
    return min(status.st_size, stored * _HOLLOW)


def _holds_nothing(path: Path) -> bool:
    """Whether a file is one hole, where the system can say so."""
    if not hasattr(os, "SEEK_DATA"):
        return False
    with path.open("rb") as file:
        try:
            os.lseek(file.fileno(), 0, os.SEEK_DATA)
        except OSError as error:
            return error.errno == errno.ENXIO
    return False


def refuse_outside(path: Path, folder: Path) -> None:
    """In a folder that others may write to, a subfolder may be a link to somewhere else.

    Raises:
        MlavlError: the file would not lie below the folder.
    """
    if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder)):  # of a link to itself, too
        raise MlavlError(f"a link leads out of {folder}", path=path, hint="Remove the link, or choose another folder.")


def csv_text(text: str) -> str:
    """A csv cell that no spreadsheet takes for a formula: what begins like one gets an apostrophe before it.

    Spreadsheets of many countries separate cells by semicolons, so what follows one begins a cell there. Control
    characters, which a terminal would obey, are shown as escapes.
    """
    return _FORMULA.sub(r"\1'\2", _CONTROL.sub(lambda found: one_line(found[0]), text))


def stands_in_a_csv(path: str) -> bool:
    """Whether a path can be a cell as it is, since a path with an apostrophe before it is another one."""
    return csv_text(f"./{path}") == f"./{path}"


# Quotes may stand before the sign, which may be a full-width one; a number below zero is none. Nothing is tried twice:
# a cell may be a million spaces.
_FORMULA = re.compile(
    r"((?:^|[;,|])\s*+)([\"']*+\s*+(?:[=@\uff1d\uff20\uff0b\uff0d]|[+\-](?!\d+(\.\d+)?($|[;,]| to ))))"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@contextmanager
def atomic_write(path: Path, mode: str = "wb", named: bool = False) -> Iterator[IO]:
    """A file that appears under its name only when it is whole and on the disk.

    Written beside, synced, renamed: a killed process leaves the old file or the new one, never half of one.

    Args:
        path: where.
        mode: "wb" or "w".
        named: whether a user named this very path. Then a link stays a link, and what is no regular file (a pipe) is
            written straight through. In a folder of ours a link is replaced, and a pipe refused: somebody put it there.

    Raises:
        MlavlError: the folder can't be made or written.
    """
    path = Path(path)
    temporary = None
    # A name that isn't UTF-8 is written as the bytes it has.
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    try:
        if not named and not _is_of_the_system(path):
            if not path.is_symlink():
                _refuse_special(path)
        else:
            refuse_others(path)
            if is_written_through(path):
                with open(path, mode, **text) as file:  # noqa: PTH123
                    yield file
                return
        path = Path(os.path.realpath(path)) if named else path
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_parts(path.parent)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name[:40]}.", suffix=f".{own_mark()}.part"
        )
        with os.fdopen(handle, mode, **text) as file:
            hold(file)
            yield file
            file.flush()
            os.fchmod(file.fileno(), _mode(path))  # mkstemp makes files private
            os.fsync(file.fileno())
            if not os.path.samestat(os.fstat(file.fileno()), os.lstat(temporary)):
                raise OSError(errno.EPERM, "another user put a file in its place")
        os.replace(temporary, path)  # noqa: PTH105
        temporary = None
    except OSError as error:
        hint = "Choose another output folder or free some space."
        raise MlavlError(f"can't be written ({error.strerror})", path=path, hint=hint) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def refuse_others(path: Path) -> None:
    """In folders that others may write to, what a user named is not to be somebody else's link or pipe, nor to lead
    through such a link. Many systems don't follow these links either. Nor is it to be a file that can't be replaced.

    Raises:
        OSError: it is.
    """
    if not hasattr(os, "geteuid"):
        return
    whole = path if path.is_absolute() else Path.cwd() / path
    at, todo, left = Path(whole.anchor), list(reversed(whole.parts[1:])), _MOST_LINKS
    while todo and left:
        name = todo.pop()
        at, folder = (at.parent, at) if name == ".." else (at / name, at)
        try:
            found = at.lstat()
            _refuse_of_others(at, found, folder.stat(), path)
        except (FileNotFoundError, NotADirectoryError):
            return  # nothing lies behind it
        if stat.S_ISLNK(found.st_mode):
            target, left = Path(os.readlink(at)), left - 1  # noqa: PTH115
            at = Path(target.anchor) if target.is_absolute() else folder
            todo += [part for part in reversed(target.parts) if part != target.anchor]


def _refuse_of_others(one: Path, found: os.stat_result, folder: os.stat_result, path: Path) -> None:
    me, trusted = os.geteuid(), (os.geteuid(), 0)
    kept = folder.st_mode & stat.S_ISVTX and me not in (0, found.st_uid, folder.st_uid)
    if kept and stat.S_ISREG(found.st_mode):  # told now, and not when there is something to be put in its place
        raise OSError(errno.EPERM, f"{one} is another user's, and nobody else can replace it there", str(path))
    theirs = folder.st_uid not in trusted or folder.st_mode & (stat.S_ISVTX | stat.S_IWGRP | stat.S_IWOTH)
    if theirs and found.st_uid not in trusted:
        for is_one, what in ((stat.S_ISLNK, "link"), (stat.S_ISFIFO, "pipe")):
            if is_one(found.st_mode):
                cause = f"{one} is a {what} of another user in a folder that others write to"
                raise OSError(errno.EACCES, cause, str(path))


def refuse_another_users(status: os.stat_result, path: Path) -> None:
    """Raises OSError where a file or folder is somebody else's than who runs this, or others may write to it."""
    if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        raise OSError(errno.EPERM, "belongs to another user", str(path))


def make_folder(path: Path) -> None:
    """Makes a folder, and those that it lies in.

    Raises:
        MlavlError: it can't be made; a file may lie in its place.
    """
    try:
        refuse_others(path)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MlavlError(f"can't be made ({error.strerror})", path=path, hint="Choose another folder.") from error


def lock_handle(path: Path) -> int | None:
    """A lock's file, opened, which is made and stays; None where there can be none, or a link is in its place."""
    try:
        import fcntl  # noqa: F401 - not everywhere

        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except (ImportError, OSError):
        return None


_held_by_others: set[Path] = set()  # locks that were waited for in vain


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Waits until no other process is in here with the same file, which is made and stays.

    Where no lock can be had in some seconds (a file system without them, another user who holds it, a link in its
    place) there is no waiting, this time or later: what is done in here must be right without it.
    """
    handle = lock_handle(path)
    if handle is None:
        yield
        return
    import fcntl

    try:
        deadline = time.monotonic() + (0 if path in _held_by_others else _LOCK_S)
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # whoever may read the file may hold it, for ever
                if time.monotonic() > deadline:
                    _held_by_others.add(path)
                    break
                time.sleep(0.02)
            except OSError:
                break
        yield
    finally:
        os.close(handle)


def is_written_through(path: Path) -> bool:
    """Whether a path that a user named is no regular file (a pipe), or nothing that can be replaced."""
    return _is_of_the_system(path) or (path.exists() and not path.is_file())


def _is_of_the_system(path: Path) -> bool:
    """/dev/stdout may lead to a regular file that a shell holds open: that is not ours to replace. But /dev/shm is a
    folder like any other."""
    folder = Path(os.path.realpath(path.parent))
    return folder == Path("/dev") or folder.is_relative_to("/proc")


def _mode(path: Path) -> int:
    """Permissions as one's own file that is there has them, or as a new one gets them.

    What somebody else made there, or leads elsewhere, may be open to all.
    """
    with suppress(OSError):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid()):
            return found.st_mode & 0o777  # a file that somebody else made special is no more so
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
