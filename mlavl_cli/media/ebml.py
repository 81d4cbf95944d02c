"""The elements of Matroska and WebM, (id, size, content), read as far as FFmpeg can't be asked."""

from collections.abc import Iterator
from typing import BinaryIO

from mlavl_cli.media.boxes import Span

_HEAD_BYTES = 12
_MOST_ELEMENTS = 1_000_000  # of one element; a broken one may hold more, of no size
_SEGMENT, _TRACKS, _TRACK = 0x18538067, 0x1654AE6B, 0xAE
_TYPE, _IS_VIDEO = 0x83, 1
_LISTS = (0x1254C367, 0x1043A770)  # tags, chapters
_OF_LISTS = frozenset((0x7373, 0x67C8, 0x45B9, 0xB6))  # a tag, its texts, an edition, a chapter: each may hold others


def of_segments(file: BinaryIO, size: int) -> Iterator[tuple[int, Span]]:
    """What `elements` gives of each segment of a file.

    Raises:
        ValueError: it is no Matroska file, or a broken one.
        OverflowError: it has far too many elements.
    """
    for top, segment in elements(file, (0, size)):
        if top == _SEGMENT:
            yield from elements(file, segment)


def video_tracks(file: BinaryIO, size: int) -> Iterator[dict[int, Span]]:
    """Of each video track of a file its elements by id.

    Raises:
        ValueError, OverflowError: as `of_segments`.
    """
    for kind, tracks in of_segments(file, size):
        for track, content in elements(file, tracks) if kind == _TRACKS else ():
            parts = dict(elements(file, content)) if track == _TRACK else {}
            if _TYPE in parts and whole_number(file, parts[_TYPE]) == _IS_VIDEO:
                yield parts


def listed(file: BinaryIO, size: int) -> Iterator[int]:
    """The id of each element in a file's tags and chapters, however deep.

    Raises:
        ValueError, OverflowError: as `of_segments`.
    """
    todo = [content for kind, content in of_segments(file, size) if kind in _LISTS]
    while todo:
        for kind, content in elements(file, todo.pop()):
            yield kind
            if kind in _OF_LISTS:
                todo.append(content)


def elements(file: BinaryIO, span: Span) -> Iterator[tuple[int, Span]]:
    """(id, where its content lies) of each element of a span.

    Raises:
        ValueError: what is there is no element.
        OverflowError: there are far too many.
    """
    at, end = span
    for _ in range(_MOST_ELEMENTS):
        if at >= end:
            return
        file.seek(at)
        head = file.read(_HEAD_BYTES)
        id_bytes = _length(head[:1], 4)
        size_bytes = _length(head[id_bytes : id_bytes + 1], 8)
        raw = int.from_bytes(head[id_bytes : id_bytes + size_bytes])
        mask = (1 << 7 * size_bytes) - 1
        begin = at + id_bytes + size_bytes
        at = end if raw & mask == mask else begin + (raw & mask)  # all ones: of unknown size
        yield int.from_bytes(head[:id_bytes]), (begin, min(at, end))
    raise OverflowError(f"has more than {_MOST_ELEMENTS:,} elements in one")


def _length(first: bytes, most: int) -> int:
    """How many bytes a number has, by the zeros before the first one of its first byte."""
    zeros = 8 - first[0].bit_length() if first else most
    if zeros >= most:
        raise ValueError("no EBML")
    return zeros + 1


def whole_number(file: BinaryIO, span: Span) -> int:
    """The content of an element that is a number."""
    file.seek(span[0])
    return int.from_bytes(file.read(min(span[1] - span[0], 8)))
