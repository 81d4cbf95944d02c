"""A stream's pictures by several decoders at once, each from one picture that needs none before it to the next.

FFmpeg's own threads hand pictures to each other row by row, which takes a third of a decoder's work again. Groups of
pictures have nothing to do with each other, and are drawn small where they are decoded, so that few are held.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import av
import numpy as np

from mlavl_cli.errors import MediaError
from mlavl_cli.media.container import Media
from mlavl_cli.media.nal import Mismatch
from mlavl_cli.media.orientation import orientation
from mlavl_cli.media.picture import PictureSpec, high_dynamic_range
from mlavl_cli.media.spare import Step, refuse_odd

_MOST_LANES = 8
_LEAST_PX = 640 * 360  # smaller pictures are decoded sooner than they are handed on
_PIXEL_BYTES, _MEMORY = 30, 140_000_000  # of all that a decoder keeps of a picture's size; of all decoders
_SOON_S = 0.5  # in which a file is opened, as each decoder has to
_KINDS = frozenset(("yuv420p", "yuvj420p"))
_LONGEST, _LARGEST = 300, 16 << 20  # packets and bytes of a group
_PART = 48  # packets that are decoded before their pictures are handed on
_LARGEST_SMALL = 256 * 256  # pixels of a picture that is held once it is drawn

Turned = tuple[int, bool]  # by quarters counter-clockwise, and whether it is mirrored before
Draw = Callable[[av.VideoFrame, Turned], np.ndarray]


@dataclass(frozen=True)
class Small:
    """What is kept of a picture that will be looked at; `hdr`: the name of its transfer function."""

    pixels: np.ndarray
    turned: Turned
    hdr: str | None


@dataclass(frozen=True)
class Drawn:
    """A decoded picture of which little is kept; the rest is as PyAV's frame has it."""

    pts: int | None
    width: int
    height: int
    duration: int
    key_frame: bool
    small: Small | None


def lanes_for(media: Media, stream: av.VideoStream, drawn: PictureSpec, cores: int) -> int:
    """How many decoders are worth their while: 1 where groups are long or unknown, or pictures small or very large."""
    codec, entries = stream.codec_context, stream.index_entries
    pixels = stream.width * stream.height
    count = min(cores, _MOST_LANES, _MEMORY // (_PIXEL_BYTES * max(pixels, 1)))
    kind = codec.format.name if codec.format else ""
    if (
        media.small
        or media.open_s > _SOON_S
        or not media.has_sample_tables
        or codec.name != "h264"
        or kind not in _KINDS
    ):
        return 1
    if count < 2 or pixels <= _LEAST_PX or math.prod(drawn.size) > _LARGEST_SMALL:
        return 1
    packets = size = groups = 0
    for entry in entries:
        if entry.is_keyframe:
            packets, size, groups = 0, 0, groups + 1
        packets, size = packets + 1, size + entry.size
        if packets > _LONGEST or size > _LARGEST:
            return 1
    return count if groups > count else 1


class Lanes:
    """Decoders of one stream, a thread each.

    Args:
        media: the file; it is opened anew for each of the other decoders.
        stream: of it.
        count: decoders.
        draw: makes what draws a picture small, one for each thread.
    """

    def __init__(self, media: Media, stream: av.VideoStream, count: int, draw: Callable[[], Draw]):
        self._media, self._stream, self._count, self._draw = media, stream, count, draw
        self._open = ExitStack()

    def close(self) -> None:
        """Stops, and waits for what is being decoded: a file must not be closed before."""
        self._open.close()

    def decoded(self, steps: Iterator[Step]) -> Generator[list[Drawn], None, None]:
        """Pictures in the order in which they are shown, some at a time.

        Raises:
            Mismatch: a picture is damaged or interlaced, or can't be drawn.
        """
        with self._open:
            codecs = [self._stream.codec_context]
            for _ in range(1, self._count):
                streams = self._open.enter_context(Media(self._media.path)).container.streams.video
                codecs += [stream.codec_context for stream in streams if stream.index == self._stream.index]
            lanes = [_Lane(codec, self._draw(), self._open) for codec in codecs]
            under_way: deque[tuple[int, Future[list[Drawn]]]] = deque()
            for group, part in _parts(steps):
                under_way.append((group, lanes[group % len(lanes)].decode(part)))
                # Lanes are kept busy by the groups behind the one that is waited for, and few are held.
                while under_way and (under_way[0][1].done() or group - under_way[0][0] > len(lanes)):
                    yield under_way.popleft()[1].result()
            for _, future in under_way:
                yield future.result()


def _parts(steps: Iterator[Step]) -> Iterator[tuple[int, list[Step]]]:
    """(number of the group, some of its steps); an empty list is its end."""
    group, part = 0, list[Step]()
    begun = False
    for step in steps:
        anew = step.anew and begun
        if part and (anew or len(part) == _PART):
            yield group, part
            part = []
        if anew:
            yield group, []
            group += 1
        if step.packet.size:
            part.append(step)
            begun = True
    if part:
        yield group, part
    yield group, []


class _Lane:
    """A decoder in a thread of its own."""

    def __init__(self, codec: av.VideoCodecContext, draw: Draw, stack: ExitStack):
        codec.thread_type = "NONE"
        self._codec, self._draw = codec, draw
        self._wanted: set[int | None] = set()
        self._pool = ThreadPoolExecutor(1, "mlavl-pictures")
        stack.callback(self._pool.shutdown, cancel_futures=True)

    def decode(self, part: list[Step]) -> Future[list[Drawn]]:
        """The pictures that come of some packets; of none, what the decoder still holds at a group's end."""
        return self._pool.submit(self._decode, part)

    def _decode(self, part: list[Step]) -> list[Drawn]:
        try:
            if part:
                return [drawn for step in part for drawn in self._step(step)]
            rest = self._drawn(self._codec.decode(None))
            self._codec.flush_buffers()
            return rest
        except MemoryError:  # FFmpeg's own, too: nothing is wrong with the packet
            raise
        except (av.FFmpegError, MediaError) as error:
            raise Mismatch from error

    def _step(self, step: Step) -> list[Drawn]:
        step.tell(self._codec)
        if step.wanted:
            self._wanted.add(step.packet.pts)
        return self._drawn(self._codec.decode(step.packet))

    def _drawn(self, pictures: list[av.VideoFrame]) -> list[Drawn]:
        refuse_odd(pictures)
        return [
            Drawn(one.pts, one.width, one.height, one.duration, one.key_frame, self._small(one)) for one in pictures
        ]

    def _small(self, picture: av.VideoFrame) -> Small | None:
        if picture.pts not in self._wanted:
            return None
        turned = orientation(picture)
        return Small(self._draw(picture, turned), turned, high_dynamic_range(picture))
