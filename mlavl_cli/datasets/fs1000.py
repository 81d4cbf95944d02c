"""FS1000 on disk: one file of features a routine, seven scores a line.

ROOT/
    output_feature_fs1000_new/ID.npy   (T, K, 768), averaged over K but for methods that mix tokens
    ast_feature_fs1000_new/ID.npy      (T, 768); cut, or up to half of it filled with zeros, to the T of the pictures
    train_fs1000_new.txt               ID TES PCS SS TR PE CO IN FACTOR, of which PCS is divided by FACTOR
    val_fs1000_new.txt                 the same; the test split

Where FACTOR is missing a routine has no PCS.
"""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mlavl_cli.datasets.budget import Budget
from mlavl_cli.datasets.dataset import Dataset, Routine, dataset_of, read_rows, refuse_shared, routine
from mlavl_cli.datasets.public import FS1000
from mlavl_cli.datasets.unpickle import read_array
from mlavl_cli.errors import DataError
from mlavl_cli.heads.dims import MOST_TOKENS
from mlavl_cli.untrusted import plain_name

_VISUAL, _AUDIO = "output_feature_fs1000_new", "ast_feature_fs1000_new"
_MOST_SPARE = 1  # clips by which a routine's sound may differ without a word


def load_fs1000(root: Path) -> Dataset:
    """Reads FS1000.

    Raises:
        DataError: a file is missing or doesn't fit.
    """
    notes: list[str] = []
    budget = Budget(root)
    splits = {
        split: _read_split(root, f"{name}_fs1000_new.txt", notes, budget)
        for split, name in (("train", "train"), ("test", "val"))
    }
    known = {target for routine in splits["train"] for target in routine.scores}
    ranges = {target: points for target, points in FS1000.ranges.items() if target in known}
    return dataset_of(FS1000, splits, ranges, notes)


def _read_split(root: Path, name: str, notes: list[str], budget: Budget) -> list[Routine]:
    routines, targets, uneven, bare = [], list(FS1000.ranges), [], []
    rows = read_rows(root / name, targets)
    for folder in (_VISUAL, _AUDIO):
        refuse_shared((root / folder / f"{plain_name(row[0], 'a routine')}.npy" for row in rows), root / name)
    for row in rows:
        id = plain_name(row[0], "a routine")
        scores = {target: float(cell) for target, cell in zip(targets, row[1:], strict=False)}
        factor = _factor(row[1 + len(targets) :], id, root / name)
        if factor is None:
            del scores["PCS"]
            bare.append(id)
        else:
            scores["PCS"] /= factor
        path = root / _VISUAL / f"{id}.npy"
        seen = read_array(path)
        if 0 in seen.shape or (seen.ndim == 3 and not seen.shape[1] <= MOST_TOKENS):
            raise DataError(f"{id}: visual features have shape {seen.shape}, not (clips, tokens, width)", path=path)
        visual = seen.mean(axis=1) if seen.ndim == 3 else seen
        audio = read_array(root / _AUDIO / f"{id}.npy")
        budget.count(path, seen)  # whichever of them a method reads
        budget.count(root / _AUDIO / f"{id}.npy", audio)
        if visual.ndim == audio.ndim == 2 and len(audio):
            if abs(len(audio) - len(visual)) > _MOST_SPARE:
                uneven.append(f"{id} ({len(visual)} and {len(audio)})")
            if 2 * len(audio) < len(visual):
                raise DataError(f"{id} has {len(visual)} clips of pictures and {len(audio)} of sound", path=path)
            audio = _of_length(audio, len(visual))
        tokens = partial(read_array, path) if seen.ndim == 3 and seen.shape[1] > 1 else None
        routines.append(replace(routine(id, visual, audio, scores, path), tokens=tokens))
    if uneven:
        listed = ", ".join(uneven[:5])
        notes.append(f"{name}: {len(uneven)} routines have other numbers of clips in picture and sound: {listed}")
    if bare:
        notes.append(f"{name}: {len(bare)} routines have no FACTOR, and so no PCS")
    return routines


def _of_length(audio: np.ndarray, clips: int) -> np.ndarray:
    """(T_a, D) cut, or filled with zeros, to (clips, D), as the official code does with either modality."""
    return np.pad(audio[:clips], ((0, max(0, clips - len(audio))), (0, 0)))


def _factor(cells: list[str], id: str, path: Path) -> float | None:
    if not cells:
        return None
    try:
        factor = float(cells[0])
    except ValueError as error:
        raise DataError(f"the factor of {id} is {cells[0]!r}, no number", path=path) from error
    if not 0 < factor < math.inf:
        raise DataError(f"{id} has factor {factor}", path=path)
    return factor
