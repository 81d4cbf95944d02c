"""What a library would take from around a run, and may be somebody else's: files of the current folder, caches."""

import atexit
import errno
import os
import shutil
import signal
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from mlavl_cli.files import refuse_another_users
from mlavl_cli.leftovers import folder_of_process


@contextmanager
def away_from_the_current_folder() -> Iterator[None]:
    """Within it, a library that looks for settings or modules in the current folder finds none. For the main thread,
    while no other one names files by relative paths."""
    try:
        before = os.getcwd()  # noqa: PTH109
    except OSError:  # it is gone, and holds nothing
        yield
        return
    os.chdir(os.sep)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def answering_as_before(number: int) -> Iterator[None]:
    """A library that answers to a signal within it doesn't any more afterwards."""
    answer = signal.getsignal(number)
    yield
    if answer is not None and threading.current_thread() is threading.main_thread():
        signal.signal(number, answer)


def cache_folder() -> Path:
    """This user's own folder for what takes long to be made again; $XDG_CACHE_HOME/mlavl, or ~/.cache/mlavl.

    Raises:
        OSError: it can't be made, or another user could put something in its place: HOME may be somebody else's, as
            with sudo.
        RuntimeError: there is no home.
    """
    folder = Path(os.path.realpath(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")) / "mlavl"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_another_users(folder.lstat(), folder)
    _refuse_open(folder.parent)
    return folder


def _refuse_open(folder: Path) -> None:
    """Raises OSError where another user could put something in the place of what lies in a folder."""
    if not hasattr(os, "geteuid"):
        return
    for one in (folder, *folder.parents):
        status = one.stat()
        others = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid))
        if (others and not status.st_mode & stat.S_ISVTX) or status.st_uid not in (0, os.geteuid()):
            raise OSError(errno.EPERM, "belongs to another user", str(one))


def _is_private(group: int) -> bool:
    """Whether a group is this user's alone, as many systems give each user one."""
    import grp
    import pwd

    try:
        name, found = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == name and set(found.gr_mem) <= {name}


@cache
def passing_folder() -> Path:
    """A folder that goes when this process ends: below the user's own, else below that for temporary files.

    Raises:
        OSError: another user could put something in the place of either.
    """
    try:
        folder = folder_of_process(cache_folder())
    except (OSError, RuntimeError):
        _refuse_open(Path(os.path.realpath(tempfile.gettempdir())))
        folder = Path(tempfile.mkdtemp(prefix="mlavl-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def keep_compiled_code() -> None:
    """What torch compiles is kept where no other user can put code: by itself it takes a folder of a known name below
    the folder for temporary files. What the user has set in the environment stays.

    Raises:
        OSError: there is no such place.
    """
    try:
        folder = cache_folder()
    except (OSError, RuntimeError):
        folder = passing_folder()
    for name, part in (("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton")):
        os.environ.setdefault(name, str(folder / part))
