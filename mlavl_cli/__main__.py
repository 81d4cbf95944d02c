"""The console script: from its first moment on Ctrl-C ends it without a traceback."""

import os
import signal

_INTERRUPTED = 130


def main() -> None:
    """Runs the command line."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # else it was told to ignore it (nohup)
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from mlavl_cli.cli.app import main as run

    signal.signal(signal.SIGINT, usual)
    run()


if __name__ == "__main__":
    main()
