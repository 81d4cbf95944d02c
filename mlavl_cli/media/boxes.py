"""The boxes of mp4 and mov, read as far as FFmpeg can't be asked or must not be trusted with.

A box is (size, type, content), and many hold boxes again.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_BUFFER_BYTES = 1 << 16  # a header's boxes lie close together
MOST_BOXES = 100_000  # of a file; a broken one may hold more, of no size
_MOST_HEADER_BYTES = 64 << 20  # once it is unpacked
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
        whole = (0, path.stat().st_size)
        try:
            for header, span in _headers(file, whole):
                for track in inside(header, span, b"moov", b"trak"):
                    total += _claimed_by(header, track)
            total += sum(_numbers(file, begin + 4, 1)[0] for begin, _ in inside(file, whole, b"moof", b"traf", b"trun"))
        except struct.error:  # it ends in the middle: FFmpeg will say so
            return total
    return total


def _headers(file: BinaryIO, whole: Span) -> Iterator[tuple[BinaryIO, Span]]:
    """Where an mp4's `moov` may lie: in the file, and in its compressed header, which old QuickTime writes."""
    yield file, whole
    for begin, end in inside(file, whole, b"moov", b"cmov", b"cmvd"):
        file.seek(begin + 4)
        with suppress(zlib.error):
            header = zlib.decompressobj().decompress(file.read(end - begin - 4), _MOST_HEADER_BYTES)
            yield io.BytesIO(header), (0, len(header))


def _claimed_by(file: BinaryIO, track: Span) -> int:
    # The table is copied once for each edit.
    edits = sum(_numbers(file, begin + 4, 1)[0] for begin, _ in inside(file, track, b"edts", b"elst"))
    media = next(inside(file, track, b"mdia"), (0, 0))
    handlers = [_numbers(file, begin + 8, 1)[0].to_bytes(4) for begin, _ in inside(file, media, b"hdlr")]
    times = [_numbers(file, begin + 4, 3) for begin, _ in inside(file, media, *_TABLES, b"stts")]
    by_chunk = handlers == [b"soun"] and [(count, ticks) for count, _, ticks in times] == [(1, 1)]
    if by_chunk:
        return 0
    return max(edits, 1) * sum(_numbers(file, at + 8, 1)[0] for at, _ in inside(file, media, *_TABLES, b"stsz"))


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
