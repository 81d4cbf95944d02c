"""A video's sound as mono 16 kHz samples on the video's clock, in constant memory."""

from collections import OrderedDict, deque
from collections.abc import Generator, Iterator

import av
import numpy as np
import soxr  # type: ignore[import-untyped]  # it has no annotations that a checker may use

from mlavl_cli.errors import MediaError
from mlavl_cli.media.container import Media
from mlavl_cli.media.mono import MOST_CHANNELS, mono
from mlavl_cli.media.sound_clock import Placed, SoundClock
from mlavl_cli.media.streams import choose_sound

SAMPLE_RATE_HZ = 16_000
_GATHER_S = 1.0
_KEPT_DESIGNS, _MOST_DESIGNS = 8, 200  # of resamplers
_NOTHING = np.zeros(0, np.float32)
_RATES_HZ = (1000, 1_000_000)  # a broken header can claim a sample an hour, and a second would become millions


class SoundReader:
    """The sound between any two increasing times of one audio stream; where there is none, silence.

    Args:
        media: the file, open for as long as it is read.
        stream: index among its audio streams; None: the one that belongs to the picture.
        beside: index, in the file, of the picture's stream; None: the film.

    Raises:
        MediaError: no such stream, or none that can be decoded here.
    """

    def __init__(self, media: Media, stream: int | None = None, beside: int | None = None):
        self._clock, self._damaged, self._broke_off = SoundClock(), 0, ""
        self._media = media
        choice = choose_sound(media, stream, beside)
        if choice is None:
            raise MediaError("has no sound that can be decoded here", path=media.path)
        self._stream, self._note = choice.stream, choice.note
        self._decoded = self._timed_chunks()
        self._ahead: deque[tuple[int, np.ndarray]] = deque()  # (sample number, samples), apart and in order
        self._end = 0  # sample number after the last decoded sample

    @property
    def warnings(self) -> list[str]:
        """What a user should know of the sound read so far."""
        found = [text for text in (self._note, self._broke_off) if text]
        if self._damaged:
            found.append(f"{self._damaged} damaged pieces of the sound were replaced by silence")
        return [*found, *self._clock.warnings]

    def close(self) -> None:
        """Lets go of the packets at once: what decodes them refers to this object, and this object to it."""
        self._decoded.close()

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
            if len(samples) and self._end > first:  # earlier samples are no longer needed
                self._ahead.append((position, samples))
        while self._ahead and self._ahead[0][0] + len(self._ahead[0][1]) <= first:
            self._ahead.popleft()
        out = np.zeros(last - first, np.float32)
        for position, samples in self._ahead:
            begin, end = max(position, first), min(position + len(samples), last)
            if begin < end:
                out[begin - first : end - first] = samples[begin - position : end - position]
        return out

    def _timed_chunks(self) -> Generator[tuple[int, np.ndarray], None, None]:
        """(sample number, samples) of each stretch of sound, as decoded and resampled."""
        stretch, resamplers = None, _Resamplers()
        for placed in self._clock.place(self._stamped()):
            if stretch is None or not stretch.goes_on(placed):
                if resamplers.exhausted:
                    self._broke_off = f"the sound changes its rate {_MOST_DESIGNS} times; the rest isn't heard"
                    break
                position = round(placed.time_s * SAMPLE_RATE_HZ)
                if stretch is not None:
                    yield from stretch.rest()
                    position = stretch.position if placed.contiguous else position
                stretch = _Stretch(placed, position, resamplers)
                yield stretch.position, _NOTHING  # how far the sound has come: after a gap, far enough for most
            yield from stretch.add(placed.frame)
        if stretch is not None:
            yield from stretch.rest()

    def _stamped(self) -> Iterator[tuple[float | None, av.AudioFrame]]:
        origin_s = self._media.origin_s
        for frame in self._frames():
            yield None if frame.time is None else frame.time - origin_s, frame

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
            if not packet.size and packet.dts is not None:
                continue  # an empty packet: nothing is heard
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._damaged += 1
                continue
            for frame in frames:
                usual = len(frame.layout.channels) <= MOST_CHANNELS
                if usual and _RATES_HZ[0] <= frame.sample_rate <= _RATES_HZ[1]:
                    yield frame
                else:
                    self._damaged += 1


class _Resamplers:
    """One for each rate, the latest few kept: designing one takes as long as a second of sound, and there are gaps.

    Attributes:
        exhausted: whether more were asked for than any real file needs.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[float, soxr.ResampleStream] = OrderedDict()
        self._made = 0

    @property
    def exhausted(self) -> bool:
        return self._made >= _MOST_DESIGNS

    def of(self, rate_hz: float) -> soxr.ResampleStream:
        """From this rate to ours, at its beginning."""
        if rate_hz not in self._kept:
            self._kept[rate_hz] = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1)
            self._made += 1
        self._kept.move_to_end(rate_hz)
        if len(self._kept) > _KEPT_DESIGNS:
            self._kept.popitem(last=False)
        self._kept[rate_hz].clear()
        return self._kept[rate_hz]


class _Stretch:
    """Sound of one kind without a gap: frames in, mono samples at 16 kHz out.

    Frames hold some hundredths of a second. They are gathered first: most of a short frame's cost is not its samples'.
    """

    def __init__(self, first: Placed, position: int, resamplers: "_Resamplers"):
        self._kind, self.position = _kind(first), position  # of the next sample
        rate_hz = first.frame.sample_rate
        self._gathered, self._enough = av.AudioFifo(), max(round(_GATHER_S * rate_hz), 1)
        self._resampler = resamplers.of(rate_hz / first.stretch)

    def goes_on(self, placed: Placed) -> bool:
        """Whether a frame belongs to it."""
        return placed.contiguous and _kind(placed) == self._kind

    def add(self, frame: av.AudioFrame) -> Iterator[tuple[int, np.ndarray]]:
        """(sample number, samples) of what has become ready."""
        frame.pts = None  # the clock is ours; the resampler only changes the rate
        self._gathered.write(frame)
        if self._gathered.samples >= self._enough:
            yield self._resampled(self._taken())

    def rest(self) -> Iterator[tuple[int, np.ndarray]]:
        """(sample number, samples) of what is left at the end."""
        yield self._resampled(self._taken(), last=True)

    def _taken(self) -> np.ndarray:
        """All that was gathered."""
        frame = self._gathered.read()
        return _NOTHING if frame is None else mono(frame)

    def _resampled(self, mono: np.ndarray, last: bool = False) -> tuple[int, np.ndarray]:
        begin, samples = self.position, self._resampler.resample_chunk(mono, last)
        self.position += len(samples)
        return begin, np.clip(samples, -1.0, 1.0)


def _kind(placed: Placed) -> tuple[str, str, int, float]:
    frame = placed.frame
    return frame.format.name, frame.layout.name, frame.sample_rate, placed.stretch
