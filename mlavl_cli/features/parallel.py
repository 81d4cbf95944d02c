"""Forward passes: on a CPU side by side, in several small teams of threads; elsewhere one after the other.

One team of all cores would wait for its slowest member many times a pass, and whenever the decoder takes a core for a
moment, all the others wait with it.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Generic, TypeVar

import torch

from mlavl_cli.device import Placement

_MOST = 4  # teams; each holds the intermediate results of a pass of its own
_SIZING = threading.Lock()
Item = TypeVar("Item")
Result = TypeVar("Result")


class Passes(Generic[Item, Result]):
    """Runs `run` on items, and gives the results in their order.

    On a CPU with several cores in up to four threads; in this thread where torch compiles (which it does in the first
    pass), and for batches of several clips, which take all cores together. For a CUDA GPU in one thread that has no
    team: what it does on the CPU takes a millisecond, and longer where decoders have the cores.

    Args:
        run: the pass.
        placement: where it runs.
        batch_size: clips an item.
        on_done: called by whichever thread is done with an item.
    """

    def __init__(
        self,
        run: Callable[[Item], Result],
        placement: Placement,
        batch_size: int = 1,
        on_done: Callable[[], object] | None = None,
    ):
        self._run, self._on_done = run, on_done
        self._under_way: deque[tuple[Item, Future[Result]]] = deque()
        cores = torch.get_num_threads()
        self._pool, self._most = None, 1
        teams = 0
        if placement.device.type == "cuda" and not placement.compiled:
            teams, share = 1, 1
        elif placement.device.type == "cpu" and not placement.compiled and batch_size == 1 and cores > 1:
            # The number that leaves the fewest cores idle.
            teams = max(range(2, min(cores, _MOST) + 1), key=lambda n: (cores // n * n, n))
            share = cores // teams
        if teams:
            with _SIZING:
                self._pool = _lanes(teams, share, os.getpid())
            self._most = 2 * teams  # the next of each lies ready

    @property
    def free(self) -> bool:
        """Whether another item can be started without waiting."""
        return len(self._under_way) < self._most

    def start(self, item: Item) -> None:
        """Begins with an item, or does it at once where there is one thread."""
        if self._pool:
            future = self._pool.submit(self._run, item)
        else:
            future = Future()
            future.set_result(self._run(item))
        self._under_way.append((item, future))
        if on_done := self._on_done:
            future.add_done_callback(lambda _: on_done())

    def done(self, everything: bool = False) -> Iterator[tuple[Item, Result]]:
        """(item, result) of those that are done, in order; `everything` waits for the rest.

        Raises:
            Exception: what went wrong in a pass.
        """
        while self._under_way and (everything or self._under_way[0][1].done()):
            item, future = self._under_way.popleft()
            yield item, future.result()

    def close(self) -> None:
        """Waits for passes that have begun; others are dropped."""
        wait([future for _, future in self._under_way if not future.cancel()])


def on_one_thread(run: Callable[[], Result], placement: Placement) -> Result:
    """What a team would only slow down: so small a pass that its members wait for each other longer than they work."""
    if placement.device.type != "cpu" or torch.get_num_threads() == 1:
        return run()
    with _SIZING:
        pool = _lanes(1, 1, os.getpid())
    return pool.submit(run).result()


@cache
def _lanes(teams: int, share: int, process: int) -> ThreadPoolExecutor:
    """A pool of threads, each with a team of `share` cores; kept, for their heaps would be left behind with each. The
    process's number is asked for since a forked one has none of these threads.

    Torch's number of threads is the process's, and a thread's own from its first look at it on: so all look while it is
    the share, and afterwards it is what it was.
    """
    pool = ThreadPoolExecutor(teams, "mlavl-lane")
    together = threading.Barrier(teams)

    def look() -> None:
        torch.set_num_threads(share)
        torch.get_num_threads()
        together.wait()

    usual = torch.get_num_threads()
    try:
        for started in [pool.submit(look) for _ in range(teams)]:
            started.result()
    finally:
        torch.set_num_threads(usual)
    return pool
