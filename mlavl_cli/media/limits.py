"""What no real file's header claims, and what would cost FFmpeg memory without end as it opens the file."""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import BinaryIO

from mlavl_cli.errors import UsageError
from mlavl_cli.media.boxes import BUFFER_BYTES, Span, boxes, inside, numbers
from mlavl_cli.media.ebml import listed, video_tracks

_MOST_SAMPLES = (1_000_000, 20_000_000)  # that any table may claim (it may have been cut off), and that none may
_MOST_BOXES = 1_000_000  # ten hours in fragments of half a second
_MOST_PICTURES = 16  # streams
_MOST_LISTED = 20_000  # elements of tags and chapters, for which FFmpeg needs quadratic time
_MOST_HEADER_BYTES = 64 << 20  # of a compressed header, once it is unpacked
_DEEPEST = 16
# What FFmpeg descends into, wherever it lies.
_CONTAINERS = frozenset(
    (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"edts", b"mvex", b"udta", b"dinf", b"tref")
)
_MAX_MEGAPIXELS, _MOST_MEGAPIXELS = "MLAVL_MAX_MEGAPIXELS", 10_000.0
_EBML = bytes.fromhex("1a45dfa3")


def most_pixels() -> int:
    """Of a picture.

    Raises:
        UsageError: the variable that says it is no such number.
    """
    said = os.environ.get(_MAX_MEGAPIXELS) or "64"
    with suppress(ValueError):
        if 0 < float(said) <= _MOST_MEGAPIXELS:
            return round(float(said) * 1_000_000)
    cause = f"the variable {_MAX_MEGAPIXELS} is {said!r:.40}, no number of megapixels"
    raise UsageError(cause, hint="Unset it, or use one like 100.")


class _TooMuch(Exception):
    pass


def excess(path: Path) -> str | None:
    """What a file's header claims beyond all measure; None if nothing.

    Raises:
        OSError: it can't be read.
    """
    size = path.stat().st_size
    with path.open("rb", buffering=BUFFER_BYTES) as file:
        begins = file.read(4)
        try:
            if begins == _EBML:
                if _count(listed(file, size), _MOST_LISTED) > _MOST_LISTED:
                    return f"lists more than {_MOST_LISTED:,} tags and chapters"
                samples, pictures = 0, _count(video_tracks(file, size), _MOST_PICTURES)
            else:
                samples, pictures = _of_mov(file, size)
        except (_TooMuch, OverflowError) as error:
            return str(error)
        except ValueError:  # broken elements: FFmpeg will say so
            return None
    if pictures > _MOST_PICTURES:
        return f"has more than {_MOST_PICTURES} video streams"
    least, most = _MOST_SAMPLES
    if samples > min(max(size, least), most):
        return "claims more samples than it can hold"
    return None


def _count(found: Iterator[object], most: int) -> int:
    """How many they are, or one more than `most`."""
    return sum(1 for _ in islice(found, most + 1))


# --- mp4, mov --------------------------------------------------------------------------------------------------------


@dataclass
class _Track:
    """What is claimed of one track."""

    samples: int = 0
    edits: int = 0
    handlers: list[bytes] = field(default_factory=list)
    times: list[tuple[int, int]] = field(default_factory=list)  # rows of a table, ticks of its first

    @property
    def entries(self) -> int:
        """How many FFmpeg makes room for, though their sizes may be one number for all.

        The table is copied once for each edit. Samples of plain PCM, which last one tick each, are taken by the chunk.
        """
        by_chunk = self.handlers == [b"soun"] and self.times == [(1, 1)]
        return 0 if by_chunk else max(self.edits, 1) * self.samples


def _of_mov(file: BinaryIO, size: int) -> tuple[int, int]:
    """(samples, video tracks) of an mp4 or mov; nothing for another file.

    Raises:
        _TooMuch: too many boxes, or a header that is unpacked without end.
    """
    tracks = [_Track()]  # the first: of what lies in no track
    try:
        counted = count()
        for header, span in _headers(file, (0, size)):
            for kind, begin in _all_boxes(header, span, counted):
                if kind == b"trak":
                    tracks.append(_Track())
                else:
                    _claim(tracks[-1], kind, header, begin)
    except struct.error:  # it ends in the middle: FFmpeg will say so
        pass
    return sum(track.entries for track in tracks), sum(b"vide" in track.handlers for track in tracks)


def _claim(track: _Track, kind: bytes, file: BinaryIO, begin: int) -> None:
    if kind in (b"stsz", b"stz2"):
        track.samples += numbers(file, begin + 8, 1)[0]
    elif kind == b"trun":
        track.samples += numbers(file, begin + 4, 1)[0]
    elif kind == b"elst":
        track.edits += numbers(file, begin + 4, 1)[0]
    elif kind == b"hdlr":
        track.handlers.append(numbers(file, begin + 8, 1)[0].to_bytes(4))
    elif kind == b"stts":
        rows, _, ticks = numbers(file, begin + 4, 3)
        track.times.append((rows, ticks))


def _all_boxes(file: BinaryIO, span: Span, counted: Iterator[int], depth: int = 0) -> Iterator[tuple[bytes, int]]:
    """(type, where its content begins) of every box, however deep, in the file's order."""
    for kind, content in boxes(file, span):
        if next(counted) >= _MOST_BOXES:
            raise _TooMuch(f"has more than {_MOST_BOXES:,} boxes")
        yield kind, content[0]
        if kind in _CONTAINERS and depth < _DEEPEST:
            yield from _all_boxes(file, content, counted, depth + 1)


def _headers(file: BinaryIO, whole: Span) -> Iterator[tuple[BinaryIO, Span]]:
    """Where an mp4's `moov` may lie: in the file, and in its compressed header, which old QuickTime writes."""
    yield file, whole
    for begin, end in inside(file, whole, b"moov", b"cmov", b"cmvd"):
        unpacker = zlib.decompressobj()
        (claimed,) = numbers(file, begin, 1)
        try:
            header = unpacker.decompress(file.read(end - begin - 4), _MOST_HEADER_BYTES)
        except zlib.error:
            continue
        if claimed > _MOST_HEADER_BYTES or not unpacker.eof:
            raise _TooMuch("has a compressed header of too many bytes")
        yield io.BytesIO(header), (0, len(header))
