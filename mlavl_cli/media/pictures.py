"""A stream's packets -> its pictures in the order in which they are shown, with the stamps that the file gives."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import av

from mlavl_cli.media.container import Media
from mlavl_cli.media.lanes import Drawn, Lanes
from mlavl_cli.media.nal import Mismatch, told_by
from mlavl_cli.media.spare import LookedAt, Placed, Sparing, Step, refuse_odd

STOPPED, DAMAGED = "reading stopped early", "damaged pieces of the picture"  # words of warnings
_DECODING_ORDER_ONLY = frozenset({"avi"})  # formats that only know in which order frames are decoded
_SPARED = frozenset("mov matroska".split())  # whose packets have a picture each, and its time
_MOST_REORDERED = 64  # frames that are decoded before they are shown; no codec has more
_LEAST_PIXELS, _PIXELS_A_BYTE = 10_000_000_000, 300_000  # a still screen in 8K comes to 220,000
_FRUITLESS = 5_000  # packets in a row that give no picture: the file is given up
_FRUITLESS_PX = 4_000_000_000  # of pictures in a row that fail, perhaps at their last row


class Pictures:
    """Decodes a video stream.

    Args:
        media: the file.
        stream: of it.

    Attributes:
        packets: how many were read so far.
        decoded, pixels: pictures that came out of the decoder so far, and of how many pixels all together.
        broke_off: whether reading stopped early.
        warnings: complete at the end.
    """

    def __init__(self, media: Media, stream: av.VideoStream):
        self._media, self._stream = media, stream
        self.packets, self.decoded, self.pixels, self.broke_off = 0, 0, 0, False
        self.warnings: list[str] = []

    def in_order(self, looked_at: LookedAt | None = None, lanes: Lanes | None = None) -> Iterator[Placed[Any]]:
        """(stamp, picture) in the order in which they are shown.

        Args:
            looked_at: of the stamps of all pictures, those whose pictures will be looked at, the first among them.
                Others may be None.
            lanes: what decodes them, where not all have to be decoded; they are then `Drawn`.

        Raises:
            MediaError: the picture is encrypted.
            Mismatch: all pictures must be asked for, of another `Media`.
        """
        decoded: deque[int | None] = deque(maxlen=_MOST_REORDERED)  # decoding times of what is under way
        in_turn_only = self._media.format in _DECODING_ORDER_ONLY
        stamped = False
        packets = self._media.packets(self._stream)
        sparing = self._sparing(packets, looked_at) if looked_at else None
        if sparing and lanes:
            yield from self._of_lanes(sparing, lanes)
            return
        for stamp, picture in self._decoded(packets, sparing, decoded):
            # Of n frames that are decoded in one order and shown in another, the k-th to be shown is shown when the
            # k-th to be decoded was decoded: that is all that can be known where presentation times are missing.
            in_turn = decoded.popleft() if decoded else None
            stamped = stamped or stamp is not None
            yield (stamp if stamped and not in_turn_only else in_turn), picture

    def _of_lanes(self, sparing: Sparing[Drawn], lanes: Lanes) -> Iterator[Placed[Drawn]]:
        def counted() -> Iterator[Step]:
            for step in sparing:
                self.packets += step.packet.size > 0
                yield step

        claimed_px = 0
        with closing(lanes.decoded(counted())) as parts:
            for pictures in parts:
                self._count(pictures)
                placed = sparing.placed(pictures)
                claimed_px += self._claimed_px(placed)
                if claimed_px > self._most_px:
                    raise Mismatch
                yield from placed
        yield from sparing.placed([], end=True)

    def _decoded(
        self, packets: Iterator[av.Packet], sparing: Sparing[av.VideoFrame] | None, decoded: "deque[int | None]"
    ) -> Iterator[Placed[av.VideoFrame]]:
        """Pictures with their own stamps; the decoding times of their packets are appended to `decoded`."""
        damaged = fruitless = claimed_px = lost_px = 0
        steps = sparing or (Step(packet) for packet in packets)
        while True:
            try:
                step = next(steps)
            except StopIteration:
                break
            except av.FFmpegError as error:
                self._break_off(error.strerror)
                break
            packet, fruitless = step.packet, fruitless + 1
            if fruitless > _FRUITLESS or lost_px > _FRUITLESS_PX:
                self._break_off(f"{fruitless} packets in a row hold no picture")
                break
            if packet.size:
                self.packets += 1
                decoded.append(packet.dts)
            elif packet.dts is not None:
                continue  # nothing new to be shown: the picture before is held
            if sparing:
                step.tell(self._stream.codec_context)
            try:
                pictures = packet.decode()
            except MemoryError:  # FFmpeg's own, too: nothing is wrong with the packet
                raise
            except av.FFmpegError as error:
                if sparing:
                    raise Mismatch from error
                damaged += 1
                if packet.size:
                    decoded.pop()
                    lost_px += self._stream.width * self._stream.height
                continue
            fruitless, lost_px = (0, 0) if pictures else (fruitless, lost_px)
            self._count(pictures)
            damaged += sum(picture.is_corrupt for picture in pictures)
            placed: list[Placed[av.VideoFrame]] = [(one.pts, one) for one in pictures]
            if sparing:
                refuse_odd(pictures)
                placed = sparing.placed(pictures, end=not packet.size)
            claimed_px += self._claimed_px(placed)
            if claimed_px > self._most_px:
                self._break_off("more and larger pictures than a file of its size can hold")
                break
            yield from placed
        if sparing and (self.broke_off or damaged):  # what the decoder still held is another number of pictures
            raise Mismatch
        if damaged:
            self.warnings.append(f"{damaged} {DAMAGED} were skipped or patched")

    def _sparing(self, packets: Iterator[av.Packet], looked_at: LookedAt) -> Sparing[Any] | None:
        # Packets of a small file may be another reader's, too: it couldn't be closed, should it have to be read again.
        if self._media.small or _SPARED.isdisjoint(self._media.format.split(",")):
            return None
        told = told_by(self._stream.codec_context)
        return Sparing(packets, told, looked_at) if told else None

    def _count(self, pictures: Sequence[av.VideoFrame | Drawn]) -> None:
        self.decoded += len(pictures)
        self.pixels += sum(picture.width * picture.height for picture in pictures)

    def _claimed_px(self, placed: Sequence[Placed[Any]]) -> int:
        return sum((one or self._stream).width * (one or self._stream).height for _, one in placed)

    @property
    def _most_px(self) -> int:
        return _LEAST_PIXELS + _PIXELS_A_BYTE * self._media.size

    def _break_off(self, why: str | None) -> None:
        self.warnings.append(f"{STOPPED} ({why})")
        self.broke_off = True
