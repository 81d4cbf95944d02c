"""Pictures that needn't be decoded: neither sampled nor a reference of another picture.

Which will be looked at is known from the times of the packets, some packets ahead. What comes of the others is counted
on: one picture a packet, at the packet's time. Wherever a file doesn't keep to that it is noticed, and the file has to
be decoded in full (`Mismatch`), so that frames are those that a full decode gives.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import av

from mlavl_cli.media.nal import Mismatch, Told

_MOST_AHEAD = 1024  # packets
LookedAt = Callable[[Iterator[int]], Iterator[int]]


class Timed(Protocol):
    """A picture, as PyAV's or what is kept of it."""

    @property
    def pts(self) -> int | None: ...


Picture = TypeVar("Picture", bound=Timed)
Placed = tuple[int | None, Picture | None]


@dataclass(frozen=True)
class Step:
    """A packet for the decoder: whether its picture is to be left out, whether it will be looked at, and whether
    neither it nor what follows needs any packet before it."""

    packet: av.Packet
    left_out: bool = False
    wanted: bool = True
    anew: bool = False

    def tell(self, codec: av.CodecContext) -> None:
        """Tells the decoder whether to leave its picture out."""
        codec.skip_frame = "NONREF" if self.left_out else "DEFAULT"


def refuse_odd(pictures: Sequence[av.VideoFrame]) -> None:
    """Pictures that may be another number of them in a full decode.

    Raises:
        Mismatch: one of them is.
    """
    if any(picture.is_corrupt or picture.interlaced_frame or picture.pts is None for picture in pictures):
        raise Mismatch


class Sparing(Generic[Picture]):
    """A stream's packets, and whether the decoder is to leave their pictures out.

    Args:
        packets: of the stream.
        told: tells of each packet whether no other picture is decoded from its own (nal.py).
        looked_at: of presentation times, in order, those that will be looked at; asks for few more than it gives.

    Raises:
        Mismatch: by `__next__` and by `placed`.
    """

    def __init__(
        self,
        packets: Iterator[av.Packet],
        told: Callable[[av.Packet], Told],
        looked_at: LookedAt,
    ):
        self._packets, self._told = packets, told
        self._looked_at = looked_at(self._shown())
        self._ahead: deque[av.Packet] = deque()
        self._wanted: set[int] = set()
        self._known_to: float = float("-inf")  # it is known what will be looked at up to here
        self._due: list[tuple[int, bool]] = []  # heap of what was handed to the decoder: time, whether it is left out

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        while not self._ahead and self._known_to < float("inf"):
            self._look_further()
        if not self._ahead:
            raise StopIteration
        time = self._ahead[0].pts if self._is_shown(self._ahead[0]) else None
        while time is not None and self._known_to < time:
            self._look_further()
        packet = self._ahead.popleft()
        told = self._told(packet) if packet.size else Told()
        wanted = left_out = False
        if time is not None:
            # What lies behind all that will be looked at may be the last picture, which says how long it is shown.
            wanted = time in self._wanted or self._known_to == float("inf")
            self._wanted.discard(time)
            left_out = told.unused and not wanted
            heapq.heappush(self._due, (time, left_out))
        return Step(packet, left_out, wanted, told.anew)

    def placed(self, pictures: Sequence[Picture], end: bool = False) -> list[Placed[Picture]]:
        """(time, picture) of what the decoder gave, and (time, None) where it left one out before, or at the end."""
        found: list[Placed[Picture]] = []
        for picture in pictures:
            if picture.pts is None:
                raise Mismatch
            while self._due and self._due[0][0] < picture.pts:
                found.append(self._left_out())
            if not self._due or heapq.heappop(self._due) != (picture.pts, False):
                raise Mismatch
            found.append((picture.pts, picture))
        while end and self._due:
            found.append(self._left_out())
        return found

    def _left_out(self) -> tuple[int, None]:
        time, left_out = heapq.heappop(self._due)
        if not left_out:
            raise Mismatch
        return time, None

    def _look_further(self) -> None:
        time = next(self._looked_at, None)
        if time is None:
            self._known_to = float("inf")
        else:
            self._wanted.add(time)
            self._known_to = max(self._known_to, time)

    def _shown(self) -> Iterator[int]:
        """Times at which pictures are shown, in order, as the packets that are read ahead tell them."""
        waiting: list[int] = []
        latest = float("-inf")
        decoded = float("-inf")
        while True:
            try:
                packet = next(self._packets)
            except StopIteration:
                break
            except av.FFmpegError as error:
                raise Mismatch from error
            self._ahead.append(packet)
            if len(self._ahead) > _MOST_AHEAD:
                raise Mismatch
            if not self._is_shown(packet):
                continue
            if packet.pts is None or packet.pts <= latest or packet.pts in waiting:
                raise Mismatch
            heapq.heappush(waiting, packet.pts)
            if packet.dts is not None:
                decoded = max(decoded, packet.dts)
            while waiting and waiting[0] <= decoded:  # nothing is shown before it is decoded
                latest = heapq.heappop(waiting)
                yield latest
        while waiting:
            yield heapq.heappop(waiting)

    @staticmethod
    def _is_shown(packet: av.Packet) -> bool:
        return packet.size > 0 and not packet.is_discard
