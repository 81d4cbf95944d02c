"""Forward passes side by side on a CPU: several small teams of threads, each with a pass of its own.

One team of all cores would wait for its slowest member many times a pass, and whenever the decoder takes a core for a
moment, all the others wait with it.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

from mlavl_cli.device import Placement

_MOST = 4  # teams; each holds the intermediate results of a pass of its own
_SIZING = threading.Lock()
Item = TypeVar("Item", bound=Sized)
Result = TypeVar("Result")


def side_by_side(
    run: Callable[[Item], Result], items: Iterable[Item], placement: Placement, batch_size: int = 1
) -> Iterator[tuple[Item, Result]]:
    """(item, run(item)) of all items, in order; on the CPU up to four at once.

    One after the other on a GPU, where torch compiles (which it does in the first pass), and in batches of several
    clips, for all cores together. Items are taken no more than two a team ahead. An empty one lets what is done be
    handed out.
    """
    cores = torch.get_num_threads()
    if placement.device.type != "cpu" or placement.compiled or batch_size > 1 or cores == 1:
        for item in items:
            yield item, run(item)
        return
    teams = max(range(2, min(cores, _MOST) + 1), key=lambda n: (cores // n * n, n))  # that leave the fewest cores idle
    with _SIZING:
        pool = _lanes(teams, cores // teams, os.getpid())
    under_way: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            if len(item):
                under_way.append((item, pool.submit(run, item)))
            while under_way and (under_way[0][1].done() or len(under_way) >= 2 * teams):
                done, future = under_way.popleft()
                yield done, future.result()
            if not len(item):
                yield item, run(item)
        while under_way:
            done, future = under_way.popleft()
            yield done, future.result()
    finally:
        wait([future for _, future in under_way if not future.cancel()])


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
