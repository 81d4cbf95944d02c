"""Settings of the whole process, made by the commands before torch starts: threads, how they wait, and freed memory.

`import mlavl_cli` makes none of them: the process that imports it is not ours.
"""

import ctypes
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from mlavl_cli.cores import cores

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_GIB, _LARGEST_IN_HEAP = 1 << 30, 32 << 20  # the latter is the most that glibc takes
# OpenMP's threads wait for each other many times a forward pass. By default they spin: whenever another process takes a
# core for a moment, all the others burn theirs until it comes back.
_BLOCKING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


def settle() -> None:
    """Blocking waits and streams, as many threads as there are cores for this process, and a malloc that keeps what is
    freed.

    What the user has set in the environment stays.
    """
    for name, value in _BLOCKING.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # processes of ours import nothing from the current folder
    for handle in (0, 1, 2):
        # Whoever shares a pipe with us may have set it so that a full one takes no more, which Python doesn't tell.
        with suppress(OSError):
            os.set_blocking(handle, True)
    words = io.BufferedWriter(_Words(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(words, sys.stderr.encoding, "backslashreplace", line_buffering=True)
    _keep_freed_memory()


class _Words(io.FileIO):
    """stderr: what can't be said there (a full disk, a reader that is gone) is left unsaid, and costs no result."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(memoryview(data))


def _keep_freed_memory() -> None:
    """Lets glibc's malloc keep what a forward pass frees: else it hands all of it back, and the next pass waits for
    the system to give it again, page by page. Other allocators stay as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_M_TRIM_THRESHOLD, _GIB)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP)
