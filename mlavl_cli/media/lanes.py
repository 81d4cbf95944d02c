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
from mlavl_cli.media.picture import PictureSpec, is_converted
from mlavl_cli.media.spare import Step, refuse_odd

_MOST_LANES = 8
_LEAST_PX = 640 * 360  # smaller pictures are decoded sooner than they are handed on
_PIXEL_BYTES, _MEMORY = 30, 140_000_000  # of all that a decoder keeps of a picture's size; of all decoders
_SOON_S = 0.5  # in which a file is opened, as each decoder has to
_KINDS = frozenset(("yuv420p", "yuvj420p"))
_LONGEST, _LARGEST = 300, 16 << 20  # packets and bytes of a group
_MOST_HELD = 64 << 20  # bytes of packets and drawn pictures that wait, wherever groups begin
_PART = 48  # packets that are decoded before their pictures are handed on
_LARGEST_SMALL = 256 * 256  # pixels of a picture that is held once it is drawn

Draw = Callable[[av.VideoFrame], np.ndarray]


@dataclass(frozen=True)
class Drawn:
    """What is kept of a decoded picture: what PyAV's frame says of it, and how it was drawn if it will be looked at."""

    pts: int | None
    width: int
    height: int
    duration: int
    key_frame: bool
    small: np.ndarray | None


def lanes_for(media: Media, stream: av.VideoStream, drawn: PictureSpec, threads: int) -> int:
    """How many decoders are worth their while: 1 where groups are long or unknown, or pictures small or very large."""
    codec, pixels = stream.codec_context, stream.width * stream.height
    count = min(threads, _MOST_LANES, _MEMORY // (_PIXEL_BYTES * max(pixels, 1)))
    known = codec.name == "h264" and codec.format is not None and codec.format.name in _KINDS
    known = known and media.has_sample_tables and not media.small and not is_converted(codec)  # tables for each decoder
    worth = count > 1 and pixels > _LEAST_PX and math.prod(drawn.size) <= _LARGEST_SMALL and media.open_s < _SOON_S
    return count if known and worth and _groups(stream) > count else 1


def _groups(stream: av.VideoStream) -> int:
    """How many groups of pictures the header lists; 0 where one is too long."""
    packets = size = groups = 0
    for entry in stream.index_entries:
        if entry.is_keyframe:
            packets, size, groups = 0, 0, groups + 1
        packets, size = packets + 1, size + entry.size
        if packets > _LONGEST or size > _LARGEST:
            return 0
    return groups


class Lanes:
    """Decoders of one stream, a thread each.

    Args:
        media: the file; it is opened anew for each of the other decoders.
        stream: of it.
        count: decoders, at least two.
        draw: told the first picture, makes what draws pictures small, one for each thread.
        small_bytes: of a picture that is drawn.

    Attributes:
        first: the first picture, before others come.
    """

    first: av.VideoFrame

    def __init__(
        self,
        media: Media,
        stream: av.VideoStream,
        count: int,
        draw: Callable[[av.VideoFrame], Draw],
        small_bytes: int,
    ):
        self._media, self._stream, self._count, self._draw = media, stream, count, draw
        self._small_bytes = small_bytes
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
            self._stream.thread_type = "NONE"
            codecs = [self._stream.codec_context, *(self._another() for _ in range(1, self._count))]
            lanes = [_Lane(codec, self._draw(self.first), self._open) for codec in codecs]
            under_way: deque[tuple[int, int, Future[list[Drawn]]]] = deque()
            held, least = 0, _MOST_HELD // ((len(lanes) + 1) * _LONGEST)
            for group, part in _parts(steps):
                size = sum(step.packet.size + step.wanted * self._small_bytes + least for step in part)
                under_way.append((group, size, lanes[group % len(lanes)].decode(part)))
                held += size
                # Lanes are kept busy by the groups behind the one that is waited for, and few are held.
                while under_way and (
                    under_way[0][2].done() or group - under_way[0][0] > len(lanes) or held > _MOST_HELD
                ):
                    _, size, future = under_way.popleft()
                    held -= size
                    yield future.result()
            for _, _, future in under_way:
                yield future.result()

    def _another(self) -> av.VideoCodecContext:
        """A decoder that has seen the first picture, beside which things may stand that hold for all."""
        container = self._open.enter_context(Media(self._media.path)).container
        (stream,) = (one for one in container.streams.video if one.index == self._stream.index)
        stream.thread_type = "NONE"
        try:
            self.first = next(container.decode(stream))
        except (av.FFmpegError, StopIteration) as error:
            raise Mismatch from error
        stream.codec_context.flush_buffers()
        return stream.codec_context


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
        self._codec, self._draw = codec, draw
        self._wanted: set[int | None] = set()
        self._pool = ThreadPoolExecutor(1, "mlavl-pictures")
        stack.callback(self._pool.shutdown, cancel_futures=True)

    def decode(self, part: list[Step]) -> Future[list[Drawn]]:
        """The pictures that come of some packets; of none, what the decoder still holds at a group's end."""
        try:
            return self._pool.submit(self._decode, part)
        except RuntimeError as error:  # no more threads
            raise Mismatch from error

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
            Drawn(
                one.pts, one.width, one.height, one.duration, one.key_frame,
                self._draw(one) if one.pts in self._wanted else None,
            )
            for one in pictures
        ]  # fmt: skip
