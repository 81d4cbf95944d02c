"""What a bundle knows of its own errors: split-conformal intervals from routines that its heads didn't learn from."""

import numpy as np

from mlavl_cli.errors import UsageError
from mlavl_cli.scoring.interval import Interval

CONFIDENCE = 0.9
LEAST_ROUTINES = 20  # of fewer, nine in ten is no measurement
_A_BAND = 40  # routines at least that a usual error is measured on
_MOST_BANDS = 7
_BETTER = 0.02  # by how much of coverage, in its worst band of lengths, a spread by length must be better than none


def fit_interval(predicted: np.ndarray, true: np.ndarray, clips: np.ndarray) -> Interval | None:
    """An interval of 90 % from scores (n,) in points, true scores (n,) and numbers of clips (n,).

    It depends on T where that makes its coverage measurably more even over lengths, by cross-validation; None from too
    few routines.

    Raises:
        UsageError: crepes isn't installed.
    """
    if len(true) < LEAST_ROUTINES:
        return None
    errors = true - predicted
    constant, by_length = (_knots(errors, clips, count) for count in (1, _bands(len(true))))
    if len(by_length[0]) > 1:
        uneven = [_unevenness(errors, clips, len(knots[0])) for knots in (constant, by_length)]
        if uneven[1] < uneven[0] - _BETTER:
            constant = by_length
    at, spread = constant
    quantile = _quantile(errors, _spread(clips, at, spread))
    return Interval(CONFIDENCE, quantile, tuple(map(int, at)), tuple(map(float, spread)), len(true))


def _bands(routines: int) -> int:
    return int(np.clip(routines // _A_BAND, 1, _MOST_BANDS))


def _knots(errors: np.ndarray, clips: np.ndarray, bands: int) -> tuple[list[int], list[float]]:
    """The mean absolute error of equally many routines by length, and their middle lengths."""
    found: dict[int, float] = {}
    for band in np.array_split(np.argsort(clips, kind="stable"), bands):
        found[round(float(np.exp(np.log(clips[band]).mean())))] = max(float(np.abs(errors[band]).mean()), 1e-6)
    return sorted(found), [found[at] for at in sorted(found)]


def _spread(clips: np.ndarray, at: list[int], spread: list[float]) -> np.ndarray:
    return np.interp(np.log(clips), np.log(at), spread)


def _quantile(errors: np.ndarray, spread: np.ndarray) -> float:
    """Half the width of the interval where the usual error is 1."""
    try:
        from crepes import ConformalRegressor
    except ImportError as error:
        raise UsageError("crepes isn't installed", hint="Run: pip install 'mlavl[train]'.") from error
    regressor = ConformalRegressor().fit(errors, sigmas=spread)
    low, high = regressor.predict_int(np.zeros(1), sigmas=np.ones(1), confidence=CONFIDENCE)[0]
    return float(high - low) / 2


def _unevenness(errors: np.ndarray, clips: np.ndarray, bands: int) -> float:
    """How far from its confidence the coverage is in the worst band of lengths, on routines that were left out."""
    inside = np.zeros(len(errors), bool)
    for fold in range(5):
        out = np.arange(len(errors)) % 5 == fold
        at, spread = _knots(errors[~out], clips[~out], bands)
        quantile = _quantile(errors[~out], _spread(clips[~out], at, spread))
        inside[out] = np.abs(errors[out]) <= quantile * _spread(clips[out], at, spread)
    parts = np.array_split(np.argsort(clips, kind="stable"), _bands(len(errors)))
    return max(abs(float(inside[part].mean()) - CONFIDENCE) for part in parts)
