"""How much memory a process holds, and may hold."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def held_bytes(process: int | str = "self") -> int:
    """What a process holds, as its limit counts it; 0 where it is gone, or where that isn't known (not Linux)."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def limit_memory(most: int) -> None:
    """From now on this process holds so many bytes, or as many as it was allowed; what needs more is a MemoryError."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))


@contextmanager
def no_more_than(more: int) -> Iterator[None]:
    """In here this process takes so many bytes beside what it holds; without a limit on other systems than Linux.

    Raises:
        MemoryError: it needs more, or a library says so in words of its own.
    """
    if sys.platform != "linux" or not (held := held_bytes()):
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit_memory(held + more if before[0] < 0 else min(held + more, before[0]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
