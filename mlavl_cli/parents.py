"""A process that ends with the one that began it, however that ends."""

import os
import signal
import sys


def end_with(parent: int) -> None:
    """From now on this process is killed when the thread that began it ends; at once where that is gone. Linux."""
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        os._exit(0)
