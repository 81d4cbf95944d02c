"""What a library would take from around a run, and may be somebody else's: files of the current folder, caches."""

import atexit
import errno
import os
import shutil
import stat
import tempfile
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
    for above in folder.parents if hasattr(os, "geteuid") else ():
        status = above.stat()
        open_to_all = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if open_to_all or status.st_uid not in (0, os.geteuid()):
            raise OSError(errno.EPERM, "belongs to another user", str(above))
    return folder


@cache
def passing_folder() -> Path:
    """A folder that goes when this process ends: below the user's own, else below that for temporary files."""
    try:
        folder = folder_of_process(cache_folder())
    except (OSError, RuntimeError):
        folder = Path(tempfile.mkdtemp(prefix="mlavl-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def keep_compiled_code() -> None:
    """What torch compiles is kept where no other user can put code: by itself it takes a folder of a known name below
    the folder for temporary files. What the user has set in the environment stays."""
    try:
        folder = cache_folder()
    except (OSError, RuntimeError):
        folder = passing_folder()
    for name, part in (("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton")):
        os.environ.setdefault(name, str(folder / part))
