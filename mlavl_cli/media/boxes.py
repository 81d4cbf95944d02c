"""The boxes of mp4 and mov, read as far as FFmpeg can't be asked.

A box is (size, type, content), and many hold boxes again.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BUFFER_BYTES = 1 << 16  # a header's boxes lie close together
_MOST_BOXES = 1_000_001  # of one box; a broken one may hold more, of no size

Span = tuple[int, int]  # where the content begins and ends


def boxes(file: BinaryIO, span: Span) -> Iterator[tuple[bytes, Span]]:
    at, end = span
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        begin = at + 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            begin += 8
        at = end if size == 0 else at + size
        if size and at < begin:
            return
        yield kind, (begin, min(at, end))


def inside(file: BinaryIO, span: Span, *path: bytes) -> Iterator[Span]:
    """The spans of all boxes at this path of types."""
    for kind, content in boxes(file, span):
        if kind == path[0]:
            if len(path) == 1:
                yield content
            else:
                yield from inside(file, content, *path[1:])


def is_fragmented(path: Path) -> bool:
    """Whether an mp4 holds its samples in fragments, each with a table of its own.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb", buffering=BUFFER_BYTES) as file:
        try:
            whole = (0, path.stat().st_size)
            return any(True for _ in inside(file, whole, b"moov", b"mvex"))
        except struct.error:
            return False


def numbers(file: BinaryIO, at: int, count: int) -> tuple[int, ...]:
    """`count` whole numbers of 32 bits.

    Raises:
        struct.error: the file ends before.
    """
    file.seek(at)
    return struct.unpack(f">{count}I", file.read(4 * count))
