"""A video file's picture: what it says of itself, and its frames with their times, one by one.

Times are seconds on the file's own clock, from presentation timestamps; 0 is where a player starts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import av
from av.stream import Disposition

from mlavl_cli.errors import MediaError
from mlavl_cli.media.clock import Clock
from mlavl_cli.media.container import Media, decodable

_FALLBACK_FPS = 25.0  # only for files that state no rate at all and miss timestamps
# Handing frames from thread to thread takes time of its own: small ones are decoded sooner by one thread, and up to
# 720p one takes the least from all cores together.
_SMALL_PX, _MEDIUM_PX = 640 * 360, 1280 * 720
_EARLY_END_S = 0.5  # a file may end this much before its stated duration without a warning


@dataclass(frozen=True)
class VideoInfo:
    """A video as a user sees it: width and height are after rotation and with square pixels."""

    path: str
    duration_s: float
    fps: float
    width_px: int
    height_px: int
    has_audio: bool


@dataclass(frozen=True)
class TimedFrame:
    """A decoded picture, still in the decoder's own pixel format, shown from `time_s` for `duration_s`."""

    time_s: float
    duration_s: float
    picture: av.VideoFrame


class VideoReader:
    """Reads one video stream, frame by frame, in constant memory.

    Args:
        media: the file, open for as long as it is read.
        stream: index among the file's video streams (cover art doesn't count); None: the best one.
        spare_cores: whether the machine's cores have nothing else to do.

    Attributes:
        info: filled from the header, and corrected by `frames()` once the end was seen.
        warnings: what a user should know; complete once `frames()` is exhausted.

    Raises:
        MediaError: no such picture.
    """

    def __init__(self, media: Media, stream: int | None = None, spare_cores: bool = True):
        self.path = media.path
        self.warnings: list[str] = []
        self._media = media
        self._stream = self._pick(stream)
        few = self._stream.width * self._stream.height <= (_SMALL_PX if spare_cores else _MEDIUM_PX)
        self._stream.thread_type = "NONE" if few else "AUTO"
        self.info = self._describe()

    @property
    def rotation_is_sideways(self) -> bool:
        return self.quarter_turns % 2 == 1

    def _pick(self, index: int | None) -> av.VideoStream:
        pictures = [s for s in self._media.container.streams.video if not s.disposition & Disposition.attached_pic]
        if not pictures:
            raise MediaError("has no picture, only sound", path=self.path, hint="Give a file with a video stream.")
        pictures = [stream for stream in pictures if decodable(stream)]
        if not pictures:
            raise MediaError("uses a codec that can't be decoded here", path=self.path, hint="Convert it to H.264.")
        if index is not None:
            if not 0 <= index < len(pictures):
                hint = f"Choose 0 to {len(pictures) - 1}."
                raise MediaError(f"has no video stream {index}", path=self.path, hint=hint)
            return pictures[index]
        return max(pictures, key=lambda s: s.width * s.height)  # the first of the largest

    def _describe(self) -> VideoInfo:
        stream = self._stream
        sounds = self._media.container.streams.audio
        if sounds and not any(map(decodable, sounds)):
            self.warnings.append("its sound uses a codec that can't be decoded here")
        self.pixel_aspect = float(stream.sample_aspect_ratio or 1)
        self.quarter_turns = 0
        self._declared_s = self._declared_duration_s()
        return VideoInfo(
            path=str(self.path),
            duration_s=self._declared_s or 0.0,
            fps=float(stream.average_rate or stream.guessed_rate or 0) or _FALLBACK_FPS,
            width_px=round(stream.width * self.pixel_aspect),
            height_px=stream.height,
            has_audio=any(map(decodable, sounds)),
        )

    def _declared_duration_s(self) -> float | None:
        """How long the header says the picture lasts; None when it only speaks of the file as a whole."""
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        try:  # Matroska tells each track's duration in a tag, as 00:01:02.345000000
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        except (KeyError, ValueError):
            whole = self._media.container.duration
            alone = len(self._media.container.streams) == 1
            return whole / av.time_base if whole and alone else None

    def frames(self) -> Iterator[TimedFrame]:
        """All frames in the order of their times, which strictly increase.

        Damaged packets are skipped and counted; a file that breaks off ends the frames and leaves a warning.

        Raises:
            MediaError: not one frame could be decoded.
        """
        interval_s = 1.0 / self.info.fps
        clock, count, last_s, end_s = Clock(), 0, 0.0, 0.0
        for time_s, (picture, duration_s) in clock.steady(self._timed(interval_s)):
            time_s = max(time_s, 0.0)  # what is stamped before the start is shown at the start
            if count == 0:
                self._describe_first(picture)
            elif time_s <= last_s:  # a doubled timestamp, or a small step back
                time_s = last_s + interval_s / 1000
            count, last_s, end_s = count + 1, time_s, time_s + duration_s
            yield TimedFrame(time_s, duration_s, picture)
        if count == 0:
            hint = "The file may be damaged or cut short."
            raise MediaError("no frame could be decoded", path=self.path, hint=hint)
        if clock.repaired:
            self.warnings.append(f"{clock.repaired} timestamps of the picture were missing or broken, and replaced")
        self._describe_end(count, end_s)

    def _timed(self, interval_s: float) -> Iterator[tuple[float | None, float, tuple[av.VideoFrame, float]]]:
        origin_s, tick = self._media.origin_s, self._stream.time_base
        ticks, a_second = (tick.numerator, tick.denominator) if tick else (0, 1)  # fractions take long, frame by frame
        for picture in self._pictures():
            duration_s = picture.duration * ticks / a_second or interval_s
            time_s = None if picture.time is None else picture.time - origin_s
            yield time_s, duration_s, (picture, duration_s)

    def _pictures(self) -> Iterator[av.VideoFrame]:
        damaged = 0
        packets = self._media.packets(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.FFmpegError as error:
                self.warnings.append(f"reading stopped early ({error.strerror})")
                break
            try:
                pictures = packet.decode()
            except av.FFmpegError:
                damaged += 1
                continue
            damaged += sum(picture.is_corrupt for picture in pictures)
            yield from pictures
        if damaged:
            self.warnings.append(f"{damaged} damaged pieces of the picture were skipped or patched")

    def _describe_first(self, picture: av.VideoFrame) -> None:
        """Rotation is known with the first frame: the angle by which a player turns it counter-clockwise."""
        self.quarter_turns = round(picture.rotation / 90) % 4
        if self.rotation_is_sideways:
            width, height = self.info.height_px, self.info.width_px
            self.info = VideoInfo(**{**vars(self.info), "width_px": width, "height_px": height})

    def _describe_end(self, count: int, end_s: float) -> None:
        declared = self._declared_s
        self.info = VideoInfo(**{**vars(self.info), "duration_s": end_s})
        if declared and declared - end_s > max(_EARLY_END_S, 3 / self.info.fps):
            self.warnings.append(f"the file ends early: {end_s:.2f} s of the stated {declared:.2f} s could be decoded")
