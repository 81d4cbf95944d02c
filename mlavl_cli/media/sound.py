"""A video's sound as mono 16 kHz samples on the video's clock, in constant memory."""

from collections import deque
from collections.abc import Iterator

import av
import numpy as np
import soxr

from mlavl_cli.errors import MediaError
from mlavl_cli.media.clock import Clock
from mlavl_cli.media.container import Media, decodable

SAMPLE_RATE_HZ = 16_000
# Timestamps of sound are rounded to the container's ticks; only a larger step is a real gap or overlap.
_GAP_S = 0.04
_GATHER_S = 1.0
# Formats of samples that become arrays as they are: (zero, full scale).
_NUMPY = {"flt": (0, 1), "dbl": (0, 1), "u8": (128, 128), "s16": (0, 1 << 15), "s32": (0, 1 << 31)}
_NOTHING = np.zeros(0, np.float32)
_RATES_HZ = (1000, 1_000_000)  # a broken header can claim a sample an hour, and a second would become millions


class SoundReader:
    """The sound between any two increasing times of one audio stream; where there is none, silence.

    Args:
        media: the file, open for as long as it is read.
        stream: index among its audio streams; None: the best one.

    Raises:
        MediaError: no such stream.
    """

    def __init__(self, media: Media, stream: int | None = None):
        self._clock, self._damaged, self._broke_off = Clock(), 0, ""
        self._media = media
        self._stream = self._pick(stream)
        self._decoded = self._timed_chunks()
        self._ahead: deque[tuple[int, np.ndarray]] = deque()  # (sample number, samples), apart and in order
        self._end = 0  # sample number after the last decoded sample

    @property
    def warnings(self) -> list[str]:
        """What a user should know of the sound read so far."""
        found = [self._broke_off] if self._broke_off else []
        if self._damaged:
            found.append(f"{self._damaged} damaged pieces of the sound were replaced by silence")
        if self._clock.repaired:
            found.append(f"{self._clock.repaired} timestamps of the sound were missing or broken, and replaced")
        return found

    def close(self) -> None:
        """Lets go of the packets at once: what decodes them refers to this object, and this object to it."""
        self._decoded.close()

    def _pick(self, index: int | None) -> av.AudioStream:
        path, streams = self._media.path, self._media.container.streams.audio
        if index is None:
            best = self._media.container.streams.best("audio")
            return best if best is not None and decodable(best) else next(filter(decodable, streams))
        if not 0 <= index < len(streams):
            raise MediaError(f"has no audio stream {index}", path=path, hint=f"It has {len(streams)}, from 0.")
        if not decodable(streams[index]):
            raise MediaError(f"audio stream {index} uses a codec that can't be decoded here", path=path)
        return streams[index]

    def read(self, start_s: float, end_s: float) -> np.ndarray:
        """Samples of [start_s, end_s): float32 (round(end * 16000) - round(start * 16000),), in [-1, 1].

        Neighbouring spans share no sample and miss none. `start_s` must not go back.
        """
        first, last = round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ)
        while self._end < last and (chunk := next(self._decoded, None)):
            position, samples = chunk
            if position < self._end:  # heard already: an overlap, or timestamps that went back
                samples, position = samples[self._end - position :], self._end
            self._end = max(self._end, position + len(samples))
            if len(samples) and self._end > first:  # before that nobody will ask for it any more
                self._ahead.append((position, samples))
        while self._ahead and self._ahead[0][0] + len(self._ahead[0][1]) <= first:
            self._ahead.popleft()
        out = np.zeros(last - first, np.float32)
        for position, samples in self._ahead:
            begin, end = max(position, first), min(position + len(samples), last)
            if begin < end:
                out[begin - first : end - first] = samples[begin - position : end - position]
        return out

    def _timed_chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(sample number, samples) of each stretch of sound, as decoded and resampled."""
        stretch = None
        for time_s, frame in self._clock.steady(self._timed_frames()):
            if stretch is None or not stretch.goes_on(time_s, frame):
                if stretch is not None:
                    yield from stretch.rest()
                stretch = _Stretch(time_s, frame)
                yield stretch.position, _NOTHING  # how far the sound has come: after a gap, far enough for most
            yield from stretch.add(frame)
        if stretch is not None:
            yield from stretch.rest()

    def _timed_frames(self) -> Iterator[tuple[float | None, float, av.AudioFrame]]:
        origin_s = self._media.origin_s
        for frame in self._frames():
            time_s = None if frame.time is None else frame.time - origin_s
            yield time_s, frame.samples / frame.sample_rate, frame

    def _frames(self) -> Iterator[av.AudioFrame]:
        packets = self._media.packets(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._broke_off = f"reading the sound stopped early ({error.strerror})"
                return
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._damaged += 1
                continue
            for frame in frames:
                if _RATES_HZ[0] <= frame.sample_rate <= _RATES_HZ[1]:
                    yield frame
                else:
                    self._damaged += 1


class _Stretch:
    """Sound of one kind without a gap: frames in, mono samples at 16 kHz out.

    Frames hold some hundredths of a second. They are gathered first: most of a short frame's cost is not its samples'.
    """

    def __init__(self, time_s: float, first: av.AudioFrame):
        self._kind = _kind(first)
        self._ends_s, self.position = time_s, round(time_s * SAMPLE_RATE_HZ)  # of the next frame, of the next sample
        self._gathered, self._enough = av.AudioFifo(), max(round(_GATHER_S * first.sample_rate), 1)
        self._resampler = soxr.ResampleStream(first.sample_rate, SAMPLE_RATE_HZ, 1)

    def goes_on(self, time_s: float, frame: av.AudioFrame) -> bool:
        """Whether a frame at this time belongs to it."""
        return abs(time_s - self._ends_s) <= _GAP_S and _kind(frame) == self._kind

    def add(self, frame: av.AudioFrame) -> Iterator[tuple[int, np.ndarray]]:
        """(sample number, samples) of what has become ready."""
        self._ends_s += frame.samples / frame.sample_rate
        frame.pts = None  # the clock is ours; the resampler only changes the rate
        self._gathered.write(frame)
        if self._gathered.samples >= self._enough:
            yield self._resampled(_mono(self._gathered.read()))

    def rest(self) -> Iterator[tuple[int, np.ndarray]]:
        """(sample number, samples) of what is left at the end."""
        yield self._resampled(_mono(self._gathered.read()) if self._gathered.samples else _NOTHING, last=True)

    def _resampled(self, mono: np.ndarray, last: bool = False) -> tuple[int, np.ndarray]:
        begin, samples = self.position, self._resampler.resample_chunk(mono, last)
        self.position += len(samples)
        return begin, np.clip(samples, -1.0, 1.0)


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """(samples,) float32 in [-1, 1]: the channels' mean, so that a sound in all channels keeps its level."""
    planar, channels = frame.format.is_planar, len(frame.layout.channels)
    if frame.format.packed.name not in _NUMPY or (planar and channels >= 8):  # as planes, that many crash PyAV
        (frame,), planar = av.AudioResampler(format="flt").resample(frame), False
    samples = frame.to_ndarray()
    samples = samples if planar else samples.reshape(-1, channels).T
    middle, full = _NUMPY[frame.format.packed.name]
    # Damaged sound can decode to NaN or to absurd peaks; neither may reach a backbone.
    with np.errstate(over="ignore", invalid="ignore"):
        mono = (samples.mean(axis=0, dtype=np.float32) - np.float32(middle)) / np.float32(full)
    return np.clip(np.nan_to_num(mono, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)


def _kind(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate
