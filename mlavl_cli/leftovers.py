"""What killed processes of this machine left behind: found by its name, and removed by a later process."""

import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

_MARK = r"([0-9a-f]{8})-(\d{1,9})"  # a process has no longer number
_PART = re.compile(rf"\..*\.{_MARK}\.part")
_FOLDER = re.compile(rf"process-{_MARK}-.*")
_swept: set[Path] = set()


def own_mark() -> str:
    """Part of a name, by which others see who made it."""
    return f"{_machine()}-{os.getpid()}"


def folder_of_process(parent: Path) -> Path:
    """A new folder for this process, below one where nobody else writes; those of killed processes are removed."""
    for path in parent.glob("process-*"):
        if _is_abandoned(_FOLDER.fullmatch(path.name)) and not path.is_symlink():
            with suppress(OSError, ImportError), _held(path):
                shutil.rmtree(path, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f"process-{own_mark()}-"))
    with suppress(ImportError, OSError):  # held as long as the process lives: another container has other numbers
        import fcntl

        fcntl.flock(os.open(folder, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_EX | fcntl.LOCK_NB)
    return folder


def sweep_parts(folder: Path) -> None:
    """Removes what killed writers left in a folder, once in the life of a process."""
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError, ImportError):
        for path in folder.glob(".*.part"):
            if _is_abandoned(_PART.fullmatch(path.name)) and not path.is_symlink():
                with suppress(OSError), _held(path):  # of this one alone
                    path.unlink(missing_ok=True)


def hold(file: IO) -> None:
    """Locks a file while it is written, where there are locks."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """In another container of the same name a process may have a number that no process here has: it holds a lock.

    Raises:
        OSError: it does.
    """
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _is_abandoned(found: re.Match[str] | None) -> bool:
    return found is not None and found[1] == _machine() and not _alive(int(found[2]))


@cache
def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
