"""How much of a picture its container says is to be seen: `clap` in mp4 and mov, PixelCrop in Matroska.

FFmpeg reads both, but PyAV doesn't hand them on. What the stream itself crops, its decoder does.
"""

import struct
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import av

from mlavl_cli.media.boxes import Span, inside
from mlavl_cli.media.container import Media
from mlavl_cli.media.ebml import elements, video_tracks, whole_number

_VISUAL_ENTRY_BYTES = 86  # of a sample description, before the boxes in it


_LEAST_LEFT = 4  # a quarter of each side is left by any crop that is meant


@dataclass(frozen=True)
class Crop:
    """What is cut off at each side, in pixels of the decoded picture."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def fits(self, width: int, height: int) -> bool:
        """Whether it leaves a picture to be seen, and cuts off nothing that isn't there."""
        sides = (self.left, self.top, self.right, self.bottom)
        wide, high = width - self.left - self.right, height - self.top - self.bottom
        return min(sides) >= 0 and _LEAST_LEFT * wide >= width and _LEAST_LEFT * high >= height


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
    except (OSError, ValueError, OverflowError, struct.error, ZeroDivisionError):
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


# --- Matroska --------------------------------------------------------------------------------------------------------

_VIDEO = 0xE0
_SIDES = (0x54CC, 0x54BB, 0x54DD, 0x54AA)  # left, top, right, bottom


def _of_matroska(path: Path, number: int) -> Crop | None:
    with path.open("rb") as file:
        track = next(islice(video_tracks(file, path.stat().st_size), number, None), {})
        sides = dict(elements(file, track[_VIDEO])) if _VIDEO in track else {}
        return Crop(*(whole_number(file, sides[side]) if side in sides else 0 for side in _SIDES))
