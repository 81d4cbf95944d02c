"""The console script: from its first moment on Ctrl-C ends it without a traceback."""

import gc
import os
import signal
import sys

_INTERRUPTED = 130


def main() -> None:
    """Runs the command line."""
    for handle in range(3):  # a closed one would be taken by the next file that is opened
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: PTH123, SIM115
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it was told to ignore it (nohup)
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))  # until the command line has its own
    gc.disable()  # what is imported stays
    from mlavl_cli.cli.app import main as run

    gc.enable()
    run()


if __name__ == "__main__":
    main()
