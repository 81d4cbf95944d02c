"""Timestamps as files have them -> times that make sense.

`CommonClock` mends the packets of a file as it is read: where a recording's clock starts anew, picture and sound are
moved on together. `picture_times` mends what is left in the times of decoded pictures. What the sound needs is in
sound_clock.py.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import av

T = TypeVar("T")
Indexed = tuple[int, av.Packet]

RESTART_S = 0.5  # decoding times never go back; a larger step back is a clock that started anew
GLITCH_S = 10.0  # a larger step ahead that the next timestamp takes back is a broken timestamp
_SETTLE_S = 1.0  # of a part that begins: as much is looked at to find out which stream begins first
_WRAP = 1 << 33  # ticks; the clock of a transport stream starts again after a day
_HELD = 256  # packets, at most, meanwhile
_MOST_RESTARTS = 1000
_STUCK = 2  # a timestamp that comes again as often as that is a clock that stands still


@dataclass(eq=False)
class _Part:
    """A stretch of a file whose clock runs through. Times in seconds, as the file has them, without `shift_s`."""

    start_s: float
    end_s: float  # of what was seen of it, when shown
    shift_s: float | None = None  # None until it is known where the part begins
    number: int = 0
    before: "_Part | None" = None


@dataclass
class _Stream:
    part: _Part
    last_s: float | None = None  # the latest decoding time
    before_s: float | None = None  # the one before it
    end_s: float = 0.0  # where the part ended before the latest packet
    came_from: _Part | None = None  # where it was before the latest packet, if that began a part


class CommonClock:
    """Follows the packets of a file, and moves on the times of parts whose clock started anew.

    Recordings joined end to end, and recorders that set their clock back, go back in time in the middle of a file. All
    streams of a part are moved by the same time, to where the longest of them ended, so that none drifts against the
    others.

    Args:
        programmes: stream index -> programme; streams of other programmes have another clock. Streams that are not
            named belong together.

    Attributes:
        programmes: as given.
        restarts: how many parts began anew.
        reached_s: the latest time at which a packet ended, as the file has it.
    """

    def __init__(self, programmes: dict[int, int] | None = None):
        self.restarts, self.reached_s = 0, 0.0
        self.programmes = programmes or {}
        self._parts: dict[int, list[_Part]] = {}
        self._streams: dict[int, _Stream] = {}
        self._begun: _Part | None = None  # of which it isn't known yet which stream begins first

    def follow(self, packets: Iterable[Indexed]) -> Iterator[Indexed]:
        """(index of its stream, packet) in the file's order -> the same, their pts and dts on one clock."""
        held: list[tuple[Indexed, _Part | None]] = []
        for index, packet in packets:
            held.append(((index, packet), self._part_of(index, packet)))
            begun = self._begun
            if begun is None or begun.end_s - begun.start_s >= _SETTLE_S or len(held) >= _HELD:
                yield from self._released(held)
        yield from self._released(held)

    def _released(self, held: list[tuple[Indexed, _Part | None]]) -> Iterator[Indexed]:
        for (index, packet), part in held:
            if part is not None and (shift_s := self._shift(part)):
                ticks = round(shift_s / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
            yield index, packet
        held.clear()
        self._begun = None

    def _shift(self, part: _Part) -> float:
        if part.shift_s is None:
            assert part.before is not None  # only the first part has none, and it isn't moved
            part.shift_s = self._shift(part.before) + part.before.end_s - part.start_s
        return part.shift_s

    def _part_of(self, index: int, packet: av.Packet) -> _Part | None:
        """Which part it belongs to; None where that can't be known."""
        stream = self._streams.get(index)
        decoded, shown = packet.dts, packet.pts
        if decoded is not None and shown is not None and decoded - shown > _WRAP // 2:
            # A frame that is shown behind the end of a 33-bit clock, and decoded before.
            packet.pts = shown = shown + _WRAP
        shown = decoded if shown is None else shown
        if shown is None:
            return stream.part if stream else None
        a_second = packet.time_base.denominator / packet.time_base.numerator
        shown_s, end_s = shown / a_second, (shown + (packet.duration or 0)) / a_second
        parts = self._parts.setdefault(self.programmes.get(index, -1), [])
        if stream is None:
            if not parts:
                parts.append(_Part(shown_s, end_s, 0.0))
            stream = self._streams[index] = _Stream(parts[-1])
        if decoded is not None:
            decoded_s = decoded / a_second
            self._advance(stream, parts, decoded_s, shown_s)
            stream.before_s, stream.last_s = stream.last_s, decoded_s
        part = stream.part
        stream.end_s, part.end_s = part.end_s, max(part.end_s, end_s)
        if part.shift_s is None:
            part.start_s = min(part.start_s, shown_s)
        self.reached_s = max(self.reached_s, end_s)
        return part

    def _advance(self, stream: _Stream, parts: list[_Part], decoded_s: float, shown_s: float) -> None:
        """Puts the stream into the part to which its next packet belongs."""
        last_s, before_s = stream.last_s, stream.before_s
        no_clock = self.restarts >= _MOST_RESTARTS or len(parts) > 2 * _MOST_RESTARTS
        if last_s is None or no_clock:
            return
        came_from, stream.came_from = stream.came_from, None
        returns = before_s is not None and -RESTART_S <= decoded_s - before_s <= GLITCH_S
        if came_from is not None and returns and decoded_s > last_s + RESTART_S:
            # The timestamp before was broken, and the clock never started anew.
            taken_back, stream.part = stream.part, came_from
            self.restarts -= 1
            if taken_back is parts[-1] and all(one.part is not taken_back for one in self._streams.values()):
                parts.pop()  # else each broken timestamp would be looked through at the next
        elif decoded_s < last_s - RESTART_S:
            if before_s is not None and returns and last_s > before_s + GLITCH_S:  # likewise
                stream.part.end_s = min(stream.part.end_s, stream.end_s)
                return
            stream.came_from = stream.part
            later = parts[stream.part.number + 1 :]
            # The newest that fits: an earlier one, in which this stream was missing, may look the same.
            begun = (p for p in reversed(later) if p.start_s - _SETTLE_S <= shown_s <= p.end_s + _SETTLE_S)
            if joined := next(begun, None):
                stream.part = joined
            else:
                stream.part = self._begun = _Part(shown_s, shown_s, None, len(parts), parts[-1])
                parts.append(stream.part)
                self.restarts += 1


@dataclass
class Repairs:
    """What `picture_times` repaired: missing and broken timestamps."""

    missing: int = 0
    broken: int = 0


def picture_times(
    stamped: Iterable[tuple[float | None, T]], interval_s: float, repairs: Repairs
) -> Iterator[tuple[float, T]]:
    """(timestamp or None, picture), in the order in which they are shown -> (time, picture), times increasing.

    Gaps are kept. A picture whose timestamp is missing, or stands alone far ahead, is shown at the usual interval; one
    whose timestamp lies behind is shown at once, unless the clock stands still: then frames keep their usual duration.
    """
    last_s, before_s, stuck = None, None, 0
    for (stamp_s, picture), next_s in _with_following(stamped):
        stuck = stuck + 1 if stamp_s is not None and stamp_s == before_s else 0
        before_s = stamp_s
        if last_s is None:
            last_s = max(stamp_s or 0.0, 0.0)  # what is stamped before the start is shown at the start
            repairs.missing += stamp_s is None
        elif stamp_s is None:
            last_s += interval_s
            repairs.missing += 1
        elif stamp_s > last_s + GLITCH_S and next_s is not None and next_s < stamp_s - RESTART_S:
            last_s += interval_s
            repairs.broken += 1
        elif stamp_s > last_s:
            last_s = stamp_s
        else:
            last_s += interval_s if stuck >= _STUCK else interval_s / 1000
            repairs.broken += stuck >= _STUCK
        yield last_s, picture


def _with_following(
    entries: Iterable[tuple[float | None, T]],
) -> Iterator[tuple[tuple[float | None, T], float | None]]:
    """Each entry with the timestamp of the one after it; behind the last comes None."""
    held: list[tuple[float | None, T]] = []
    for entry in entries:
        if held:
            yield held.pop(), entry[0]
        held.append(entry)
    if held:
        yield held.pop(), None
