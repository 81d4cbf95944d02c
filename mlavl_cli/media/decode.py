"""A video file's picture: its metadata, and its frames with their times, one by one.

Times are seconds on the file's own clock, from presentation timestamps; 0 is where a player starts.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Generic, TypeVar

import av

from mlavl_cli.cores import cores
from mlavl_cli.errors import MediaError
from mlavl_cli.media.clock import Repairs, picture_times
from mlavl_cli.media.container import HARM, MOST_PIXELS, Media, decodable
from mlavl_cli.media.crop import container_crop
from mlavl_cli.media.lanes import Draw, Drawn, Lanes, lanes_for
from mlavl_cli.media.orientation import orientation
from mlavl_cli.media.picture import PictureMaker, PictureSpec, high_dynamic_range
from mlavl_cli.media.pictures import Pictures
from mlavl_cli.media.streams import choose_picture

Picture = TypeVar("Picture")

ENDS_EARLY = "the file ends early"  # how a warning begins
_FALLBACK_FPS = 25.0  # only for files that state no rate at all and miss timestamps
_FASTEST_FPS = 1000.0  # what states more states the ticks of its clock
_FPS_OFF = 0.01  # a stated rate that differs by more from the frames that were counted is not kept
_TIMELESS = frozenset("h264 hevc m4v mpegvideo mjpeg obu".split())  # formats without times of any kind
_WHOLE_KNOWN = frozenset({"flv", "asf"})  # whose header says how long the file is
_LONGEST_S = 1e9  # longer than anything that was ever filmed
_LATEST_S = 1e7  # after four months a tick of a clock is still far shorter than a frame
# Handing frames from thread to thread takes time of its own: small ones are decoded sooner by one thread, and up to
# 720p one takes the least from all cores together.
_MOST_THREADS = 16
_SMALL_PX, _MEDIUM_PX = 640 * 360, 1280 * 720
_HUGE_PX = 40_000_000  # beyond 8K each thread's pictures would take gigabytes
_MOST_ASPECT = 8.0  # of pixels; anamorphic ones are twice as wide as high at the most
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
class TimedFrame(Generic[Picture]):
    """A decoded picture, still in the decoder's own pixel format, shown from `time_s`; None: not decoded."""

    time_s: float
    picture: Picture


LookedAt = Callable[[Iterator[TimedFrame[Picture]]], Iterator[TimedFrame[Picture]]]


class VideoReader:
    """Reads one video stream, frame by frame, in constant memory.

    Args:
        media: the file, open for as long as it is read.
        stream: index among the file's video streams (cover art doesn't count); None: the film.
        threads: how many may decode it; None: as many as there are cores.

    Attributes:
        info: filled from the header, and corrected by `frames()` once the end was seen.
        stream: PyAV's, the one that is read.
        quarter_turns, mirrored: how a player lays the decoded picture: mirrored left to right, then turned
            counter-clockwise. Known with the first frame.
        crop: what of the decoded picture isn't to be seen.
        pixel_aspect: a pixel's width by its height, in the frame that came last.
        warnings: what a user should know; complete once `frames()` is exhausted.

    Raises:
        MediaError: no such picture.
    """

    def __init__(self, media: Media, stream: int | None = None, threads: int | None = None):
        self.path = media.path
        self._media = media
        choice = choose_picture(media, stream)
        self.stream = choice.stream
        self.warnings = [choice.note] if choice.note else []
        self._refuse_too_large()
        pixels = self.stream.width * self.stream.height
        self._threads = threads or cores()
        self._lanes: Lanes | None = None
        alone = pixels <= (_SMALL_PX if self._threads > 1 else _MEDIUM_PX) or pixels > _HUGE_PX
        self.stream.thread_type = "NONE" if alone else "AUTO"
        several = self._threads if self._threads > 1 else cores()  # one would be too slow for large pictures
        self.stream.codec_context.thread_count = min(several, _MOST_THREADS)
        self.quarter_turns, self.mirrored = 0, False
        self.pixel_aspect = self._usual(self.stream.sample_aspect_ratio)
        self.crop = container_crop(media, self.stream)
        self._declared_s = self._declared_duration_s()
        self._pictures = Pictures(media, self.stream)
        self.info = self._describe()

    @property
    def decoded(self) -> tuple[int, int]:
        """How many pictures were decoded so far, and of how many pixels all together."""
        return self._pictures.decoded, self._pictures.pixels

    def close(self) -> None:
        """Lets go of the file and its decoders."""
        if self._lanes:
            self._lanes.close()
        self._media.close()

    def _refuse_too_large(self) -> None:
        width, height, kind = self.stream.width, self.stream.height, self.stream.codec_context.format
        wide = max(1.0, kind.padded_bits_per_pixel / 24) if kind else 1.0  # 16-bit pictures take more
        if width * height * wide > MOST_PIXELS:
            deep = f" of {kind.padded_bits_per_pixel} bits a pixel" if kind and wide > 1 else ""
            cause = f"has pictures of {width} x {height}{deep}, more than {MOST_PIXELS / 1e6:g} megapixels"
            cause += " of 24 bits" if deep else ""
            hint = "If it is no mistake, set MLAVL_MAX_MEGAPIXELS to more."
            raise MediaError(cause, path=self.path, hint=hint)

    def _describe(self) -> VideoInfo:
        crop, sounds = self.crop, self._media.container.streams.audio
        if sounds and not any(map(decodable, sounds)):
            self.warnings.append("its sound uses a codec that can't be decoded here")
        return VideoInfo(
            path=str(self.path),
            duration_s=self._declared_s or 0.0,
            fps=self._stated_fps() or _FALLBACK_FPS,
            width_px=max(1, round((self.stream.width - crop.left - crop.right) * self.pixel_aspect)),
            height_px=self.stream.height - crop.top - crop.bottom,
            has_audio=any(map(decodable, sounds)),
        )

    def _stated_fps(self) -> float | None:
        stream, codec = self.stream, self.stream.codec_context
        of_container = (stream.average_rate, stream.guessed_rate)
        rates = (codec.framerate,) if self._media.format in _TIMELESS else (*of_container, codec.framerate)
        return next((float(rate) for rate in rates if rate and 0 < rate <= _FASTEST_FPS), None)

    def _declared_duration_s(self) -> float | None:
        """How long the header says the picture lasts; None when it only speaks of the file as a whole."""
        stream = self.stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        try:  # Matroska tells each track's duration in a tag, as 00:01:02.345000000
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            total_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            return total_s if 0 < total_s < _LONGEST_S else None
        except (KeyError, ValueError, OverflowError):
            whole = self._media.container.duration
            known = len(self._media.container.streams) == 1 or self._media.format in _WHOLE_KNOWN
            return whole / av.time_base if whole and known else None

    def frames(
        self, looked_at: LookedAt | None = None, drawn: PictureSpec | None = None
    ) -> Iterator[TimedFrame[av.VideoFrame | Drawn | None]]:
        """All frames in the order of their times, which strictly increase.

        Damaged packets are skipped and counted; a file that breaks off ends the frames and leaves a warning.

        Args:
            looked_at: of frames, those whose pictures will be looked at, the first among them. Others may be None.
            drawn: how those may be drawn where they are decoded, by several decoders at once.

        Raises:
            MediaError: not one frame could be decoded, or the picture is encrypted.
            Mismatch: the file must be decoded in full, by a reader of its own.
        """
        if drawn and (lanes := lanes_for(self._media, self.stream, drawn, self._threads)) > 1:
            size = 3 * math.prod(drawn.size)
            self._lanes = Lanes(self._media, self.stream, lanes, lambda first: self._draws(drawn, first), size)
        interval_s = 1.0 / self.info.fps
        repairs, count, first_s, last_s, last = Repairs(), 0, 0.0, 0.0, None
        for time_s, picture in picture_times(self._stamped(looked_at), interval_s, repairs):
            if time_s > _LATEST_S:
                raise MediaError(f"says that a picture is shown after {time_s:.3g} seconds", path=self.path, hint=HARM)
            if last is None:
                first_s = time_s
                assert picture is not None  # the first is looked at
                self._describe_first(self._lanes.first if self._lanes and isinstance(picture, Drawn) else picture)
            count, last_s, last = count + 1, time_s, picture or last
            if picture:
                self._follow_aspect(picture)
            yield TimedFrame(time_s, picture)
        if last is None:
            hint = "The file may be damaged or cut short"
            if not self.stream.width:
                hint += f", or have pictures of more than {MOST_PIXELS / 1e6:g} megapixels (see MLAVL_MAX_MEGAPIXELS)"
            raise MediaError("no frame could be decoded", path=self.path, hint=f"{hint}.")
        self.warnings += self._pictures.warnings
        self._describe_end(count, first_s, last_s, self._lasts_s(last, interval_s))
        self._describe_times(repairs)

    def _stamped(self, looked_at: LookedAt | None) -> Iterator[tuple[float | None, av.VideoFrame | None]]:
        """Pictures in the order in which they are shown, each with the time that the file gives it."""
        if self._media.format in _TIMELESS:
            for number, (_, picture) in enumerate(self._pictures.in_order()):
                if number == 0 and (rate := self._stated_fps()):  # the first frame's header may have told it
                    self.info = replace(self.info, fps=rate)
                yield number / self.info.fps, picture
            return
        origin_s, tick, interval_s = self._media.origin_s, self.stream.time_base, 1.0 / self.info.fps
        ticks, a_second = (tick.numerator, tick.denominator) if tick else (0, 1)  # fractions take long, frame by frame

        def timed(stamped: Iterator[tuple[int | None, Picture]]) -> Iterator[tuple[float | None, Picture]]:
            return ((None if stamp is None else stamp * ticks / a_second - origin_s, one) for stamp, one in stamped)

        if looked_at is None:
            yield from timed(self._pictures.in_order())
            return

        def of_stamps(shown: Iterator[int]) -> Iterator[int]:
            times = picture_times(timed((stamp, stamp) for stamp in shown), interval_s, Repairs())
            return (frame.picture for frame in looked_at(TimedFrame(*entry) for entry in times))

        yield from timed(self._pictures.in_order(of_stamps, self._lanes))

    def _draws(self, spec: PictureSpec, first: av.VideoFrame) -> Draw:
        make, turned = PictureMaker(spec), orientation(first)
        return lambda picture: make(picture, self.pixel_aspect, *turned, self.crop)

    def _describe_first(self, picture: av.VideoFrame) -> None:
        """How it is turned is known with the first frame."""
        self.quarter_turns, self.mirrored = orientation(picture)
        if self.quarter_turns % 2:
            self.info = replace(self.info, width_px=self.info.height_px, height_px=self.info.width_px)
        if kind := high_dynamic_range(picture):
            self.warnings.append(f"the picture is HDR ({kind}): it is tone-mapped to the standard range")
        self._codec_aspect = self.stream.codec_context.sample_aspect_ratio

    def _follow_aspect(self, picture: av.VideoFrame | Drawn) -> None:
        """Broadcasts change between 4:3 and 16:9 in the middle, with a key frame."""
        if picture.key_frame and (aspect := self.stream.codec_context.sample_aspect_ratio) != self._codec_aspect:
            self._codec_aspect, self.pixel_aspect = aspect, self._usual(aspect)

    def _usual(self, aspect: Fraction | None) -> float:
        """A pixel's width by its height; square where a file claims what no picture has."""
        ratio = float(aspect or 1)
        if 1 / _MOST_ASPECT <= ratio <= _MOST_ASPECT:
            return ratio
        claim = "its pixels claim to be"
        if not any(said.startswith(claim) for said in self.warnings):  # the next picture may claim something else
            self.warnings.append(f"{claim} {ratio:.3g} times as wide as high: taken as square")
        return 1.0

    def _lasts_s(self, picture: av.VideoFrame | Drawn, interval_s: float) -> float:
        """How long the last picture is shown, as its packet says, unless that is a single tick."""
        tick = self.stream.time_base
        return float(picture.duration * tick) if picture.duration > 1 and tick else interval_s

    def _describe_end(self, count: int, first_s: float, last_s: float, lasts_s: float) -> None:
        end_s, declared_s = last_s + lasts_s, self._declared_s
        counted_fps = (count - 1) / (last_s - first_s) if count > 1 else self.info.fps
        fps = self.info.fps if abs(self.info.fps / counted_fps - 1) <= _FPS_OFF else counted_fps
        self.info = replace(self.info, duration_s=end_s, fps=fps)
        if declared_s and declared_s - end_s > max(_EARLY_END_S, 3 / fps) and self._is_cut():
            self.warnings.append(f"{ENDS_EARLY}: {end_s:.2f} s of the stated {declared_s:.2f} s could be decoded")

    def _is_cut(self) -> bool:
        """Whether something is missing at the end, rather than the last picture being held for long."""
        if self._pictures.broke_off or self._media.has_sample_tables:
            return self._pictures.broke_off or self._pictures.packets < len(self.stream.index_entries)
        whole_s = (self._media.container.duration or 0) / av.time_base
        return self._media.clock.reached_s - self._media.origin_s < whole_s - _EARLY_END_S

    def _describe_times(self, repairs: Repairs) -> None:
        if self._media.format in _TIMELESS and not self._stated_fps():
            self.warnings.append(f"the file states no times and no frame rate: {_FALLBACK_FPS:g} frames/s are assumed")
        if restarts := self._media.clock.restarts:
            parts = "a part that begins anew was" if restarts == 1 else f"{restarts} parts that begin anew were"
            self.warnings.append(f"the file's clock starts again in the middle: {parts} put behind the part before")
        if found := repairs.missing + repairs.broken:
            self.warnings.append(f"{found} timestamps of the picture were missing or broken, and replaced")
