"""Domain: is a video like what the weights were trained on? By the distance of its features to the training set's.

Squared Mahalanobis distance of a clip's visual features to those of all training clips, by their width; a routine's
distance is the median over its clips. Near 1 for the training set itself, far above for another kind of picture.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from mlavl_cli.errors import WeightsError
from mlavl_cli.files import atomic_write
from mlavl_cli.untrusted import open_safetensors

_RIDGE = 1e-2  # of the mean variance, added to each direction's: one that never varied must not decide alone
_LEAST = 1e-12  # variance: routines that are all the same must not divide by zero
_MARGIN = 1.5  # a routine may be this much further away than the furthest that is known to belong


@dataclass(frozen=True)
class Domain:
    """Of a training set: mean (D,), whitening (D, D), and the distance from which on a routine doesn't belong."""

    mean: np.ndarray
    whitening: np.ndarray
    limit: float

    def distance(self, visual: np.ndarray) -> float:
        """Visual features (T, D) of a routine -> its distance; 1 is usual."""
        away = visual.astype(np.float64) - self.mean  # float32 would overflow in the square of what is far away
        return float(np.median(((away @ self.whitening) ** 2).mean(1)))


def fit_domain(train: list[np.ndarray], known: list[np.ndarray]) -> Domain:
    """From visual features (T, D) of training routines, and of all that are known to belong to the same kind."""
    clips = np.concatenate(train).astype(np.float64)
    covariance = np.cov(clips, rowvar=False)
    variances, directions = np.linalg.eigh(covariance)
    whitening = directions / np.sqrt(np.maximum(variances, 0) + _RIDGE * variances.mean() + _LEAST)
    domain = Domain(clips.mean(0).astype(np.float32), whitening.astype(np.float32), np.inf)
    furthest = max(domain.distance(routine) for routine in [*train, *known])
    return Domain(domain.mean, domain.whitening, _MARGIN * furthest)


def save_domain(path: Path, domain: Domain) -> None:
    """Writes one safetensors file, atomically."""
    tensors = {"mean": domain.mean, "whitening": np.ascontiguousarray(domain.whitening)}
    tensors["limit"] = np.array([domain.limit], np.float32)
    with atomic_write(path) as file:
        file.write(save(tensors))


def load_domain(path: Path) -> Domain:
    """Reads it back.

    Raises:
        WeightsError: missing, or not such a file.
    """
    try:
        with open_safetensors(path, "numpy") as file:
            mean, whitening, limit = (file.get_tensor(name) for name in ("mean", "whitening", "limit"))
    except (OSError, SafetensorError, TypeError, ValueError, AttributeError) as error:  # numpy has no bfloat16
        raise WeightsError(
            "can't be read as a training set's features", path=path, hint="Is the bundle whole?"
        ) from error
    if mean.ndim != 1 or whitening.shape != (len(mean), len(mean)) or limit.shape != (1,):
        raise WeightsError("holds tensors of the wrong shapes", path=path)
    if not all(np.isfinite(tensor).all() for tensor in (mean, whitening, limit)):
        raise WeightsError("holds NaN or infinity", path=path)
    return Domain(mean, whitening, float(limit[0]))
