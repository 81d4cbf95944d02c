"""A stream's packets -> its pictures in the order in which they are shown, with the stamps that the file gives."""

from collections import deque
from collections.abc import Callable, Iterator

import av

from mlavl_cli.media.container import Media
from mlavl_cli.media.nal import Mismatch, told_by
from mlavl_cli.media.spare import Placed, Sparing

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

    def in_order(self, looked_at: Callable[[Iterator[int]], Iterator[int]] | None = None) -> Iterator[Placed]:
        """(stamp, picture) in the order in which they are shown.

        Args:
            looked_at: of the stamps of all pictures, those whose pictures will be looked at, the first among them.
                Others may be None.

        Raises:
            MediaError: the picture is encrypted.
            Mismatch: all pictures must be asked for, of another `Media`.
        """
        decoded: deque[int | None] = deque(maxlen=_MOST_REORDERED)  # decoding times of what is under way
        in_turn_only = self._media.format in _DECODING_ORDER_ONLY
        stamped = False
        for stamp, picture in self._decoded(decoded, looked_at):
            # Of n frames that are decoded in one order and shown in another, the k-th to be shown is shown when the
            # k-th to be decoded was decoded: that is all that can be known where presentation times are missing.
            in_turn = decoded.popleft() if decoded else None
            stamped = stamped or stamp is not None
            yield (stamp if stamped and not in_turn_only else in_turn), picture

    def _decoded(
        self, decoded: "deque[int | None]", looked_at: Callable[[Iterator[int]], Iterator[int]] | None
    ) -> Iterator[Placed]:
        """Pictures with their own stamps; the decoding times of their packets are appended to `decoded`."""
        damaged = fruitless = claimed_px = lost_px = 0
        most_pixels = _LEAST_PIXELS + _PIXELS_A_BYTE * self._media.size
        packets = self._media.packets(self._stream)
        sparing = self._sparing(packets, looked_at) if looked_at else None
        packets = sparing or packets
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.FFmpegError as error:
                self._break_off(error.strerror)
                break
            fruitless += 1
            if fruitless > _FRUITLESS or lost_px > _FRUITLESS_PX:
                self._break_off(f"{fruitless} packets in a row hold no picture")
                break
            if packet.size:
                self.packets += 1
                decoded.append(packet.dts)
            elif packet.dts is not None:
                continue  # nothing new to be shown: the picture before is held
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
            self.decoded += len(pictures)
            self.pixels += sum(picture.width * picture.height for picture in pictures)
            damaged += sum(picture.is_corrupt for picture in pictures)
            placed = sparing.placed(packet, pictures) if sparing else [(one.pts, one) for one in pictures]
            claimed_px += sum((one or self._stream).width * (one or self._stream).height for _, one in placed)
            if claimed_px > most_pixels:
                self._break_off("more and larger pictures than a file of its size can hold")
                break
            yield from placed
        if sparing and (self.broke_off or damaged):  # what the decoder still held is another number of pictures
            raise Mismatch
        if damaged:
            self.warnings.append(f"{damaged} {DAMAGED} were skipped or patched")

    def _sparing(
        self, packets: Iterator[av.Packet], looked_at: Callable[[Iterator[int]], Iterator[int]]
    ) -> Sparing | None:
        codec = self._stream.codec_context
        # Packets of a small file may be another reader's, too: it couldn't be closed, should it have to be read again.
        if self._media.small or _SPARED.isdisjoint(self._media.format.split(",")):
            return None
        unused = told_by(codec)
        return Sparing(packets, codec, unused, looked_at) if unused else None

    def _break_off(self, why: str | None) -> None:
        self.warnings.append(f"{STOPPED} ({why})")
        self.broke_off = True
