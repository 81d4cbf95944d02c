"""How far off a score may be: an interval that holds the true score of so many of a hundred routines like the measured.

Split-conformal: routines that the head didn't learn from were scored; the quantile is that of their absolute errors,
each divided by the usual error of a routine of its length. Here is what scoring needs; training/calibrate.py fits it.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlavl_cli.bundle import Bundle
from mlavl_cli.errors import WeightsError
from mlavl_cli.score_range import Range

_MOST_KNOTS = 64


@dataclass(frozen=True)
class Interval:
    """Of one target.

    Attributes:
        confidence: the share of routines whose true score lies inside.
        quantile: of the absolute errors, in units of `spread`.
        clips, spread: the usual error, in points, of routines of so many clips; between them by log T, beyond them as
            at the ends. One of each where the error doesn't depend on T.
        routines: how many it was measured on.
    """

    confidence: float
    quantile: float
    clips: tuple[int, ...]
    spread: tuple[float, ...]
    routines: int

    def around(self, score: float, clips: int, score_range: Range) -> tuple[float, float]:
        """The interval in points around a score of a routine of `clips` clips, within the target's range."""
        half = float(self.half_width(np.array(clips)))
        low, high = (float(np.clip(score + side * half, *score_range)) for side in (-1, 1))
        return min(low, score), max(high, score)

    def half_width(self, clips: np.ndarray) -> np.ndarray:
        """Numbers of clips (n,) -> points (n,) on either side of a score."""
        return self.quantile * np.interp(np.log(clips), np.log(self.clips), self.spread)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for bundle.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Interval":
        """Reads it back.

        Raises:
            WeightsError: it holds something else.
        """
        try:
            found = cls(
                float(values["confidence"]),
                float(values["quantile"]),
                tuple(int(n) for n in values["clips"]),
                tuple(float(points) for points in values["spread"]),
                int(values["routines"]),
            )
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise WeightsError(f"its intervals can't be read ({error!r:.60})") from error
        numbers = (found.confidence, found.quantile, *found.spread)
        if (
            not 0 < len(found.clips) == len(found.spread) <= _MOST_KNOTS
            or not all(math.isfinite(number) and number >= 0 for number in numbers)
            or not 0 < found.confidence < 1
            or not 0 < found.clips[0] <= found.clips[-1] <= 1 << 31
            or list(found.clips) != sorted(set(found.clips))
        ):
            raise WeightsError("its intervals hold no such numbers as intervals have")
        return found


def load_intervals(bundle: Bundle) -> dict[str, Interval]:
    """Those of a bundle's targets that have one.

    Raises:
        WeightsError: one can't be read.
    """
    try:
        return {target: Interval.from_dict(values) for target, values in bundle.intervals.items()}
    except WeightsError as error:
        raise WeightsError(error.message, path=bundle.folder, hint="Is the bundle whole?") from error
