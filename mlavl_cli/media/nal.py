"""Packets of H.264 and HEVC as mp4 and Matroska hold them: which of them no other picture is decoded from.

Of each NAL unit the header is read, and of H.264's slices the number of the frame, which tells whether one that others
are decoded from is missing: a decoder then makes one up from what it decoded last (ITU-T H.264, 7.3.1 to 7.3.3, and
8.2.5.2; H.265, 7.3.1.2).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av

_H264_SLICES, _H264_UNITS = range(1, 6), range(1, 22)
_H264_WHOLE, _H264_SAID, _H264_SETTINGS, _H264_DETAILS = range(5, 9)  # a first picture; SEI; what holds for many
_PASSING = frozenset((0, 1, 4, 5, 6))  # SEI of which nothing is kept: buffers, times, captions, texts, where to begin
_X264 = b"x264 - core"  # in a text: by old versions pictures are decoded otherwise from then on
_H264_PLAIN = frozenset((66, 77, 100))  # profiles of which nothing else holds for later pictures
_WITH_CHROMA = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))  # profiles
_READ = 16  # bytes of a slice, which hold what is read of its header
_HEVC_SLICES = range(32)
# Sub-layer non-reference pictures, but for those that a decoder drops where what they skip to is missing.
_HEVC_UNUSED = frozenset((0, 2, 4, 6))


class Mismatch(Exception):
    """Packets and pictures don't correspond one to one, or may not."""


@dataclass(frozen=True)
class Told:
    """Of a packet: whether no other picture is decoded from its own; whether all from it on needs none before it."""

    unused: bool = False
    anew: bool = False


def told_by(codec: av.CodecContext) -> Callable[[av.Packet], Told] | None:
    """A function that tells of each packet, in the order of the file; it raises `Mismatch` where one is missing. None
    where nothing can be told."""
    settings = codec.extradata or b""
    try:
        if codec.name == "h264" and settings[0] == 1:
            return _H264(settings)
        if codec.name == "hevc" and settings[0] == 1:
            return _HEVC(settings)
    except (IndexError, ValueError):  # what isn't laid out as it should be
        pass
    return None


class _H264:
    def __init__(self, settings: bytes):
        """From an avcC box."""
        self._size = (settings[4] & 3) + 1
        held, at = _sets(settings, 6, settings[5] & 31)
        details, _ = _sets(settings, at + 1, settings[at])
        self._settings, self._details = held[0], details
        # Whether groups of pictures share nothing but what is in the box.
        self._apart = settings[1] in _H264_PLAIN and len(held) == len(details) == 1
        bits = _Bits(self._settings[4:])
        bits.number()
        self._planes = 0
        if settings[1] in _WITH_CHROMA:
            if bits.number() == 3:
                self._planes = 2 * bits.read(1)
            bits.number()
            bits.number()
            if bits.read(2) & 1:
                raise ValueError("scaling lists")
        self._number_bits = bits.number() + 4
        self._first: list[memoryview] | None = None  # units of the first packet, which all decoders are given
        self._last = 0  # number of the latest frame that others are decoded from

    def __call__(self, packet: av.Packet) -> Told:
        units = _units(packet, self._size)
        kinds = [unit[0] & 31 for unit in units]
        slices = [unit for unit, kind in zip(units, kinds, strict=True) if kind in _H264_SLICES]
        if not slices or any(unit[0] >> 7 or kind not in _H264_UNITS for unit, kind in zip(units, kinds, strict=True)):
            raise Mismatch
        if any(map(_holds_others, units)):
            raise Mismatch
        if any(kind == _H264_SETTINGS and unit != self._settings for unit, kind in zip(units, kinds, strict=True)):
            raise Mismatch
        bits = _Bits(bytes(slices[0][1:_READ]))
        try:
            for _ in range(3):  # the slice's place, its kind, its settings
                bits.number()
            bits.read(self._planes)
            number = bits.read(self._number_bits)
        except ValueError as error:
            raise Mismatch from error
        whole = slices[0][0] & 31 == _H264_WHOLE
        if number != (0 if whole else (self._last + 1) % (1 << self._number_bits)):
            raise Mismatch
        unused = all(unit[0] >> 5 == 0 for unit in slices)
        self._last = self._last if unused else number
        self._first = units if self._first is None else self._first
        # What lasts also colours the pictures that are decoded, and not shown yet.
        self._apart &= not packet.has_sidedata("new_extradata") and not any(map(self._lasts, units))
        return Told(unused, anew=whole and self._apart)

    def _lasts(self, unit: memoryview) -> bool:
        """Whether a unit may say something that holds for later groups, too."""
        kind = unit[0] & 31
        if kind == _H264_SAID:
            other = _X264 in bytes(unit) and unit not in (self._first or ())
            return other or not _PASSING.issuperset(_said(unit))
        return kind == _H264_DETAILS and unit not in self._details


class _HEVC:
    def __init__(self, settings: bytes):
        """From an hvcC box."""
        self._size, self._layers = (settings[21] & 3) + 1, settings[21] >> 3 & 7
        if not self._layers:
            raise ValueError("it isn't said how many temporal layers there are")

    def __call__(self, packet: av.Packet) -> Told:
        units = _units(packet, self._size)
        slices = [unit for unit in units if unit[0] >> 1 & 63 in _HEVC_SLICES]
        if not slices or any(len(unit) < 2 or unit[0] >> 7 for unit in units):
            raise Mismatch
        # Of several temporal layers, pictures of the highest may be decoded from such of those below.
        return Told(all(unit[0] >> 1 & 63 in _HEVC_UNUSED and unit[1] & 7 == self._layers for unit in slices))


def _holds_others(unit: memoryview) -> bool:
    """Whether there is a start code in a unit, behind which a decoder finds more of them."""
    content = bytes(unit).rstrip(b"\0")
    return b"\0\0\1" in content or b"\0\0\0" in content


def _said(unit: memoryview) -> Iterator[int]:
    """Kinds of what a unit of SEI says; -1 where it can't be told."""
    content, at = bytes(unit[1:]).replace(b"\0\0\3", b"\0\0"), 0
    while len(content) - at > 1:  # behind the last stands a byte
        numbers = []
        for _ in range(2):
            more = len(content) - at - len(content[at:].lstrip(b"\xff"))
            last = content[at + more] if at + more < len(content) else -1
            numbers.append(255 * more + last if last >= 0 else -1)
            at += more + 1
        kind, size = numbers
        yield kind if size >= 0 else -1
        at += max(size, 0)


def _sets(settings: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """So many parameter sets of an avcC box from `at` on, and where they end."""
    found = []
    for _ in range(count):
        begin = at + 2
        at = begin + int.from_bytes(settings[at:begin])
        found.append(settings[begin:at])
    return found, at


def _units(packet: av.Packet, size: int) -> list[memoryview]:
    """The NAL units, which must fill the packet; nothing is copied."""
    content = memoryview(packet)
    found, at = [], 0
    while at < len(content):
        begin = at + size
        at = begin + int.from_bytes(content[at:begin])
        if not begin < at <= len(content):
            raise Mismatch
        found.append(content[begin:at])
    return found


class _Bits:
    """Reads what the standards write as u(n) and ue(v).

    Raises:
        ValueError: there is no more.
    """

    def __init__(self, coded: bytes):
        content = coded.replace(b"\0\0\3", b"\0\0")  # the byte in between keeps start codes out
        self._value, self._left = int.from_bytes(content), 8 * len(content)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("ends early")
        return self._value >> self._left & ((1 << count) - 1)

    def number(self) -> int:
        rest = self._value & ((1 << self._left) - 1)
        if not rest:
            raise ValueError("ends early")
        return self.read(2 * (self._left - rest.bit_length()) + 1) - 1
