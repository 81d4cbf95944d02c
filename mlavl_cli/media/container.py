"""A media file that is open, and the packets of its streams, on one clock."""

import errno
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

import av
from av.container import InputContainer
from av.format import Flags
from av.stream import Discard

from mlavl_cli.errors import MediaError
from mlavl_cli.files import is_hollow
from mlavl_cli.media.boxes import is_fragmented
from mlavl_cli.media.clock import CommonClock, Indexed
from mlavl_cli.media.limits import excess, most_pixels

StreamT = TypeVar("StreamT", bound=av.stream.Stream)

# A media file must never make us read another file or a network address: only self-contained formats, only files.
_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,asf,flv,mxf,ogg,mpegvideo,h264,hevc,m4v,wav,mp3,aac,flac,gif,dv,ivf,nut,swf,rm,"
    "yuv4mpegpipe,apng,mjpeg,obu,wtv,pva"
)
_OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": _FORMATS,
    "merge_pmt_versions": "1",  # a broadcast whose programme moves to other PIDs stays one stream
    "max_streams": "100",
    "correct_ts_overflow": "0",  # else a clock that starts again lower is taken for one that ran for a day
}
# What no real file does, and what would take memory or time without end.
_MOST_EXPANSION, _EXPANSION_BYTES = 4, 16 << 20  # packets may hold so many times the file, and so much more
MOST_PIXELS = most_pixels()
_PACKET_BYTES = 256  # that a packet takes besides what it holds
_OPEN_S = 10.0  # that opening may take: FFmpeg needs quadratic time for what some headers list
_USUAL_PIXELS = 2_400_000  # of each picture, of which opening a file decodes some
HARM = "The file is damaged, or made to do harm."
_BY_SUFFIX = {".mjpg": "mjpeg", ".mjpeg": "mjpeg"}  # what FFmpeg takes for a series of stills by its content
_SMALL_BYTES = 1 << 20
_PROGRAMME_BYTES = 1 << 16  # behind the last packet of a broadcast, that may be another programme
_BEFORE_ALL = -(1 << 40)  # ticks; the first timestamps of a stream may be negative
_STARTS_ANYWHERE = cast(int, Flags.ts_discont.value)  # a number, whatever PyAV's annotations say
_PROTECTED_TAGS = frozenset({"encv", "enca", "drmi", "drms"})


class Media:
    """A media file, and nothing that it points to.

    Attributes:
        path: the file.
        container: PyAV's.
        small: whether its streams can be read side by side. Opening a file costs as much as decoding half a second of
            it, so a small one is opened once and its packets are kept; of a large one, whose picture and sound may lie
            far apart, each reader needs a Media of its own.
        size: of the file, in bytes.
        clock: what is known of the file's clock so far.
        open_s: how long opening took.

    Raises:
        MediaError: missing, unreadable, empty, or not a media file.
    """

    def __init__(self, path: Path):
        self.path = path
        hint = "Give a video file."
        try:
            if not path.is_file():  # never opens a FIFO or a device: reading one may not end
                cause = "is not a regular file" if path.exists() else "no such file"
                raise MediaError(cause, path=path, hint=hint)
            size = path.stat().st_size
            if size == 0:
                raise MediaError("the file is empty", path=path, hint=hint)
            if is_hollow(path):
                cause = "is far longer than what is stored of it"
                raise MediaError(cause, path=path, hint="Is its download finished? Copy it again.")
            if claim := excess(path):
                raise MediaError(claim, path=path, hint=HARM)
            begin = time.monotonic()
            self.container = _opened(path)
            self.open_s = time.monotonic() - begin
        except MemoryError:  # FFmpeg's own, too
            raise
        except PermissionError as error:
            raise MediaError("no permission to read it", path=path, hint="Check the file's permissions.") from error
        except av.ArgumentError as error:  # what FFmpeg says of a format that is not on the list
            cause = "is not in a format that mlavl reads"
            raise MediaError(cause, path=path, hint="Convert it to mp4 or mkv.") from error
        except av.ExitError as error:
            raise MediaError(f"can't be opened in {_OPEN_S:g} s", path=path, hint=HARM) from error
        except av.FFmpegError as error:
            hint = "The file may be damaged, cut short, or no video at all."
            raise MediaError(f"can't be read as a video ({error.strerror})", path=path, hint=hint) from error
        except OSError as error:
            raise MediaError(f"can't be opened ({error.strerror})", path=path, hint=hint) from error
        self.small = size <= _SMALL_BYTES
        self.clock = CommonClock(_programmes(self.container))
        self.size, self._open = size, [self.container]

    def __enter__(self) -> "Media":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for container in self._open:
            container.close()

    @property
    def origin_s(self) -> float:
        """Where the container's clock stands when playing starts: formats of broadcasting start anywhere."""
        if self.container.format.flags & _STARTS_ANYWHERE and self.container.start_time:
            return self.container.start_time / av.time_base
        return 0.0

    @property
    def format(self) -> str:
        """FFmpeg's name of the container's format."""
        return self.container.format.name

    @cached_property
    def has_sample_tables(self) -> bool:
        """Whether the header says where each sample lies and when it is shown: mp4 and mov, but for fragmented ones.

        Then each stream is read by itself, so that the end of one, in a file that was cut off, does not end the other;
        and no clock can start anew in the middle.
        """
        return "mov" in self.format.split(",") and not is_fragmented(self.path)

    def packets(self, stream: StreamT) -> "Iterator[av.Packet[StreamT]]":
        """A stream's packets, on the clock that all streams of the file share; the last one is empty.

        Raises:
            av.FFmpegError: behind the last packet that could be read.
            MediaError: the stream is encrypted.
        """
        first = True
        for packet in self._packets(stream):
            if first and (packet.has_sidedata("encryption_info") or _tag(stream) in _PROTECTED_TAGS):
                hint = "Give a copy without copy protection."
                raise MediaError(f"is encrypted (its {stream.type})", path=self.path, hint=hint)
            first = False
            yield packet

    def _packets(self, stream: av.stream.Stream) -> Iterator[av.Packet]:
        if not self.small:
            packets = self._demuxed([stream] if self.has_sample_tables else self._timed)
            yield from (packet for index, packet in packets if index == stream.index)
            return
        kept, error = self._kept[stream.index]
        yield from kept
        if error:
            raise error

    def _bounded(self, packets: Iterator[Indexed]) -> Iterator[Indexed]:
        """The packets, as long as they hold about what the file does."""
        total = 0
        for index, packet in packets:
            total += packet.size + _PACKET_BYTES
            if total > _MOST_EXPANSION * self.size + _EXPANSION_BYTES:
                cause = f"its packets hold more than {_MOST_EXPANSION} times what is in the file"
                raise MediaError(cause, path=self.path, hint=HARM)
            yield index, packet

    @property
    def _timed(self) -> list[av.stream.Stream]:
        return _timed(self.container)

    @cached_property
    def _kept(self) -> dict[int, tuple[list[av.Packet], av.FFmpegError | None]]:
        """All packets of a small file, by stream, each with the error behind them."""
        kept = self._read(self._timed)
        if self.has_sample_tables:
            for stream in self._timed:
                if len(kept[stream.index][0]) < len(stream.index_entries):  # another stream's end may have ended it
                    self.container.seek(_BEFORE_ALL, stream=stream)  # which only works before decoding begins
                    kept |= self._read([stream])
        return kept

    def _read(self, streams: list[av.stream.Stream]) -> dict[int, tuple[list[av.Packet], av.FFmpegError | None]]:
        packets: dict[int, list[av.Packet]] = {stream.index: [] for stream in streams}
        failed = None
        try:
            for index, packet in self._demuxed(streams):
                packets[index].append(packet)
        except av.FFmpegError as error:
            failed = error
        return {index: (found, failed) for index, found in packets.items()}

    def _demuxed(self, streams: list[av.stream.Stream]) -> Iterator[Indexed]:
        """(stream index, packet) of streams, in the file's order. The others are not even read."""
        packets = _demuxed(self.container, streams)
        if self.format == "mpegts":
            packets = self._programme_by_programme(packets)
        packets = self._bounded(packets)
        return packets if self.has_sample_tables else self.clock.follow(packets)

    def _programme_by_programme(self, packets: Iterator[Indexed]) -> Iterator[Indexed]:
        """Continues where a broadcast changes to a programme of another number, whose streams PyAV doesn't hand out.

        The n-th picture and the n-th sound behind the change continue those before it.
        """
        reached = -1
        while True:
            begun = reached
            for index, packet in packets:
                reached = max(reached, packet.pos or 0)
                yield index, packet
            if reached <= begun or self.size - reached < _PROGRAMME_BYTES or self.clock.programmes:
                return
            try:
                container = _opened(self.path, skip_initial_bytes=str(reached))
            except (av.FFmpegError, OSError):
                return
            self._open.append(container)
            indices = {
                new.index: old.index
                for before, after in (
                    (self.container.streams.video, container.streams.video),
                    (self.container.streams.audio, container.streams.audio),
                )
                for old, new in zip(before, after, strict=False)
            }
            streams = [stream for stream in _timed(container) if stream.index in indices and decodable(stream)]
            packets = ((indices[index], packet) for index, packet in _demuxed(container, streams))


def _opened(path: Path, **options: str) -> InputContainer:
    # The prefix keeps a name like "concat:b.mp4" from being read as a protocol.
    format_name = _BY_SUFFIX.get(path.suffix.lower())
    if path.suffix.lower() == ".flv":  # its sound may begin late, and says only then at what rate it is
        options |= {"probesize": str(64 << 20), "analyzeduration": "60000000"}

    def opened(most_pixels: int) -> InputContainer:
        limits = {"max_pixels": str(most_pixels)}
        chosen = options | _OPEN_OPTIONS | limits
        begin = time.monotonic()
        container = av.open(
            f"file:{path}", format=format_name, options=chosen, metadata_errors="replace", timeout=(_OPEN_S, None)
        )
        if time.monotonic() - begin > _OPEN_S:
            raise av.ExitError(errno.EINTR, "took too long")  # what the library reads of it now ends early
        for stream in container.streams.video:
            if decodable(stream):
                stream.codec_context.options = limits
        return container

    container = opened(_USUAL_PIXELS)
    pictures = [stream for stream in container.streams.video if decodable(stream)]
    if all(0 < stream.width * stream.height <= _USUAL_PIXELS for stream in pictures):
        return container
    container.close()
    return opened(min(MOST_PIXELS, 2 * MOST_PIXELS // len(pictures)))


def _timed(container: InputContainer) -> list[av.stream.Stream]:
    return [*container.streams.video, *container.streams.audio]


def decodable(stream: av.stream.Stream) -> bool:
    """Whether this FFmpeg knows the stream's codec."""
    return stream.codec_context is not None


def _tag(stream: av.stream.Stream) -> str:
    try:
        return stream.codec_context.codec_tag if decodable(stream) else ""
    except UnicodeDecodeError:  # a number, not four letters
        return ""


def _demuxed(container: InputContainer, streams: list[av.stream.Stream]) -> Iterator[Indexed]:
    """(stream index, packet) of these streams alone. Continues past packets of streams that weren't there at the start,
    over which PyAV stumbles."""
    for stream in container.streams:
        stream.discard = Discard.default if stream in streams else Discard.all
    while True:
        try:
            yield from ((packet.stream.index, packet) for packet in container.demux(streams))
            return
        except IndexError:
            continue


def _programmes(container: InputContainer) -> dict[int, int]:
    """Stream index -> a number for its programme, where the file has several programmes (a transport stream).

    PyAV doesn't list programmes, but FFmpeg knows the best sound of the one that a picture is in.
    """
    sounds = {}
    for picture in container.streams.video:
        best = container.streams.best("audio", picture)
        sounds[picture.index] = picture.index if best is None else best.index
    if len(set(sounds.values())) < 2:
        return {}
    return sounds | {sound: sound for sound in sounds.values()}
