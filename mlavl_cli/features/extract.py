"""The extraction pipeline: files -> RoutineFeatures. Decoding runs beside the backbones."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch

from mlavl_cli.backbone import BackboneSpec
from mlavl_cli.bundle import Bundle
from mlavl_cli.cores import cores
from mlavl_cli.device import Placement
from mlavl_cli.errors import DeviceError, FeatureError, WeightsError
from mlavl_cli.features.apart import prepare_file
from mlavl_cli.features.audio import AudioBackbone, load_audio
from mlavl_cli.features.parallel import Passes
from mlavl_cli.features.reading import End, Prepared, Reader
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.rows import Rows
from mlavl_cli.features.visual import VisualBackbone, load_visual
from mlavl_cli.media.cutting import FRAMES_PER_CLIP, PAPER_CUTTING, Cutting
from mlavl_cli.media.decode import VideoInfo

# Raised whenever the same file and backbones would give other numbers than before: stored features then go stale.
EXTRACTION_VERSION = 4
DEFAULT_BATCH = {"cpu": 1, "cuda": 16, "mps": 8}
_LONE_BATCH = 4  # of the only video that is still read: decoding takes longer, and at its end few clips are left
DECODERS = max(2, min(cores(), 16))  # videos decoded at once
_WAITING, _READY = 2, 4  # videos that wait for a thread; clips of each that are decoded while a batch is worked on
_AHEAD = 16  # videos for each that is decoded: features that wait for those of a long one before them
# A backbone of fewer parameters takes less of a CPU than decoding does: a video that is read alone gets all cores.
_LIGHT = 20_000_000

Progress = Callable[[int, float, VideoInfo], None]


@dataclass(frozen=True)
class Backbones:
    """The two frozen backbones, on their device, and who they are."""

    visual: VisualBackbone
    audio: AudioBackbone
    placement: Placement
    identity: dict[str, Any]

    def decoding_threads(self, videos: int) -> int:
        """How many threads may decode each of so many videos that are read at once: what the backbones leave."""
        leave_cores = self.placement.device.type != "cpu" or self.visual.parameters_held < _LIGHT
        return max(1, cores() // videos) if leave_cores else 1


def describe(bundle: Bundle, visual: BackboneSpec | None = None, audio: BackboneSpec | None = None) -> dict[str, Any]:
    """Who the backbones are, without loading them: what stored features are compared with."""
    return {"visual": (visual or bundle.visual).identity(), "audio": (audio or bundle.audio).identity()}


def load_backbones(
    bundle: Bundle, placement: Placement, visual: BackboneSpec | None = None, audio: BackboneSpec | None = None
) -> Backbones:
    """The bundle's backbones, or others in their place.

    Raises:
        WeightsError: can't be had, or the bundle wants clips of another length.
    """
    if bundle.clip_frames != FRAMES_PER_CLIP:
        cause = f"wants clips of {bundle.clip_frames} frames; clips have {FRAMES_PER_CLIP}"
        raise WeightsError(cause, path=bundle.folder)
    return Backbones(
        load_visual(visual or bundle.visual, placement),
        load_audio(audio or bundle.audio, placement),
        placement,
        describe(bundle, visual, audio),
    )


def provenance(identity: dict[str, Any], cutting: Cutting, precision: str) -> dict[str, Any]:
    """All that features of a given file depend on."""
    return {
        "extraction": EXTRACTION_VERSION,
        "backbones": identity,
        "clip_frames": FRAMES_PER_CLIP,
        "cutting": vars(cutting),
        "precision": precision,
    }


def extract(
    path: Path,
    backbones: Backbones,
    cutting: Cutting = PAPER_CUTTING,
    batch_size: int | None = None,
    on_clips: Progress | None = None,
) -> RoutineFeatures:
    """One video -> its features.

    Raises:
        MediaError: the video can't be read.
    """
    (outcome,) = extract_many([Path(path)], backbones, cutting, batch_size, on_clips=on_clips)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def extract_many(
    jobs: Iterable[Path | RoutineFeatures],
    backbones: Backbones,
    cutting: Cutting = PAPER_CUTTING,
    batch_size: int | None = None,
    workers: int = DECODERS,
    on_clips: Progress | None = None,
) -> Generator[RoutineFeatures | Exception, None, None]:
    """Videos -> their features or what was wrong with each, in order, in memory that doesn't grow with their length.

    While the backbones work the next clips are decoded, of several videos at once. Clips are taken from whichever video
    has them, in batches across their borders; on a CPU several batches are worked on at once.

    Args:
        jobs: videos; features that are there already pass through in their place.
        backbones: from `load_backbones`.
        cutting: tail rule and streams.
        batch_size: clips a forward pass; None: by device. On the CPU 1, so that features depend on no neighbour, to the
            last bit.
        workers: how many videos are decoded at once.
        on_clips: called after each batch with (its number of clips, time reached in s, VideoInfo), for progress.
    """
    size = batch_size or DEFAULT_BATCH[backbones.placement.device.type]
    pool = ThreadPoolExecutor(workers, "mlavl-decode")
    events: SimpleQueue[Event | None] = SimpleQueue()  # None: a pass is done
    passes = Passes(partial(_encode, backbones), backbones.placement, size, lambda: events.put(None))
    under_way: deque[_Routine] = deque()  # in order; the first is the next to be handed out
    waiting: deque[tuple[_Routine, Prepared]] = deque()  # clips without a batch
    coming = iter(jobs)
    more = True
    try:
        while more or under_way:
            reading = sum(not routine.read for routine in under_way)
            begun: list[Path | RoutineFeatures] = []
            while more and reading < workers + _WAITING and len(under_way) + len(begun) < _AHEAD * workers:
                job = next(coming, None)
                if job is None:
                    more = False
                    break
                begun.append(job)
                reading += isinstance(job, Path)
            threads = backbones.decoding_threads(max(1, min(reading, workers)))
            for job in begun:
                under_way.append(_Routine(job, backbones, cutting, size + _READY, pool, events, threads))
            for batch, rows in passes.done():
                for (routine, clip), row in zip(batch, rows, strict=True):
                    routine.add(clip, *row)
                if on_clips:
                    on_clips(len(batch), batch[-1][1].span[1], batch[-1][1].info)
                while under_way and under_way[0].complete:  # before the next pass, which may have gone wrong
                    yield under_way.popleft().outcome()
            # After those that are done have made room: there may be no other event to come back for.
            now = size if batch_size or more or len(under_way) > 1 else min(size, _LONE_BATCH)
            while passes.free and (len(waiting) >= now or (waiting and not reading)):
                passes.start([waiting.popleft() for _ in range(min(now, len(waiting)))])
            while under_way and under_way[0].complete:  # features that were there already
                yield under_way.popleft().outcome()
            if under_way:
                _take(events.get(), waiting)
    finally:
        for routine in under_way:
            routine.close()
        passes.close()
        pool.shutdown()


def _take(event: "Event | None", waiting: deque[tuple["_Routine", Prepared]]) -> None:
    if event is None:
        return
    routine, item = event
    if isinstance(item, Prepared):
        routine.taken += 1
        waiting.append((routine, item))
    else:
        routine.end = item


class _Routine:
    """One video under way: read by a thread of the pool, its features gathered as batches come back."""

    def __init__(
        self,
        job: Path | RoutineFeatures,
        backbones: Backbones,
        cutting: Cutting,
        depth: int,
        pool: Executor,
        events: "SimpleQueue[Event | None]",
        threads: int,
    ):
        self._backbones, self._cutting = backbones, cutting
        self.taken = 0  # clips
        self.end: RoutineFeatures | End | BaseException | None = job if isinstance(job, RoutineFeatures) else None
        self._spans: list[tuple[float, float]] = []
        self._visual, self._audio = Rows(), Rows()
        self._of_picture: list[np.ndarray] = []
        self._of_sound: list[np.ndarray] = []
        self._reader: Reader | None = None
        if not isinstance(job, RoutineFeatures):
            visual = backbones.visual
            clips = prepare_file(job, visual.picture, visual.frames, cutting, threads)
            self._reader = Reader(clips, depth, pool, lambda item: events.put((self, item)))

    @property
    def read(self) -> bool:
        """To the end, or to where it failed."""
        return self.end is not None

    @property
    def complete(self) -> bool:
        return self.read and len(self._spans) == self.taken

    def add(self, clip: Prepared, visual: torch.Tensor, audio: torch.Tensor | None) -> None:
        """One clip's features, in order."""
        assert self._reader is not None  # whose clip it is
        self._reader.used()
        self._spans.append(clip.span)
        self._visual.append(visual)
        of_picture, of_sound = clip.statistics
        self._of_picture.append(of_picture)
        if audio is not None:
            self._audio.append(audio)
        if of_sound is not None:
            self._of_sound.append(of_sound)

    def outcome(self) -> RoutineFeatures | Exception:
        """The features, or what was wrong with this video alone.

        Raises:
            BaseException: what ends the whole run.
        """
        if isinstance(self.end, RoutineFeatures | Exception):
            return self.end
        if isinstance(self.end, BaseException):
            raise self.end
        assert self.end is not None  # it is asked for once it is complete
        try:
            return self._features(self.end)
        except FeatureError as error:
            return error

    def _features(self, end: End) -> RoutineFeatures:
        silent = () if end.info.has_audio else ("no sound: only the visual branch can score it",)
        start_s, end_s = np.array(self._spans, np.float64).T
        return RoutineFeatures(
            visual=self._visual.numpy(),  # the first time that a GPU is waited for
            audio=self._audio.numpy() if len(self._audio) else None,
            start_s=start_s.copy(),
            end_s=end_s.copy(),
            video=end.info,
            provenance=provenance(self._backbones.identity, self._cutting, self._backbones.placement.precision),
            warnings=(*end.warnings, *silent),
            picture_statistics=np.stack(self._of_picture),
            sound_statistics=np.stack(self._of_sound) if self._of_sound else None,
        )

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


Event = tuple[_Routine, Prepared | End | BaseException]


def _encode(
    backbones: Backbones, batch: list[tuple[_Routine, Prepared]]
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Both backbones' rows of each clip of a batch; halves the batch where memory doesn't suffice."""
    try:
        return _rows(backbones, [prepared for _, prepared in batch])
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            hint = "Use another --device, --precision bf16, or smaller backbones."
            raise DeviceError("one clip alone doesn't fit into the device's memory", hint=hint) from error
    # Not in the handler: the error holds on to all that the failed pass had computed.
    if backbones.placement.device.type == "cuda":
        torch.cuda.empty_cache()
    half = len(batch) // 2
    return _encode(backbones, batch[:half]) + _encode(backbones, batch[half:])


def _rows(backbones: Backbones, clips: list[Prepared]) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    frames = torch.from_numpy(np.stack([clip.frames for clip in clips]))
    # Here and not in the decoding thread, where torch would start a second team of threads that the backbones wait for.
    heard = [backbones.audio.spectrogram(clip.sound) for clip in clips if clip.sound is not None]
    if backbones.placement.device.type == "cuda":  # pinned memory is copied beside the computation
        frames, heard = frames.pin_memory(), [spectrogram.pin_memory() for spectrogram in heard]
    visual = backbones.visual.encode(frames)
    audio = iter(backbones.audio.encode(heard) if heard else ())
    return [(row, None if clip.sound is None else next(audio)) for clip, row in zip(clips, visual, strict=True)]
