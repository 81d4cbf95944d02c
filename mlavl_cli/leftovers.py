"""What killed processes of this machine left behind: found by its name, and removed by a later process."""

import hashlib
import os
import platform
import re
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

_MARK = r"([0-9a-f]{8})-(\d{1,9})"  # a process has no longer number
_PART = re.compile(rf"\..*\.{_MARK}\.part")
_FOLDER = re.compile(rf"mlavl-{_MARK}-.*")
_swept: set[Path] = set()


def own_mark() -> str:
    """Part of a name, by which others see who made it."""
    return f"{_machine()}-{os.getpid()}"


def temporary_folder() -> Path:
    """A new folder of this process alone, for its maker to remove; those of killed processes are removed before."""
    with suppress(OSError, AttributeError):  # no numbers of users, no sweeping
        for path in Path(tempfile.gettempdir()).glob("mlavl-*"):
            if _is_abandoned(_FOLDER.fullmatch(path.name)) and path.lstat().st_uid == os.geteuid():
                shutil.rmtree(path, ignore_errors=True)  # which follows no link
    return Path(tempfile.mkdtemp(prefix=f"mlavl-{own_mark()}-"))


def sweep_parts(folder: Path) -> None:
    """Removes what killed writers left in a folder, once in the life of a process."""
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError, ImportError):
        for path in folder.glob(".*.part"):
            if _is_abandoned(_PART.fullmatch(path.name)) and not path.is_symlink():
                with suppress(OSError):  # of this one alone
                    _remove_unless_held(path)


def hold(file: IO) -> None:
    """Locks a file while it is written, where there are locks."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_unless_held(path: Path) -> None:
    """In another container of the same name a process may have a number that no process here has: it holds a lock."""
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
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
