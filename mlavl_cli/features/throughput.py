"""How fast extraction runs on this machine, and where its time goes."""

import resource
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mlavl_cli.features.extract import DEFAULT_BATCH, Backbones, extract
from mlavl_cli.features.parallel import Passes
from mlavl_cli.media.clips import ClipReader
from mlavl_cli.media.container import Media
from mlavl_cli.media.cutting import FRAMES_PER_CLIP
from mlavl_cli.media.decode import VideoReader


@dataclass(frozen=True)
class Measured:
    """Of one video. Seconds are a clip's, each stage run by itself; `pipeline_s` is all together, overlapped."""

    clips: int
    duration_s: float
    decode_fps: float
    decode_s: float
    pictures_and_sound_s: float
    spectrogram_s: float
    visual_s: float
    audio_s: float
    pipeline_s: float
    peak_memory_mb: float

    @property
    def backbones_s(self) -> float:
        return self.visual_s + self.audio_s

    @property
    def overhead(self) -> float:
        """Wall time of the pipeline by that of the backbones alone on tensors in memory; 1 is perfect overlap."""
        return self.pipeline_s / self.backbones_s

    @property
    def real_time_factor(self) -> float:
        """Seconds of video a second."""
        return self.duration_s / (self.clips * self.pipeline_s)


def measure_throughput(path: Path, backbones: Backbones, batch_size: int | None = None, rounds: int = 3) -> Measured:
    """Times every stage of extraction on one video.

    Backbones and pipeline are run in turn, `rounds` times, and the median is taken, so that a machine that slows down
    slows down both.

    Raises:
        MediaError: the video can't be read.
    """
    visual, audio = backbones.visual, backbones.audio
    size = batch_size or DEFAULT_BATCH[backbones.placement.device.type]
    threads = backbones.decoding_threads(1)
    begin = time.perf_counter()
    with Media(path) as media:
        frames = sum(1 for _ in VideoReader(media, threads=threads).frames())
    decoding = time.perf_counter() - begin
    begin = time.perf_counter()
    with ClipReader(path, visual.picture, visual.frames, threads=threads) as reader:
        clips = list(reader)
    reading = time.perf_counter() - begin
    sounds = [clip.sound for clip in clips if clip.sound is not None]
    begin = time.perf_counter()
    spectrograms = [audio.spectrogram(sound) for sound in sounds]
    listening = time.perf_counter() - begin
    pictures = [torch.from_numpy(clip.frames) for clip in clips]

    def see() -> None:
        batches = (torch.stack(pictures[i : i + size]) for i in range(0, len(pictures), size))
        _passes(visual.encode, batches, backbones, size)

    def hear() -> None:
        batches = (spectrograms[i : i + size] for i in range(0, len(spectrograms), size))
        _passes(audio.encode, batches, backbones, size)

    stages: dict[Callable[[], object], list[float]] = {
        see: [],
        hear: [],
        lambda: extract(path, backbones, batch_size=size): [],
    }
    visual.encode(torch.stack(pictures[:size]))  # the first call pays for things that are paid once
    for _ in range(rounds):
        for stage, seconds in stages.items():
            begin = time.perf_counter()
            stage()
            seconds.append(time.perf_counter() - begin)
    seeing, hearing, pipeline = (sorted(seconds)[rounds // 2] for seconds in stages.values())
    count = len(clips)
    return Measured(
        clips=count,
        duration_s=clips[-1].end_s - clips[0].start_s,
        decode_fps=frames / decoding,
        decode_s=decoding / frames * FRAMES_PER_CLIP,
        pictures_and_sound_s=max(reading - decoding, 0.0) / count,
        spectrogram_s=listening / count,
        visual_s=seeing / count,
        audio_s=hearing / count,
        pipeline_s=pipeline / count,
        peak_memory_mb=peak_memory_mb(),
    )


def _passes(encode: Callable[[Any], torch.Tensor], batches: Iterable[Any], backbones: Backbones, size: int) -> None:
    passes = Passes(encode, backbones.placement, size)
    for batch in batches:
        passes.start(batch)
        for _, rows in passes.done(everything=not passes.free):
            rows.cpu()
    for _, rows in passes.done(everything=True):
        rows.cpu()


def peak_memory_mb() -> float:
    """The most this process has held so far."""
    with suppress(OSError):  # Linux counts what was held before the program was started, too, except here
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
