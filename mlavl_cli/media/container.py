"""A media file that is open, and the packets of its streams."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import av
from av.container import InputContainer
from av.format import Flags

from mlavl_cli.errors import MediaError

# A media file must never make us read another file or a network address: only self-contained formats, only files.
_FORMATS = "mov,matroska,avi,mpegts,mpeg,asf,flv,mxf,ogg,mpegvideo,h264,hevc,m4v,wav,mp3,aac,flac,gif,dv,ivf,nut,swf,rm"
_OPEN_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
_SMALL_BYTES = 1 << 20


class Media:
    """A media file, and nothing that it points to.

    Attributes:
        path: the file.
        container: PyAV's.
        small: whether its streams can be read side by side. Opening a file costs as much as decoding half a second of
            it, so a small one is opened once and its packets are kept; of a large one, whose picture and sound may lie
            far apart, each reader needs a Media of its own.

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
            # The prefix keeps a name like "concat:b.mp4" from being read as a protocol.
            self.container = av.open(f"file:{path}", options=dict(_OPEN_OPTIONS), metadata_errors="replace")
        except PermissionError as error:
            raise MediaError("no permission to read it", path=path, hint="Check the file's permissions.") from error
        except av.FFmpegError as error:
            hint = "The file may be damaged, cut short, or no video at all."
            raise MediaError(f"can't be read as a video ({error.strerror})", path=path, hint=hint) from error
        except OSError as error:
            raise MediaError(f"can't be opened ({error.strerror})", path=path, hint=hint) from error
        self.small = size <= _SMALL_BYTES

    def __enter__(self) -> "Media":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.container.close()

    @property
    def origin_s(self) -> float:
        """Where the container's clock stands when playing starts: formats of broadcasting start anywhere."""
        if self.container.format.flags & Flags.ts_discont.value and self.container.start_time:
            return self.container.start_time / av.time_base
        return 0.0

    def packets(self, stream: av.stream.Stream) -> Iterator[av.Packet]:
        """A stream's packets, the last one empty.

        Raises:
            av.FFmpegError: behind the last packet that could be read.
        """
        if not self.small:
            yield from _demuxed(self.container, stream)
            return
        packets, error = self._whole
        yield from (packet for packet in packets if packet.stream.index == stream.index)
        if error:
            raise error

    @cached_property
    def _whole(self) -> tuple[list[av.Packet], av.FFmpegError | None]:
        packets: list[av.Packet] = []
        try:
            packets.extend(_demuxed(self.container))
        except av.FFmpegError as error:
            return packets, error
        return packets, None


def decodable(stream: av.stream.Stream) -> bool:
    """Whether this FFmpeg knows the stream's codec."""
    return stream.codec_context is not None


def _demuxed(container: InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet]:
    """Of these streams, or of all; goes on past packets of streams that weren't there at the start, over which PyAV
    stumbles."""
    while True:
        try:
            yield from container.demux(*streams)
            return
        except IndexError:
            continue
