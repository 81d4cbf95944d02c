"""The extraction pipeline: file -> RoutineFeatures. Decoding and spectrograms run beside the backbones."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from mlavl_cli.bundle import BackboneSpec, Bundle, find_bundle, parse_backbone
from mlavl_cli.device import Placement, place
from mlavl_cli.errors import WeightsError
from mlavl_cli.features.audio import AudioBackbone, load_audio
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.visual import VisualBackbone, load_visual
from mlavl_cli.media.clips import FRAMES_PER_CLIP, Clip, ClipReader, Tail
from mlavl_cli.media.decode import VideoInfo

# Raised whenever the same file and backbones would give other numbers than before: stored features then go stale.
EXTRACTION_VERSION = 1
_DEFAULT_BATCH = {"cpu": 4, "cuda": 16, "mps": 8}

T = TypeVar("T")


@dataclass(frozen=True)
class Cutting:
    """How a file is cut into clips: what becomes of the tail, and which streams are taken (None: the best)."""

    tail: Tail = "drop"
    video_stream: int | None = None
    audio_stream: int | None = None


PAPER_CUTTING = Cutting()
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
    """One video -> its features, in memory that doesn't grow with its length (features aside).

    Args:
        path: the video.
        backbones: from `load_backbones`.
        cutting: tail rule and streams.
        batch_size: clips a forward pass; None: by device. It changes no result beyond rounding.
        on_clips: called after each batch with (its number of clips, time reached in s, VideoInfo), for progress.

    Raises:
        MediaError: the video can't be read.
    """
    visual, audio = backbones.visual, backbones.audio
    size = batch_size or _DEFAULT_BATCH.get(backbones.placement.device.type, 4)
    pin = backbones.placement.device.type == "cuda"
    visual_rows, audio_rows, times = [], [], []
    with ExitStack() as stack:
        clips = stack.enter_context(
            ClipReader(
                Path(path), visual.picture, visual.frames, cutting.tail, cutting.video_stream, cutting.audio_stream
            )
        )
        prepared = (_prepare(clip, audio, pin) for clip in clips)
        # Decoding keeps at most one batch ahead of the one the model works on. Its thread ends before the file closes.
        ready = stack.enter_context(closing(_in_background(prepared, depth=size)))
        while batch := list(islice(ready, size)):
            frames = torch.stack([frames for _, frames, _ in batch])
            visual_rows.append(visual.encode(frames.pin_memory() if pin else frames))
            spectrograms = [spectrogram for _, _, spectrogram in batch if spectrogram is not None]
            if spectrograms:
                audio_rows.append(audio.encode(spectrograms))
            times += [span for span, _, _ in batch]
            if on_clips:
                on_clips(len(batch), times[-1][1], clips.info)
        info, warnings = clips.info, clips.warnings
    if not info.has_audio:
        warnings.append("no sound: only the visual branch can score it")
    start_s, end_s = np.array(times, np.float64).T
    return RoutineFeatures(
        visual=torch.cat(visual_rows).cpu().numpy(),
        audio=torch.cat(audio_rows).cpu().numpy() if audio_rows else None,
        start_s=start_s.copy(),
        end_s=end_s.copy(),
        video=info,
        provenance=provenance(backbones.identity, cutting, backbones.placement.precision),
        warnings=tuple(warnings),
    )


def extract_features(
    path: str | Path,
    weights: str | Path = "mini",
    visual: str | None = None,
    audio: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
) -> RoutineFeatures:
    """One video -> RoutineFeatures: visual (T, D_v), audio (T, D_a) or None, and the clips' times.

    Args:
        path: the video.
        weights: a bundled name or a bundle's folder, whose backbones are used.
        visual, audio: a hub id (`ID@REVISION` pins it) or a folder to use instead.
        device, precision, batch_size: as on the command line.

    Raises:
        MlavlError: one of its children, with the cause and the way out.
    """
    specs = [parse_backbone(source) if source else None for source in (visual, audio)]
    backbones = load_backbones(find_bundle(weights), place(device, precision), *specs)
    return extract(Path(path), backbones, batch_size=batch_size)


def _prepare(clip: Clip, audio: AudioBackbone, pin: bool) -> tuple[tuple[float, float], torch.Tensor, Any]:
    spectrogram = None if clip.sound is None else audio.spectrogram(clip.sound)
    if pin and spectrogram is not None:
        spectrogram = spectrogram.pin_memory()
    return (clip.start_s, clip.end_s), torch.from_numpy(clip.frames), spectrogram


def _in_background(items: Iterable[T], depth: int) -> Iterator[T]:
    """The items, made by a thread that keeps at most `depth` of them ready; its exception is raised here."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: T | None, error: BaseException | None) -> None:
        while not stop.is_set():
            try:
                return ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue
        return None

    def work() -> None:
        try:
            for item in items:
                put(item, None)
                if stop.is_set():
                    return
        except BaseException as error:  # handed over, whatever it is
            put(None, error)
        else:
            put(None, StopIteration())

    thread = threading.Thread(target=work, name="mlavl-decode", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
