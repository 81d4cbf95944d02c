"""Pictures that needn't be decoded: neither sampled nor a reference of another picture.

Which will be looked at is known from the times of the packets, some packets ahead. What comes of the others is counted
on: one picture a packet, at the packet's time. Wherever a file doesn't keep to that it is noticed, and the file has to
be decoded in full (`Mismatch`), so that frames are those that a full decode gives.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator

import av

from mlavl_cli.media.nal import Mismatch

_MOST_AHEAD = 1024  # packets
Placed = tuple[int | None, av.VideoFrame | None]


class Sparing:
    """A stream's packets, the decoder being told before each whether to leave its picture out.

    Args:
        packets: of the stream.
        codec: its decoder.
        unused: tells of each packet whether no other picture is decoded from its own (nal.py).
        looked_at: of presentation times, in order, those that will be looked at; asks for few more than it gives.

    Raises:
        Mismatch: by `__next__` and by `placed`.
    """

    def __init__(
        self,
        packets: Iterator[av.Packet],
        codec: av.CodecContext,
        unused: Callable[[av.Packet], bool],
        looked_at: Callable[[Iterator[int]], Iterator[int]],
    ):
        self._packets, self._codec, self._unused = packets, codec, unused
        self._looked_at = looked_at(self._shown())
        self._ahead: deque[av.Packet] = deque()
        self._wanted: set[int] = set()
        self._known_to: float = float("-inf")  # it is known what will be looked at up to here
        self._due: list[tuple[int, bool]] = []  # heap of what was handed to the decoder: time, whether it is left out

    def __iter__(self) -> Iterator[av.Packet]:
        return self

    def __next__(self) -> av.Packet:
        while not self._ahead and self._known_to < float("inf"):
            self._look_further()
        if not self._ahead:
            raise StopIteration
        time = self._ahead[0].pts if self._is_shown(self._ahead[0]) else None
        while time is not None and self._known_to < time:
            self._look_further()
        packet = self._ahead.popleft()
        unused, left_out = packet.size > 0 and self._unused(packet), False
        if time is not None:
            # What lies behind all that will be looked at may be the last picture, which says how long it is shown.
            wanted = time in self._wanted or self._known_to == float("inf")
            self._wanted.discard(time)
            left_out = unused and not wanted
            heapq.heappush(self._due, (time, left_out))
        self._codec.skip_frame = "NONREF" if left_out else "DEFAULT"
        return packet

    def placed(self, packet: av.Packet, pictures: list[av.VideoFrame]) -> list[Placed]:
        """(time, picture) of what the decoder gave of a packet, and (time, None) where it left one out before."""
        found: list[Placed] = []
        for picture in pictures:
            if picture.is_corrupt or picture.interlaced_frame or picture.pts is None:
                raise Mismatch
            while self._due and self._due[0][0] < picture.pts:
                found.append(self._left_out())
            if not self._due or heapq.heappop(self._due) != (picture.pts, False):
                raise Mismatch
            found.append((picture.pts, picture))
        if not packet.size:  # the end
            while self._due:
                found.append(self._left_out())
        return found

    def _left_out(self) -> Placed:
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
