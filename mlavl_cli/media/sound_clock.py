"""Where sound belongs in time: it follows its samples, and its timestamps where they say more than that.

Timestamps of sound are rounded, jitter where a network or a phone stamped packets as they came, and drift where two
clocks were at work; the samples themselves are contiguous. So a frame is put right behind the one before unless its
timestamp, and those of the seconds after it, agree that it belongs elsewhere.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, takewhile
from statistics import median

import av

TOLERANCE_S = 0.04  # a timestamp that is off by less is believed to be rounded
_AHEAD_S = 2.0  # how much sound after a doubtful timestamp is looked at
_AHEAD_FRAMES = 256
_SETTLED_S = 0.01  # after a judgement; far shorter frames than any codec's would be judged without end
_WRONG_RATE = 0.01  # of time; clocks that drift apart do so by a thousandth, and wrong ones by far more
_LEAST_EVIDENCE = 8  # frames, for a rate
_ROUNDED_S = 0.005
_EVEN = 0.15  # of a frame: timestamps that lie so near a straight line are even
_SLOWLY = _WRONG_RATE  # by how much sound is stretched to catch up with a drift


@dataclass(frozen=True)
class Placed:
    """A frame of sound, when it is heard, and by what its length is multiplied; `contiguous` with the one before."""

    frame: av.AudioFrame
    time_s: float
    stretch: float
    contiguous: bool


Stamped = tuple[float | None, av.AudioFrame]


class SoundClock:
    """Places the frames of one stream; `warnings` says what was corrected so far, and by how much."""

    def __init__(self) -> None:
        self._begun = False  # whether the first frame has come
        self._now_s = 0.0  # when the next frame is heard if it is contiguous
        self._ignored_s = 0.0  # what timestamps that run at a wrong rate are off by now
        self._recent: deque[float] = deque(maxlen=_AHEAD_FRAMES)  # how far timestamps were off
        self._recent_s = 0.0  # for how long they have been noted
        self._catching_up_s = 0.0  # what is left of a drift
        self._settled_until_s = -math.inf
        self._jitter_s = self._gap_s = self._overlap_s = self._drift_s = 0.0
        self._gaps = self._overlaps = 0
        self._wrong_s = 0.0  # the most that timestamps at a wrong rate were off by

    def place(self, stamped: Iterable[Stamped]) -> Iterator[Placed]:
        """(timestamp in seconds or None, frame), in order -> the frames in their places."""
        source, ahead = iter(stamped), deque[Stamped]()
        while entry := ahead.popleft() if ahead else next(source, None):
            stamp_s, frame = entry
            contiguous = self._begun
            if not contiguous:
                self._begun, self._now_s = True, stamp_s or 0.0
            elif stamp_s is not None:
                off_s = stamp_s - self._now_s - self._ignored_s
                if abs(off_s) > TOLERANCE_S + abs(self._catching_up_s) and self._now_s >= self._settled_until_s:
                    self._look_ahead(source, ahead)
                    contiguous = not self._moved(off_s, [entry, *ahead])
                    self._settled_until_s = self._now_s + _SETTLED_S
                elif self._ignored_s and self._is_steady():
                    contiguous = not self._stepped(self._ignored_s)
                self._recent.append(stamp_s - self._now_s - self._ignored_s)
            stretch = 1.0 + math.copysign(_SLOWLY, self._catching_up_s) if self._catching_up_s else 1.0
            yield Placed(frame, self._now_s, stretch, contiguous)
            lasts_s = _lasts_s(frame)
            self._recent_s += lasts_s
            self._now_s += lasts_s * stretch
            stretched_s = lasts_s * (stretch - 1.0)
            self._drift_s += stretched_s
            left_s = self._catching_up_s - stretched_s
            self._catching_up_s = left_s if left_s * self._catching_up_s > 0 else 0.0

    @staticmethod
    def _look_ahead(source: Iterator[Stamped], ahead: deque[Stamped]) -> None:
        known_s = sum(_lasts_s(frame) for _, frame in ahead)
        while known_s < _AHEAD_S and len(ahead) < _AHEAD_FRAMES and (entry := next(source, None)):
            ahead.append(entry)
            known_s += _lasts_s(entry[1])

    def _moved(self, off_s: float, entries: list[Stamped]) -> bool:
        """Decides what a timestamp means that is off by `off_s`; True where the frame begins elsewhere."""
        offs = self._offs(entries)
        settled_s = _agreed(off_s, offs)
        if self._ignored_s and abs(median(offs) + self._ignored_s) <= TOLERANCE_S:
            self._forget(0.0)  # the timestamps are right again, as if nothing had been
            return False
        jitters = _jitters(self._recent)
        if jitters and sum(_lasts_s(frame) for _, frame in entries) < _AHEAD_S:  # near the end the past has to do
            settled_s = _agreed(off_s, [*offs, *self._recent])
        if abs(settled_s) <= TOLERANCE_S:
            if not self._ignored_s and abs(off_s) - abs(settled_s) > _ROUNDED_S:
                self._jitter_s = max(self._jitter_s, abs(off_s))
            return False
        if self._ignored_s or (self._wrong_s if len(offs) < _LEAST_EVIDENCE else _runs_wrong(offs, entries)):
            self._forget(self._ignored_s + off_s)  # until they agree with the samples, or with each other
            self._wrong_s = max(self._wrong_s, self._ignored_s, key=abs)
            return False
        before_s = median(list(self._recent)[-len(offs) :]) if self._recent else 0.0
        if abs(median(offs) - before_s) <= abs(settled_s) / 2:  # it came slowly
            self._catching_up_s = settled_s
            return False
        alike = list(takewhile(lambda off: abs(off - off_s) <= TOLERANCE_S / 2, offs))
        if jitters:
            return self._stepped(median(offs) - before_s)
        # A few that are alike may be on the way to where the others are.
        return self._stepped(median(alike if len(alike) >= _LEAST_EVIDENCE else offs[len(offs) // 2 :]))

    def _stepped(self, step_s: float) -> bool:
        """Shifts what follows by this much."""
        self._now_s += step_s
        self._catching_up_s = 0.0
        self._forget(0.0)
        if step_s > 0:
            self._gaps, self._gap_s = self._gaps + 1, self._gap_s + step_s
        else:
            self._overlaps, self._overlap_s = self._overlaps + 1, self._overlap_s - step_s
        return True

    def _forget(self, ignored_s: float) -> None:
        self._ignored_s, self._recent_s = ignored_s, 0.0
        self._recent.clear()

    def _is_steady(self) -> bool:
        """Whether timestamps that ran at a wrong rate run at the right one again, though they are off."""
        return self._recent_s > _AHEAD_S and max(self._recent) - min(self._recent) <= TOLERANCE_S / 4

    def _offs(self, entries: list[Stamped]) -> list[float]:
        """By how much each timestamp is off if all frames are contiguous."""
        offs, now_s = [], self._now_s + self._ignored_s
        for stamp_s, frame in entries:
            if stamp_s is not None:
                offs.append(stamp_s - now_s)
            now_s += _lasts_s(frame)
        return offs

    @property
    def warnings(self) -> list[str]:
        """What a user should know."""
        found = []
        if self._wrong_s:
            found.append(
                "the sound's timestamps run at another rate than its samples"
                f" (off by up to {self._wrong_s:+.2f} s): it follows its samples"
            )
        if self._jitter_s:
            found.append(
                f"the sound's timestamps jitter by up to {1000 * self._jitter_s:.0f} ms: it follows its samples"
            )
        if self._gaps:
            found.append(f"{_times(self._gaps, 'gap')} in the sound, {self._gap_s:.2f} s in all: silence there")
        if self._overlaps:
            found.append(f"{_times(self._overlaps, 'overlap')} in the sound, {self._overlap_s:.2f} s in all: left out")
        if self._drift_s:
            found.append(f"the sound drifts against its timestamps: stretched by {1000 * self._drift_s:+.0f} ms in all")
        return found


def _agreed(off_s: float, offs: Iterable[float]) -> float:
    """As much of `off_s` as all others are off by, too."""
    side = 1 if off_s > 0 else -1
    return side * max(min(side * off for off in offs), 0.0)


def _runs_wrong(offs: list[float], entries: list[Stamped]) -> bool:
    """Whether timestamps go ahead evenly, but at a rate that no clock has: not in steps, as where packets are lost."""
    frame_s = sum(_lasts_s(frame) for _, frame in entries) / len(entries)
    mean = (offs[-1] - offs[0]) / (len(offs) - 1)
    uneven = median(abs(off - offs[0] - i * mean) for i, off in enumerate(offs))
    return abs(mean) > _WRONG_RATE * frame_s and uneven < _EVEN * frame_s


def _jitters(offs: Iterable[float]) -> bool:
    """Whether timestamps go back and forth, by more than rounding makes them."""
    steps = [b - a for a, b in pairwise(offs)]
    return bool(steps) and min(max(steps), -min(steps)) > TOLERANCE_S / 4


def _lasts_s(frame: av.AudioFrame) -> float:
    return frame.samples / frame.sample_rate


def _times(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"
