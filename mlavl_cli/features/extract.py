"""The extraction pipeline: files -> RoutineFeatures. Decoding runs beside the backbones."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlavl_cli.bundle import BackboneSpec, Bundle
from mlavl_cli.device import Placement
from mlavl_cli.errors import DeviceError, FeatureError, WeightsError
from mlavl_cli.features.audio import AudioBackbone, load_audio
from mlavl_cli.features.background import Background
from mlavl_cli.features.lanes import side_by_side
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.rows import Rows
from mlavl_cli.features.visual import VisualBackbone, load_visual
from mlavl_cli.media.clips import FRAMES_PER_CLIP, PAPER_CUTTING, ClipReader, Cutting
from mlavl_cli.media.decode import VideoInfo

# Raised whenever the same file and backbones would give other numbers than before: stored features then go stale.
EXTRACTION_VERSION = 3
_DEFAULT_BATCH = {"cpu": 1, "cuda": 16, "mps": 8}
DECODERS = 2  # videos decoded at once: this one, and the next
_WAITING, _READY = 2, 4  # videos that wait for a thread; clips of a video that are decoded ahead, at least
SILENT = "the sound is silence all along: what is said of the music means nothing"
_SILENT_BELOW = 1e-4  # -80 dB of full scale


Progress = Callable[[int, float, VideoInfo], None]


@dataclass(frozen=True)
class Backbones:
    """The two frozen backbones, on their device, and who they are."""

    visual: VisualBackbone
    audio: AudioBackbone
    placement: Placement
    identity: dict[str, Any]


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
) -> Iterator[RoutineFeatures | Exception]:
    """Videos -> their features or what was wrong with each, in order, in memory that doesn't grow with their length.

    While the backbones work the next clips are decoded, of this video or of the next ones; a batch takes clips of
    several videos, and on a CPU several batches are worked on at once, so that short files don't starve the model.

    Args:
        jobs: videos; features that are there already pass through in their place.
        backbones: from `load_backbones`.
        cutting: tail rule and streams.
        batch_size: clips a forward pass; None: by device. On the CPU 1, so that features depend on no neighbour, to the
            last bit.
        workers: how many videos are decoded at once.
        on_clips: called after each batch with (its number of clips, time reached in s, VideoInfo), for progress.
    """
    size = batch_size or _DEFAULT_BATCH[backbones.placement.device.type]
    pool = ThreadPoolExecutor(workers, "mlavl-decode")
    under_way: deque[_Routine] = deque()  # in order; the first is the next to be handed out
    started = (_Routine(job, backbones, cutting, max(size, _READY), pool) for job in jobs)
    batches = _batches(started, under_way, size, workers + _WAITING)
    try:
        for batch, rows in side_by_side(partial(_encode, backbones), batches, backbones.placement, size):
            for (routine, clip), row in zip(batch, rows, strict=True):
                routine.add(clip.span, *row)
            if batch and on_clips:
                on_clips(len(batch), batch[-1][1].span[1], batch[-1][1].info)
            while under_way and under_way[0].complete:
                yield under_way.popleft().outcome()
        while under_way:
            yield under_way.popleft().outcome()
    finally:
        for routine in under_way:
            routine.close()
        pool.shutdown()


def _batches(
    started: Iterator["_Routine"], under_way: deque["_Routine"], size: int, most: int
) -> Iterator[list[tuple["_Routine", "_Prepared"]]]:
    """Batches across the borders of videos; an empty one where there may be something to hand out meanwhile.

    Videos are started as long as fewer than `most` are being read, and put behind those under way.
    """
    batch: list[tuple[_Routine, _Prepared]] = []
    while True:
        before = len(under_way)
        for routine in islice(started, most - sum(not routine.read for routine in under_way)):
            under_way.append(routine)  # one by one: the next job may raise
        reading = next((routine for routine in under_way if not routine.read), None)
        if reading is None and len(under_way) == before:
            break
        for prepared in reading.clips() if reading else ():
            if prepared is None:
                yield []
            else:
                batch.append((reading, prepared))
            if len(batch) == size:
                yield batch
                batch = []
        yield []
    if batch:
        yield batch


@dataclass(frozen=True)
class _Prepared:
    """A clip as the backbones take it."""

    span: tuple[float, float]
    frames: torch.Tensor  # uint8 (F, height, width, 3)
    sound: np.ndarray | None
    info: VideoInfo


@dataclass(frozen=True)
class _End:
    """What is known of a video after its last clip."""

    info: VideoInfo
    warnings: list[str]


class _Routine:
    """One video under way: read by a thread of the pool, its features gathered as batches come back."""

    def __init__(self, job: Path | RoutineFeatures, backbones: Backbones, cutting: Cutting, depth: int, pool: Executor):
        self._ready = job if isinstance(job, RoutineFeatures) else None
        self._backbones, self._cutting = backbones, cutting
        self._ahead = None if self._ready else Background(_prepare(job, backbones, cutting), depth, pool)
        self.read = self._ready is not None  # to the end, or to where it failed
        self._error: Exception | None = None
        self._end: _End | None = None
        self._taken = 0
        self._spans: list[tuple[float, float]] = []
        self._visual, self._audio = Rows(), Rows()

    def clips(self) -> Iterator[_Prepared | None]:
        """As they get ready; None where none is for a moment."""
        try:
            for item in self._ahead:
                if isinstance(item, _End):
                    self._end = item
                else:
                    self._taken += item is not None
                    yield item
        except Exception as error:  # of this video alone: the others go on
            self._error = error
        self.read = True

    @property
    def complete(self) -> bool:
        return self.read and len(self._spans) == self._taken

    def add(self, span: tuple[float, float], visual: torch.Tensor, audio: torch.Tensor | None) -> None:
        """One clip's features, in order."""
        self._spans.append(span)
        self._visual.append(visual)
        if audio is not None:
            self._audio.append(audio)

    def outcome(self) -> RoutineFeatures | Exception:
        try:
            return self._ready or self._error or self._features()
        except FeatureError as error:
            return error

    def _features(self) -> RoutineFeatures:
        silent = () if self._end.info.has_audio else ("no sound: only the visual branch can score it",)
        start_s, end_s = np.array(self._spans, np.float64).T
        return RoutineFeatures(
            visual=self._visual.numpy(),  # the first time that a GPU is waited for
            audio=self._audio.numpy() if len(self._audio) else None,
            start_s=start_s.copy(),
            end_s=end_s.copy(),
            video=self._end.info,
            provenance=provenance(self._backbones.identity, self._cutting, self._backbones.placement.precision),
            warnings=(*self._end.warnings, *silent),
        )

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()


def _encode(
    backbones: Backbones, batch: list[tuple[_Routine, _Prepared]]
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Both backbones' rows of each clip of a batch; halves the batch where memory doesn't suffice."""
    if not batch:
        return []
    clips = [prepared for _, prepared in batch]
    frames = torch.stack([clip.frames for clip in clips])
    # Here and not in the decoding thread, where torch would start a second team of threads that the backbones wait for.
    heard = [backbones.audio.spectrogram(clip.sound) for clip in clips if clip.sound is not None]
    if backbones.placement.device.type == "cuda":  # pinned memory is copied beside the computation
        frames, heard = frames.pin_memory(), [spectrogram.pin_memory() for spectrogram in heard]
    try:
        visual = backbones.visual.encode(frames)
        audio = iter(backbones.audio.encode(heard) if heard else ())
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            hint = "Use another --device, --precision bf16, or smaller backbones."
            raise DeviceError("one clip alone doesn't fit into the device's memory", hint=hint) from error
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return _encode(backbones, batch[:half]) + _encode(backbones, batch[half:])
    return [(row, None if clip.sound is None else next(audio)) for clip, row in zip(clips, visual, strict=True)]


def _prepare(path: Path, backbones: Backbones, cutting: Cutting) -> Generator[_Prepared | _End, None, None]:
    """A video's clips, ready for the backbones, and the end. Runs in the thread that reads it."""
    visual, spare_cores = backbones.visual, backbones.placement.device.type != "cpu"
    with ClipReader(path, visual.picture, visual.frames, **vars(cutting), spare_cores=spare_cores) as clips:
        loudest = 0.0
        for clip in clips:
            if clip.sound is not None:
                loudest = max(loudest, float(np.abs(clip.sound).max(initial=0)))
            yield _Prepared((clip.start_s, clip.end_s), torch.from_numpy(clip.frames), clip.sound, clips.info)
        silent = clips.info.has_audio and loudest < _SILENT_BELOW
        yield _End(clips.info, [*clips.warnings, *([SILENT] if silent else [])])
