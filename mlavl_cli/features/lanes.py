"""Forward passes side by side on a CPU: several small teams of threads, each with a batch of its own.

One team of all cores would wait for its slowest member many times a pass, and whenever the decoder takes a core for a
moment, all the others wait with it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from mlavl_cli.device import Placement

_MOST = 4  # teams; each holds the intermediate results of a pass of its own
Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    run: Callable[[Item], Result], items: Iterable[Item], placement: Placement
) -> Iterator[tuple[Item, Result]]:
    """(item, run(item)) of all items, in order; on the CPU up to four at once.

    A GPU runs one after the other, and so does what torch compiles, which happens in the first pass. Items are taken
    no more than two a team ahead.
    """
    cores = torch.get_num_threads()
    teams = min(cores, _MOST) if placement.device.type == "cpu" and not placement.compiled else 1
    if teams == 1:
        for item in items:
            yield item, run(item)
        return
    under_way: deque[tuple[Item, Future[Result]]] = deque()
    # Each thread tells torch once how large its team is.
    pool = ThreadPoolExecutor(teams, "mlavl-lane", torch.set_num_threads, (-(-cores // teams),))
    try:
        for item in items:
            under_way.append((item, pool.submit(run, item)))
            while under_way and (under_way[0][1].done() or len(under_way) >= 2 * teams):
                done, future = under_way.popleft()
                yield done, future.result()
        for done, future in under_way:
            yield done, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # what new threads of this process begin with
