"""Points of a target <-> shares of its range, 0 to 1, which heads learn and give (docs/method.md, section 9)."""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

Range = tuple[float, float]  # the lowest and the highest possible score, in points
Number = TypeVar("Number", float, "np.ndarray")

_MOST_POINTS = 1e6


def is_range(low: float, high: float) -> bool:
    """Whether scores can lie between the two."""
    return low < high and max(-low, high) <= _MOST_POINTS


def to_points(share: Number, score_range: Range) -> Number:
    """What heads give, in points."""
    low, high = score_range
    return low + share * (high - low)


def to_share(points: Number, score_range: Range) -> Number:
    """What heads learn."""
    low, high = score_range
    return (points - low) / (high - low)


# What the abbreviations of targets stand for.
TARGET_NAMES = {
    "TES": "technical element score",
    "PCS": "program component score",
    "SS": "skating skills",
    "SK": "skating skills",
    "TR": "transitions",
    "PE": "performance",
    "PR": "presentation",
    "CO": "composition",
    "IN": "interpretation of the music",
}
