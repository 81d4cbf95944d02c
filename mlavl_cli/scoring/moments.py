"""The weakest and the strongest moments of a routine: stretches of neighbouring clips."""

from dataclasses import dataclass
from itertools import pairwise

from mlavl_cli.scoring.measures import Measure
from mlavl_cli.scoring.result import ClipScore, RoutineScore

_SHARE, _MOST_SHARE = 10, 4  # a tenth of the clips are looked at, up to a quarter where that makes too few moments


@dataclass(frozen=True)
class Moment:
    """Clips that follow one another."""

    clips: list[ClipScore]

    @property
    def start_s(self) -> float:
        return self.clips[0].start_s

    @property
    def end_s(self) -> float:
        return self.clips[-1].end_s

    @property
    def strength(self) -> float:
        """The mean consistency, or the mean quality without sound."""
        return sum(clip.strength or 0.0 for clip in self.clips) / len(self.clips)

    def mean(self, measure: Measure) -> float:
        """Of a measure that is known of these clips."""
        return sum(clip.value(measure) for clip in self.clips) / len(self.clips)

    @property
    def middle(self) -> ClipScore:
        """The clip that shows it."""
        return self.clips[len(self.clips) // 2]


def weakest(score: RoutineScore, count: int = 3) -> list[Moment]:
    """Up to `count` moments of least consistency, or of least quality without sound, in the order of time."""
    return _moments(score, count, 1.0)


def strongest(score: RoutineScore, count: int = 3) -> list[Moment]:
    """Up to `count` moments of most consistency, or of most quality without sound, in the order of time."""
    return _moments(score, count, -1.0)


def _moments(score: RoutineScore, count: int, sign: float) -> list[Moment]:
    """Takes clip after clip, the most extreme first; neighbours are one moment."""
    ranked = sorted((clip for clip in score.clips if clip.strength is not None), key=lambda c: sign * (c.strength or 0))
    least, most = max(count, len(ranked) // _SHARE), max(count, len(ranked) // _MOST_SHARE)
    found: list[Moment] = []
    for taken in range(1, min(most, len(ranked)) + 1):
        runs = _runs(sorted(ranked[:taken], key=lambda clip: clip.index))
        if len(runs) > count or (taken > least and len(found) == count):
            break
        found = runs
    return found


def _runs(clips: list[ClipScore]) -> list[Moment]:
    runs = [[clips[0]]]
    for before, clip in pairwise(clips):
        if clip.index == before.index + 1:
            runs[-1].append(clip)
        else:
            runs.append([clip])
    return [Moment(run) for run in runs]
