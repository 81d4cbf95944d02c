"""Work done ahead of its use, by a pool's threads."""

import queue
import threading
from collections.abc import Generator
from concurrent.futures import Executor, wait
from contextlib import closing
from typing import Generic, TypeVar

T = TypeVar("T")
_MOMENT_S = 0.05


class Background(Generic[T]):
    """Iterates over items that a thread of `pool` makes, which keeps at most `depth` of them ready; its exception is
    raised here. Where no item comes for a moment, None does: there may be something else to do.

    Closing waits until the thread has closed `items` itself: a file must not be closed while it is being decoded.
    """

    def __init__(self, items: Generator[T, None, None], depth: int, pool: Executor):
        self._items = items
        self._ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        self._stop = threading.Event()
        self._job = pool.submit(self._work)

    def __iter__(self) -> "Background[T]":
        return self

    def __next__(self) -> T | None:
        try:
            item, error = self._ready.get(timeout=_MOMENT_S)
        except queue.Empty:
            return None
        if error is not None:
            self.close()
            raise error
        return item

    def close(self) -> None:
        self._stop.set()
        if not self._job.cancel():  # it has begun
            wait([self._job])

    def _work(self) -> None:
        try:
            with closing(self._items):
                for item in self._items:
                    self._put(item, None)
                    if self._stop.is_set():
                        return
        except BaseException as error:  # handed over, whatever it is
            self._put(None, error)
        else:
            self._put(None, StopIteration())

    def _put(self, item: T | None, error: BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                return self._ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue
        return None
