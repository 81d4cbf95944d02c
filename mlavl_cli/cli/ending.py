"""How a command ends on SIGINT, SIGTERM and SIGHUP: as on Ctrl-C, and in any case soon after."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_INTERRUPTED = 130
_LAST_S = 15  # after being told to end: what is under way is put away by then
_A_MOMENT_S = 0.05
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_last_words: list[Callable[[], object]] = []


def before_the_end(save: Callable[[], object]) -> None:
    """What is to be done where a library takes no notice of the end and the process is ended all the same.

    It runs in another thread, while the main one is stuck.
    """
    _last_words.append(save)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Puts off being told to end, again or for the first time, while results are put away."""
    if threading.current_thread() is not threading.main_thread():  # which alone hears
        yield
        return
    heard: list[int] = []
    before = {number: signal.signal(number, lambda number, _: heard.append(number)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard and before[heard[0]] is not signal.SIG_IGN:
        raise KeyboardInterrupt


def watch_for_the_end() -> Callable[[], None]:
    """Makes SIGTERM and SIGHUP end the process as Ctrl-C does, unless it was told to ignore them (nohup).

    Python hears signals between two steps. Where a library ignores them, the process ends some seconds later.

    Returns:
        What is to be called when all is done: from then on nothing is interrupted, as nothing below would catch it.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    told: list[int] = []

    def end(number: int, frame: object) -> None:
        told.append(number)
        if len(told) == 1:  # another one would interrupt the putting away; the end comes in any case
            raise KeyboardInterrupt

    for number in _SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, end)

    def unraised(what: "sys.UnraisableHookArgs") -> None:
        """Told in a finalizer or a callback of C, which swallows it: again, a moment later."""
        if not isinstance(what.exc_value, KeyboardInterrupt):
            sys.__unraisablehook__(what)
        elif len(told) == 1:
            again = threading.Timer(_A_MOMENT_S, lambda: os.kill(os.getpid(), told.pop()))
            again.daemon = True
            again.start()

    sys.unraisablehook = unraised

    def watch() -> None:
        while os.read(reading, 1)[0] not in _SIGNALS:
            pass
        time.sleep(_LAST_S)
        for save in _last_words:
            with suppress(Exception):
                save()
        with suppress(Exception):
            sys.stderr.write("interrupted\n")
            sys.stderr.flush()
        os._exit(_INTERRUPTED)

    threading.Thread(target=watch, daemon=True).start()
    return lambda: told.append(0)
