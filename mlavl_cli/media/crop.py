"""How much of a picture its container says is to be seen: `clap` in mp4 and mov, PixelCrop in Matroska.

FFmpeg reads both, but PyAV doesn't hand them on. What the stream itself crops, its decoder does.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av

from mlavl_cli.media.boxes import MOST_BOXES, Span, inside
from mlavl_cli.media.container import Media

_VISUAL_ENTRY_BYTES = 86  # of a sample description, before the boxes in it
_EBML_HEAD_BYTES = 12


@dataclass(frozen=True)
class Crop:
    """What is cut off at each side, in pixels of the decoded picture."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def fits(self, width: int, height: int) -> bool:
        """Whether it leaves anything, and cuts off nothing that isn't there."""
        sides = (self.left, self.top, self.right, self.bottom)
        return min(sides) >= 0 and self.left + self.right < width and self.top + self.bottom < height


WHOLE = Crop()


def container_crop(media: Media, stream: av.VideoStream) -> Crop:
    """What the container cuts off this stream's picture; nothing where it doesn't say, or says nonsense."""
    size = (stream.width, stream.height)
    try:
        if media.has_sample_tables:
            found = _of_mov(media.path, stream.id, *size)
        elif media.format.startswith("matroska"):
            number = [one.index for one in media.container.streams.video].index(stream.index)
            found = _of_matroska(media.path, number)
        else:
            return WHOLE
    except (OSError, ValueError, struct.error, ZeroDivisionError):
        return WHOLE
    return found if found and found.fits(*size) else WHOLE


# --- mp4, mov --------------------------------------------------------------------------------------------------------


def _of_mov(path: Path, track_id: int, width: int, height: int) -> Crop | None:
    with path.open("rb") as file:
        for track in inside(file, (0, path.stat().st_size), b"moov", b"trak"):
            if _track_id(file, track) != track_id:
                continue
            for begin, end in inside(file, track, b"mdia", b"minf", b"stbl", b"stsd"):
                entry = (begin + 8 + _VISUAL_ENTRY_BYTES, end)  # behind version, flags and count
                for at, _ in inside(file, entry, b"clap"):
                    file.seek(at)
                    return _aperture(struct.unpack(">8i", file.read(32)), width, height)
    return None


def _track_id(file: BinaryIO, track: Span) -> int | None:
    for at, _ in inside(file, track, b"tkhd"):
        file.seek(at)
        wide = file.read(1) == b"\x01"  # version 1: times of 64 bits
        file.seek(at + 4 + (16 if wide else 8))
        return struct.unpack(">I", file.read(4))[0]
    return None


def _aperture(numbers: tuple[int, ...], width: int, height: int) -> Crop:
    """The clean aperture: its size, and how far its middle lies from the picture's."""
    shown_x, shown_y, off_x, off_y = (Fraction(*numbers[i : i + 2]) for i in range(0, 8, 2))
    left, top = (width - shown_x) / 2 + off_x, (height - shown_y) / 2 + off_y
    return Crop(round(left), round(top), round(width - left - shown_x), round(height - top - shown_y))


# --- Matroska: elements of (id, size, content) -----------------------------------------------------------------------

_SEGMENT, _TRACKS, _TRACK = 0x18538067, 0x1654AE6B, 0xAE
_TYPE, _VIDEO = 0x83, 0xE0
_SIDES = (0x54CC, 0x54BB, 0x54DD, 0x54AA)  # left, top, right, bottom


def _elements(file: BinaryIO, span: Span) -> Iterator[tuple[int, Span]]:
    at, end = span
    for _ in range(MOST_BOXES):
        if at >= end:
            return
        file.seek(at)
        head = file.read(_EBML_HEAD_BYTES)
        id_bytes = _length(head[:1], 4)
        size_bytes = _length(head[id_bytes : id_bytes + 1], 8)
        raw = int.from_bytes(head[id_bytes : id_bytes + size_bytes])
        mask = (1 << 7 * size_bytes) - 1
        begin = at + id_bytes + size_bytes
        at = end if raw & mask == mask else begin + (raw & mask)  # all ones: of unknown size
        yield int.from_bytes(head[:id_bytes]), (begin, min(at, end))


def _length(first: bytes, most: int) -> int:
    """How many bytes a number has, by the zeros before the first one of its first byte."""
    zeros = 8 - first[0].bit_length() if first else most
    if zeros >= most:
        raise ValueError("no EBML")
    return zeros + 1


def _number(file: BinaryIO, span: Span) -> int:
    file.seek(span[0])
    return int.from_bytes(file.read(min(span[1] - span[0], 8)))


def _of_matroska(path: Path, number: int) -> Crop | None:
    with path.open("rb") as file:
        for top, segment in _elements(file, (0, path.stat().st_size)):
            for kind, tracks in _elements(file, segment) if top == _SEGMENT else ():
                for track, content in _elements(file, tracks) if kind == _TRACKS else ():
                    parts = dict(_elements(file, content)) if track == _TRACK else {}
                    if _TYPE not in parts or _number(file, parts[_TYPE]) != 1:
                        continue
                    if number == 0:
                        sides = dict(_elements(file, parts[_VIDEO])) if _VIDEO in parts else {}
                        return Crop(*(_number(file, sides[side]) if side in sides else 0 for side in _SIDES))
                    number -= 1
    return None
