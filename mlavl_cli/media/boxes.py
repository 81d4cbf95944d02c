"""The boxes of mp4 and mov, read as far as FFmpeg can't be asked or must not be trusted with.

A box is (size, type, content), and many hold boxes again.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BUFFER_BYTES = 1 << 16  # a header's boxes lie close together
MOST_BOXES = 100_000  # of a file; a broken one may hold more, of no size
_FIRST = frozenset((b"ftyp", b"moov", b"mdat", b"moof", b"free", b"wide", b"skip", b"pnot", b"styp", b"sidx"))
_TABLES = (b"minf", b"stbl")

Span = tuple[int, int]  # where the content begins and ends


def boxes(file: BinaryIO, span: Span) -> Iterator[tuple[bytes, Span]]:
    at, end = span
    for _ in range(MOST_BOXES):
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


def claimed_samples(path: Path) -> int:
    """How many samples the tables of an mp4 or mov claim; 0 for another file.

    FFmpeg makes room for all of them as it opens the file, though their sizes may be one number for all. Samples of
    plain PCM, which last one tick each, don't count: they are taken by the chunk.

    Raises:
        OSError: it can't be read.
    """
    total = 0
    with path.open("rb", buffering=_BUFFER_BYTES) as file:
        if file.read(8)[4:] not in _FIRST:
            return 0
        whole = (0, path.stat().st_size)
        try:
            for track in inside(file, whole, b"moov", b"trak"):
                # The table is copied once for each edit.
                edits = sum(_numbers(file, begin + 4, 1)[0] for begin, _ in inside(file, track, b"edts", b"elst"))
                media = next(inside(file, track, b"mdia"), (0, 0))
                handlers = [_numbers(file, begin + 8, 1)[0].to_bytes(4) for begin, _ in inside(file, media, b"hdlr")]
                times = [_numbers(file, begin + 4, 3) for begin, _ in inside(file, media, *_TABLES, b"stts")]
                by_chunk = handlers == [b"soun"] and [(count, ticks) for count, _, ticks in times] == [(1, 1)]
                if not by_chunk:
                    sizes = inside(file, media, *_TABLES, b"stsz")
                    total += max(edits, 1) * sum(_numbers(file, begin + 8, 1)[0] for begin, _ in sizes)
            total += sum(_numbers(file, begin + 4, 1)[0] for begin, _ in inside(file, whole, b"moof", b"traf", b"trun"))
        except struct.error:  # it ends in the middle: FFmpeg will say so
            return total
    return total


def is_fragmented(path: Path) -> bool:
    """Whether an mp4 holds its samples in fragments, each with a table of its own.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb", buffering=_BUFFER_BYTES) as file:
        try:
            whole = (0, path.stat().st_size)
            return any(True for _ in inside(file, whole, b"moov", b"mvex"))
        except struct.error:
            return False


def _numbers(file: BinaryIO, at: int, count: int) -> tuple[int, ...]:
    file.seek(at)
    return struct.unpack(f">{count}I", file.read(4 * count))
