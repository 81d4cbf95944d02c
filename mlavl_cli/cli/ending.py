"""How a command ends on SIGINT, SIGTERM and others that would end it: as on Ctrl-C, and in any case soon after."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130
_LAST_S = 15  # after being told to end: what is under way is put away by then
_A_MOMENT_S = 0.05
# Schedulers send SIGUSR1 or SIGUSR2 some time before the end, the system SIGXCPU.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGALRM")
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_last_words: list[Callable[[], object]] = []
_told: list[int] = []  # signals that were heard
_IMPORTS = "<frozen importlib"


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


def not_swallowed(problem: Exception) -> None:
    """Ends the process where `problem` is what compiled code made of its end: safetensors raises its own error instead.

    Raises:
        KeyboardInterrupt: the process was told to end, and no exception says so.
    """
    if not _told:
        return
    met: BaseException | None = problem
    while met and not isinstance(met, KeyboardInterrupt):
        met = met.__context__
    if met is None:
        raise KeyboardInterrupt from problem


def all_is_done() -> None:
    """From now on nothing is interrupted, as nothing would catch it any more."""
    _told.append(0)


def watch_for_the_end() -> None:
    """Makes SIGTERM and its like end the process as Ctrl-C does, unless it was told to ignore them (nohup).

    Python hears signals between two steps. Where a library ignores them, the process ends some seconds later.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    sys.unraisablehook = _unraised
    threading.Thread(target=_watch, args=(reading,), daemon=True).start()
    for number in _SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _end)


def _watch(pipe: int) -> None:
    while os.read(pipe, 1)[0] not in _SIGNALS:
        pass
    time.sleep(_LAST_S)
    for save in _last_words:
        with suppress(Exception):
            save()
    with suppress(Exception):
        sys.stderr.write("interrupted\n")
        sys.stderr.flush()
    os._exit(INTERRUPTED)


def _end(number: int, frame: FrameType | None) -> None:
    if _told:  # another one would interrupt the putting away; the end comes in any case
        return
    if _imports(frame):
        if not _last_words:  # nothing has begun
            os._exit(INTERRUPTED)
        _again(number)
        return
    _told.append(number)
    raise KeyboardInterrupt


def _unraised(what: "sys.UnraisableHookArgs") -> None:
    """A finalizer, or a callback of C, was told, and has swallowed it."""
    if not isinstance(what.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(what)
    elif _told:
        _again(_told.pop())


def _again(number: int) -> None:
    """Tells the process once more, a moment later."""
    later = threading.Timer(_A_MOMENT_S, os.kill, (os.getpid(), number))
    later.daemon = True
    later.start()


def _imports(frame: FrameType | None) -> bool:
    """Whether something is being imported: compiled code that begins may end the process where it is interrupted."""
    while frame and not frame.f_code.co_filename.startswith(_IMPORTS):
        frame = frame.f_back
    return frame is not None
