"""Picture and sound -> clips: 32 frames in a row, and the samples of the same span of time (paper, section 3.1)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlavl_cli.errors import MediaError
from mlavl_cli.media.container import Media
from mlavl_cli.media.cutting import FRAMES_PER_CLIP, PAPER_CUTTING, Cutting
from mlavl_cli.media.decode import TimedFrame, VideoInfo, VideoReader
from mlavl_cli.media.frame_rate import FrameRate
from mlavl_cli.media.lanes import Drawn
from mlavl_cli.media.nal import Mismatch
from mlavl_cli.media.picture import PictureMaker, PictureSpec
from mlavl_cli.media.sound import SoundReader

# A clip lasts about a second. Where broken timestamps claim an hour, only this much of it is listened to.
MAX_SOUND_S = 60.0


@dataclass(frozen=True)
class Clip:
    """Frames uint8 (F, height, width, 3) RGB, those a backbone samples; sound float32 (samples,) at 16 kHz or None."""

    index: int
    start_s: float
    end_s: float
    frames: np.ndarray
    sound: np.ndarray | None


def sampled_positions(count: int) -> list[int]:
    """Which of a clip's 32 frames a backbone that takes `count` looks at: the middles of `count` equal parts."""
    return [int((i + 0.5) * FRAMES_PER_CLIP / count) for i in range(count)]


class ClipReader:
    """Iterates over a video's clips in constant memory.

    Args:
        path: the video.
        picture: what the visual backbone wants to see.
        frames: how many frames of a clip it takes.
        cutting: how it is cut. Where fewer than 32 frames are all there is, they are always padded.
        threads: how many may decode it; None: as many as there are cores.
        on_repeat: called for each clip that has to be read once more, with what was decoded so far.

    Attributes:
        info: the video; its duration is the decoded one after the last clip.
        warnings: complete after the last clip.

    Raises:
        MediaError: on construction or on the way: the file can't be read or holds no picture.
    """

    def __init__(
        self,
        path: Path,
        picture: PictureSpec,
        frames: int,
        cutting: Cutting = PAPER_CUTTING,
        threads: int | None = None,
        on_repeat: Callable[[tuple[int, int]], object] = lambda decoded: None,
    ):
        self._path, self._cutting, self._threads, self._on_repeat = path, cutting, threads, on_repeat
        self._positions = sampled_positions(frames)
        self._before = (0, 0)  # pictures and pixels, of a reading that was given up
        self._make_picture = PictureMaker(picture)
        self._warnings: list[str] = []
        self._gaps: list[tuple[float, int]] = []  # seconds, clip
        with ExitStack() as stack:
            media = self._open_picture(stack)
            self._sound: SoundReader | None = None
            if self._video.info.has_audio:
                of_sound = media if media.small else stack.enter_context(Media(path))
                reader = SoundReader(of_sound, cutting.audio_stream, self._video.stream.index)
                self._sound = stack.enter_context(closing(reader))
            self._open = stack.pop_all()

    def _open_picture(self, stack: ExitStack) -> Media:
        media = stack.enter_context(Media(self._path))
        self._video = VideoReader(media, self._cutting.video_stream, self._threads)
        stack.callback(self._video.close)
        self._stated_fps = self._video.info.fps
        self._rate = FrameRate(self._cutting.frame_rate, self._stated_fps) if self._cutting.frame_rate else None
        return media

    def __enter__(self) -> "ClipReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def info(self) -> VideoInfo:
        return self._video.info

    @property
    def decoded(self) -> tuple[int, int]:
        """How many pictures were decoded so far, and of how many pixels all together."""
        (count, pixels), (before, pixels_before) = self._video.decoded, self._before
        return count + before, pixels + pixels_before

    @property
    def warnings(self) -> list[str]:
        of_sound = self._sound.warnings if self._sound else []
        of_rate = []
        if self._rate and self._rate.repeated:
            of_rate = [
                f"{self.info.fps:.4g} frames/s are fewer than the weights want: {self._rate.repeated} were repeated"
            ]
        of_gaps = []
        if self._gaps:
            longest_s, index = max(self._gaps)
            others = f", as {len(self._gaps) - 1} more do for less" if len(self._gaps) > 1 else ""
            of_gaps = [f"clip {index} lasts {longest_s:.0f} s{others}: a gap in the timestamps"]
        return [*self._video.warnings, *of_sound, *of_rate, *of_gaps, *self._warnings]

    def __iter__(self) -> Iterator[Clip]:
        given = 0
        try:
            for clip in self._cut(self._video.frames(self._looked_at, self._make_picture.spec)):
                yield clip
                given += 1
            return
        except Mismatch:  # so far all frames were those of a full decode: the clips that were given stand
            self._before = self.decoded
            self._video.close()
            self._open_picture(self._open)
        yield from self._cut(self._video.frames(), given)

    def _looked_at(self, frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        """Those that are sampled, and the first, which tells how the video is turned."""
        if self._cutting.frame_rate:
            frames = FrameRate(self._cutting.frame_rate, self._stated_fps)(frames)
        for number, frame in enumerate(frames):
            if number == 0 or number % FRAMES_PER_CLIP in self._positions:
                yield frame

    def _cut(self, frames: Iterator[TimedFrame], first: int = 0) -> Iterator[Clip]:
        """The clips from number `first` on."""
        pictures: list[np.ndarray] = []  # the sampled frames of the clip under way
        start_s, last, index = 0.0, None, 0
        position = 0  # of the next frame within its clip
        for frame in self._rate(frames) if self._rate else frames:
            if position == FRAMES_PER_CLIP:
                if index < first:
                    self._on_repeat(self.decoded)
                else:
                    yield self._clip(index, start_s, frame.time_s, pictures)
                pictures, position, index = [], 0, index + 1
            if position == 0:
                start_s = frame.time_s
            if index >= first and (times := self._positions.count(position)):  # other frames are never converted
                pictures += [self._picture(frame)] * times
            position, last = position + 1, frame
        assert last is not None  # frames() raises rather than give none
        end_s = self._video.info.duration_s
        if position < FRAMES_PER_CLIP and not self._keep_tail(index, position):
            return
        if missing := len(self._positions) - len(pictures):
            pictures += [self._picture(last)] * missing
        yield self._clip(index, start_s, end_s, pictures)

    def _keep_tail(self, index: int, frames: int) -> bool:
        alone = index == 0
        if alone:
            self._warnings.append(f"only {frames} frames, fewer than a clip's {FRAMES_PER_CLIP}: the last was repeated")
        return alone or self._cutting.tail == "pad"

    def _picture(self, frame: TimedFrame) -> np.ndarray:
        video = self._video
        if isinstance(frame.picture, Drawn):
            assert frame.picture.small is not None  # it was known that it would be looked at
            return frame.picture.small
        turned = (video.quarter_turns, video.mirrored)
        try:
            return self._make_picture(frame.picture, video.pixel_aspect, *turned, video.crop)
        except MediaError as error:
            raise MediaError(error.message, path=video.path, hint="Convert it to H.264.") from error

    def _clip(self, index: int, start_s: float, end_s: float, pictures: list[np.ndarray]) -> Clip:
        sound = None
        if self._sound is not None:
            if end_s - start_s > MAX_SOUND_S:
                self._gaps.append((end_s - start_s, index))
            sound = self._sound.read(start_s, min(end_s, start_s + MAX_SOUND_S))
        return Clip(index, start_s, end_s, np.stack(pictures), sound)
