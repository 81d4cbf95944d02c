"""Out-of-domain detection: is a video of the kind that the weights were trained on?

Four tables are known of each clip: visual and audio features, and statistics of its pictures and its sound. In each,
the squared Mahalanobis distance to all training clips, by the table's width, is near 1 for clips like those. A
routine's distance is the median over its clips. Limits are set by routines that are known to belong and were not
trained on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from mlavl_cli.errors import WeightsError, refusing
from mlavl_cli.files import atomic_write
from mlavl_cli.untrusted import open_safetensors

TABLES = {
    "visual": "visual features",
    "audio": "audio features",
    "picture_statistics": "texture, colour and motion of the pictures",
    "sound_statistics": "level and spectrum of the sound",
}
Tables = dict[str, np.ndarray]  # by these names, (T, width) each

_RIDGE = 3e-2  # of each column's variance: a direction that never varied must not decide alone
_LEAST = 1e-2  # of all columns' spread, added to each one's
_TINY = 1e-6  # of their size: routines that are all the same must not divide by zero
_MARGIN = 1.5  # how much further away than the furthest that is known to belong a routine or a clip may be
_MOST_CLIPS = 0.999  # of the clips that are known to belong are nearer than a clip's limit without its margin
_LEARNED = "learned_from"  # (n,) uint64, the beginnings of digests
_MOST_ROUTINES = 1_000_000
_PARTS = ("mean", "whitening", "limits")
_MOST_WIDE = 8192  # features


@dataclass(frozen=True)
class Reference:
    """One table of a training set: mean (D,), whitening (D, D), and the distances from which on a routine, and a clip,
    doesn't belong."""

    mean: np.ndarray
    whitening: np.ndarray
    limit: float = np.inf
    clip_limit: float = np.inf

    def distances(self, rows: np.ndarray) -> np.ndarray:
        """(T, D) -> (T,); 1 is usual."""
        away = rows.astype(np.float64) - self.mean  # float32 would overflow in the square of what is far away
        return ((away @ self.whitening) ** 2).mean(1)


@dataclass(frozen=True)
class DomainReading:
    """What was found of a routine, by the table in which it is furthest away in units of the limit.

    Attributes:
        inside: whether it belongs.
        distance, limit: of that table.
        table: its name.
        clips_inside: (T,) bool, of each clip in all tables.
    """

    inside: bool
    distance: float
    limit: float
    table: str
    clips_inside: np.ndarray


class OutOfDomainDetector:
    """References by table. Tables that a routine lacks, or that have another width, are left out."""

    def __init__(self, references: dict[str, Reference]):
        self.references = references

    def read(self, tables: Tables) -> DomainReading | None:
        """A routine's tables -> what was found; None where none of them is known of the training set."""
        found = []
        for name, reference in self.references.items():
            if name in tables and tables[name].shape[1] == len(reference.mean):
                clips = reference.distances(tables[name])
                found.append((float(np.median(clips)), name, reference, clips <= reference.clip_limit))
        if not found:
            return None
        distance, name, reference, _ = max(found, key=lambda one: one[0] / one[2].limit)
        inside = np.logical_and.reduce([clips for *_, clips in found])
        return DomainReading(distance <= reference.limit, distance, reference.limit, name, inside)


def fit_detector(train: list[Tables], known: list[Tables]) -> OutOfDomainDetector:
    """From training routines, and others that are known to belong to the same kind.

    Without such others, limits are the training routines' own.
    """
    references = {}
    for name in TABLES:
        rows = [tables[name] for tables in train if name in tables]
        if not rows:
            continue
        reference = _whitened(np.concatenate(rows).astype(np.float64))
        belong = [reference.distances(tables[name]) for tables in (*train, *known) if name in tables]
        furthest = max(float(np.median(clips)) for clips in belong)
        usual = float(np.quantile(np.concatenate(belong), _MOST_CLIPS))
        limit = _MARGIN * max(furthest, 1.0)
        references[name] = Reference(reference.mean, reference.whitening, limit, max(_MARGIN * usual, limit))
    return OutOfDomainDetector(references)


def _whitened(rows: np.ndarray) -> Reference:
    """Columns by their spread, then directions by theirs."""
    mean = rows.mean(0)
    spread = rows.std(0)
    spread = spread + _LEAST * np.sqrt((spread**2).mean()) + _TINY * np.abs(mean).max() + 1e-12
    scaled = (rows - mean) / spread
    variances, directions = np.linalg.eigh(scaled.T @ scaled / len(rows))
    whitening = directions / np.sqrt(np.maximum(variances, 0) + _RIDGE) / spread[:, None]
    return Reference(mean.astype(np.float32), whitening.astype(np.float32))


def save_detector(path: Path, detector: OutOfDomainDetector, learned: Iterable[int] = ()) -> None:
    """Writes one safetensors file, atomically.

    Args:
        path, detector: what to write where.
        learned: the routines that heads learned from, as `short` names them.
    """
    tensors = {_LEARNED: np.array(sorted(set(learned)), np.uint64)}
    for name, reference in detector.references.items():
        tensors[f"{name}.mean"] = reference.mean
        tensors[f"{name}.whitening"] = np.ascontiguousarray(reference.whitening)
        tensors[f"{name}.limits"] = np.array([reference.limit, reference.clip_limit], np.float32)
    with atomic_write(path) as file:
        file.write(save(tensors))


def short(digest: str) -> int:
    """The beginning of a routine's digest."""
    return int(digest[:16], 16)


def learned_by(path: Path) -> list[int]:
    """The routines that the heads of a bundle learned from, as its detector's file says; empty where it doesn't.

    Raises:
        WeightsError: can't be read.
    """
    cause, hint = "can't be read as a training set's features", "Is the bundle whole?"
    with refusing(WeightsError, cause, path, hint), open_safetensors(path, "numpy") as file:
        if _LEARNED not in file.keys():  # noqa: SIM118 - not a dict
            return []
        found = file.get_slice(_LEARNED)
        if found.get_dtype() != "U64" or len(found.get_shape()) != 1 or found.get_shape()[0] > _MOST_ROUTINES:
            raise ValueError
        return [int(one) for one in file.get_tensor(_LEARNED)]


def load_detector(path: Path) -> OutOfDomainDetector:
    """Reads it back; a file of mlavl 0.1 knows visual features alone, and no limit of clips.

    Raises:
        WeightsError: missing, or not such a file.
    """
    try:
        with open_safetensors(path, "numpy") as file:
            names = [f"{table}.{part}" for table in TABLES for part in _PARTS] + ["mean", "whitening", "limit"]
            there = [name for name in names if name in file.keys()]  # noqa: SIM118 - not a dict
            if any(max(file.get_slice(name).get_shape(), default=0) > _MOST_WIDE for name in there):
                raise ValueError
            tensors = {name: file.get_tensor(name) for name in there}
        if "limit" in tensors:
            limits = np.append(tensors["limit"], np.float32(np.finfo(np.float32).max))
            tensors = {f"visual.{name}": tensors[name] for name in ("mean", "whitening")} | {"visual.limits": limits}
        parts = {name: [tensors[f"{name}.{part}"] for part in _PARTS]
                 for name in TABLES if f"{name}.mean" in tensors}  # fmt: skip
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:  # no bfloat16 in numpy
        raise WeightsError(
            "can't be read as a training set's features", path=path, hint="Is the bundle whole?"
        ) from error
    references = {}
    for name, (mean, whitening, limits) in parts.items():
        if any(tensor.dtype.kind != "f" for tensor in (mean, whitening, limits)):
            raise WeightsError("holds tensors of other kinds than real numbers", path=path)
        if mean.ndim != 1 or whitening.shape != (len(mean), len(mean)) or limits.shape != (2,):
            raise WeightsError("holds tensors of the wrong shapes", path=path)
        if not all(np.isfinite(tensor).all() for tensor in (mean, whitening, limits)) or not (limits > 0).all():
            raise WeightsError("holds NaN or infinity, or limits that nothing meets", path=path)
        references[name] = Reference(mean, whitening, *map(float, limits))
    if not references:
        raise WeightsError("holds nothing of a training set", path=path)
    return OutOfDomainDetector(references)
