"""A video as the backbones take it, clip by clip, read by a thread of a pool ahead of its use."""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlavl_cli.features.statistics import picture_statistics, sound_statistics
from mlavl_cli.media.clips import ClipReader
from mlavl_cli.media.cutting import Cutting
from mlavl_cli.media.decode import VideoInfo
from mlavl_cli.media.picture import PictureSpec

SILENT = "the audio track is silent; music scores are meaningless"
_SILENT_BELOW = 1e-4  # -80 dB of full scale


@dataclass(frozen=True)
class Prepared:
    """A clip: frames uint8 (F, height, width, 3), sound (samples,) or None, and the statistics of both.

    `decoded` is how many pictures of the video were decoded so far, and of how many pixels all together.
    """

    span: tuple[float, float]
    frames: np.ndarray
    sound: np.ndarray | None
    info: VideoInfo
    statistics: tuple[np.ndarray, np.ndarray | None]
    decoded: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class End:
    """What is known of a video after its last clip."""

    info: VideoInfo
    warnings: list[str]


Read = Generator[Prepared | End, None, None]


def prepare(
    path: Path,
    picture: PictureSpec,
    frames: int,
    cutting: Cutting,
    threads: int,
    opened: Callable[[VideoInfo], object] = lambda info: None,
    on_repeat: Callable[[tuple[int, int]], object] = lambda decoded: None,
) -> Read:
    """A video's clips, and its end.

    Args:
        path: the video.
        picture, frames: what the visual backbone takes.
        cutting: how it is cut.
        threads: how many may decode it.
        opened: told what the header says, before anything is decoded.
        on_repeat: called for each clip that has to be read once more, with what was decoded so far.

    Raises:
        MediaError: it can't be read.
    """
    with ClipReader(path, picture, frames, cutting, threads=threads, on_repeat=on_repeat) as clips:
        opened(clips.info)
        loudest = 0.0
        for clip in clips:
            if clip.sound is not None:
                loudest = max(loudest, float(np.abs(clip.sound).max(initial=0)))
            statistics = picture_statistics(clip.frames), None if clip.sound is None else sound_statistics(clip.sound)
            span, decoded = (clip.start_s, clip.end_s), clips.decoded
            yield Prepared(span, clip.frames, clip.sound, clips.info, statistics, decoded)
        silent = clips.info.has_audio and loudest < _SILENT_BELOW
        yield End(clips.info, [*clips.warnings, *([SILENT] if silent else [])])


class Reader:
    """A thread of `pool` reads `items` and hands each over as it is ready, then the exception that ended it, if any.

    Args:
        items: of one video.
        depth: how many clips may be handed over and not be used yet.
        pool: whose thread reads.
        hand_over: called in that thread.
    """

    def __init__(
        self, items: Read, depth: int, pool: Executor, hand_over: Callable[[Prepared | End | BaseException], object]
    ):
        self._items, self._hand_over = items, hand_over
        self._places, self._stopped = threading.Semaphore(depth), False
        self._job = pool.submit(self._read)

    def used(self) -> None:
        """Makes place for another clip."""
        self._places.release()

    def close(self) -> None:
        """Stops, and waits until the thread has closed the file itself: it must not be closed while it is decoded."""
        self._stopped = True
        self._places.release()
        if not self._job.cancel():  # it has begun
            wait([self._job])

    def _read(self) -> None:
        try:
            with closing(self._items):
                for item in self._items:
                    if isinstance(item, Prepared):
                        self._places.acquire()
                    if self._stopped:
                        return
                    self._hand_over(item)
        except BaseException as error:  # handed over, whatever it is
            self._hand_over(error)
