"""How good predictions are (docs/method.md, section 11), in points."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEAST_RANKED = 5  # routines


@dataclass(frozen=True)
class Metrics:
    """Of n routines. `intervals` are 95 % bootstrap intervals over routines, by metric."""

    n: int
    srcc: float
    pearson: float
    mse: float
    relative_l2: float  # R-l2 x 100
    intervals: dict[str, tuple[float, float]]

    @property
    def ranked(self) -> bool:
        """Whether there are enough routines for a rank correlation to say anything: of four, one in twelve orders is
        theirs or nearly so by chance."""
        return self.n >= LEAST_RANKED

    @property
    def told_srcc(self) -> float | None:
        """SRCC as it is printed: None of too few routines."""
        return self.srcc if self.ranked else None

    def to_dict(self) -> dict[str, float | None]:
        """As a bundle keeps them; None where predictions or scores are all the same, which have no rank."""
        values = {
            "n": self.n,
            "srcc": self.srcc if self.ranked else float("nan"),
            "mse": self.mse,
            "relative_l2_x100": self.relative_l2,
        }
        return {name: None if value != value else value for name, value in values.items()}


def measure(predicted: np.ndarray, true: np.ndarray, bootstraps: int = 0, seed: int = 0) -> Metrics:
    """Predicted and true scores (n,), in points -> metrics, with intervals from so many `bootstraps`."""
    measures: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"srcc": srcc, "mse": mse}
    intervals = {}
    if bootstraps:
        rng = np.random.default_rng(seed)
        draws = (rng.integers(len(true), size=len(true)) for _ in range(bootstraps))
        values = np.array([[of(predicted[draw], true[draw]) for of in measures.values()] for draw in draws])
        for name, column in zip(measures, values.T, strict=True):
            known = column[~np.isnan(column)]
            low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
            intervals[name] = (float(low), float(high))
    return Metrics(
        len(true), srcc(predicted, true), pearson(predicted, true), mse(predicted, true), relative_l2(predicted, true),
        intervals,
    )  # fmt: skip


def paired_difference(
    one: np.ndarray, other: np.ndarray, true: np.ndarray, resamples: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """By how much the SRCC of one method is above another's, and a 95 % interval (paired bootstrap over routines).

    Args:
        one, other: (seeds, n) predictions of both on the same routines; their SRCC is the mean over seeds.
        true: (n,).

    Returns:
        The difference, and the interval's ends; an interval without 0 is more than chance. It says nothing of how a
        method varies over training sets, and with few seeds little of how it varies over seeds. NaN where one says the
        same of all.
    """
    draws = np.random.default_rng(seed).integers(len(true), size=(resamples, len(true)))
    rows = np.concatenate([np.arange(len(true))[None], draws])
    wanted = stats.rankdata(true[rows], axis=1)
    means = []
    for method in (one, other):
        found = np.array([_correlation(stats.rankdata(predicted[rows], axis=1), wanted) for predicted in method])
        ranked = np.isfinite(found)
        means.append(np.divide(np.nansum(found, 0), ranked.sum(0), out=np.full(len(rows), np.nan), where=ranked.any(0)))
    differences = means[0] - means[1]
    if not np.isfinite(differences[1:]).any():
        return float("nan"), float("nan"), float("nan")
    low, high = np.nanpercentile(differences[1:], [2.5, 97.5])
    return float(differences[0]), float(low), float(high)


def _correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson's, row by row; NaN where a row is constant."""
    one, other = (rows - rows.mean(1, keepdims=True) for rows in (one, other))
    size = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return np.divide((one * other).sum(1), size, out=np.full(len(size), np.nan), where=size > 0)


def srcc(predicted: np.ndarray, true: np.ndarray) -> float:
    """Spearman's rank correlation; NaN where either side is constant."""
    if np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return float("nan")
    return float(stats.spearmanr(predicted, true).statistic)


def pearson(predicted: np.ndarray, true: np.ndarray) -> float:
    """Pearson's correlation; NaN where either side is constant."""
    if np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return float("nan")
    return float(stats.pearsonr(predicted, true).statistic)


def mse(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean squared error, in squared points."""
    return float(np.mean((predicted - true) ** 2))


def relative_l2(predicted: np.ndarray, true: np.ndarray) -> float:
    """R-l2 x 100; the range is that of the true scores; NaN where they are constant."""
    if np.ptp(true) == 0:
        return float("nan")
    return float(100 * np.mean(((predicted - true) / np.ptp(true)) ** 2))


def fisher_mean(correlations: Iterable[float]) -> float:
    """The mean of correlations by Fisher's z, as the field averages SRCC over targets."""
    z = np.arctanh(np.clip(list(correlations), -1 + 1e-9, 1 - 1e-9))
    return float(np.tanh(z.mean()))


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """How often a positive value is above a negative one, ties counting half."""
    if len(positive) == 0 or len(negative) == 0:
        return float("nan")
    return float(stats.mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative)))
