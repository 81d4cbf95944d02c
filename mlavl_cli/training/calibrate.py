"""What a bundle knows of its own errors: split-conformal intervals from routines that its heads didn't learn from."""

import numpy as np

from mlavl_cli.errors import UsageError
from mlavl_cli.scoring.interval import Interval

CONFIDENCE = 0.9
LEAST_ROUTINES = 20  # of fewer, nine in ten is no measurement
_A_BAND = 25  # routines at least that a usual error is measured on
_MOST_BANDS = 7


def fit_interval(predicted: np.ndarray, true: np.ndarray, clips: np.ndarray) -> Interval | None:
    """An interval of 90 % from scores (n,) in points, true scores (n,) and numbers of clips (n,).

    It depends on T where that foretells errors measurably better, by cross-validation; None from too few routines.

    Raises:
        UsageError: crepes isn't installed.
    """
    if len(true) < LEAST_ROUTINES:
        return None
    errors, bands = true - predicted, 1
    if (most := _bands(len(true))) > 1:
        better = _surprise(errors, clips, 1) - _surprise(errors, clips, most)
        if better.mean() > better.std() / len(better) ** 0.5:  # by more than chance would do
            bands = most
    at, spread = _knots(errors, clips, bands)
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


def _surprise(errors: np.ndarray, clips: np.ndarray, bands: int) -> np.ndarray:
    """(n,) by how much each error is unlike what was usual of the routines that were left in, in five folds: minus the
    logarithm of its likelihood by a Laplace distribution, whose spread is the mean absolute error."""
    found = np.zeros(len(errors))
    for fold in range(5):
        out = np.arange(len(errors)) % 5 == fold
        usual = _spread(clips[out], *_knots(errors[~out], clips[~out], bands))
        found[out] = np.log(usual) + np.abs(errors[out]) / usual
    return found
