"""Fis-V and RG on disk: one pickled dict {ID: (T, D)} a modality, and whitespace tables of scores.

Fis-V   ROOT/
            FISV_rgb_VST.npy, FISV_audio_AST.npy   {ID: (T, 1024)}, {ID: (T, 768)}
            FISV_flow_I3D.npy                      {ID: (T, 1024)} of optical flow, where it is there
            train.txt, test.txt                    ID TES PCS, with or without a line of headings
RG      ROOT/
            Ball_rgb_VST.npy, Ball_audio_AST.npy   the same, Ball_flow_I3D.npy too; so for Clubs, Hoop, Ribbon
            train.txt, test.txt                    ID (Apparatus_NNN) Difficulty_Score Execution_Score Total_Score
"""

from pathlib import Path
from typing import Any

import numpy as np

from mlavl_cli.datasets.dataset import Dataset, Routine, dataset_of, read_rows, routine
from mlavl_cli.datasets.public import FISV, RG
from mlavl_cli.datasets.unpickle import read_pickle
from mlavl_cli.errors import DataError
from mlavl_cli.files import stored_bytes

_WIDEST = 8  # bytes of features for each byte of their file: 4 where it holds single bytes


def load_fisv(root: Path) -> Dataset:
    """Reads Fis-V.

    Raises:
        DataError: a file is missing or doesn't fit.
    """
    features = _Features(root, "FISV")
    splits = {
        split: [
            features.routine(row[0], {"TES": float(row[1]), "PCS": float(row[2])})
            for row in read_rows(root / f"{split}.txt", ("TES", "PCS"))
        ]
        for split in ("train", "test")
    }
    return dataset_of(FISV, splits, FISV.ranges, [])


def load_rg(root: Path) -> Dataset:
    """Reads RG: each apparatus is a target of its own, with routines of its own; "all" is that of all of them.

    Raises:
        DataError: a file is missing or doesn't fit.
    """
    there = [name for name in RG.ranges if (root / f"{name}_rgb_VST.npy").exists()]
    if not there:
        raise DataError("holds no Ball_rgb_VST.npy, nor of another apparatus", path=root)
    features = {name: _Features(root, name) for name in there}
    combined = RG.combined or "all"
    splits: dict[str, list[Routine]] = {}
    for split in ("train", "test"):
        splits[split] = []
        for row in read_rows(root / f"{split}.txt", ("Difficulty", "Execution", "Total")):
            apparatus = row[0].split("_")[0]
            if apparatus not in RG.ranges:
                raise DataError(f"{row[0]} is of no apparatus known", path=root / f"{split}.txt")
            if apparatus in features:
                total = float(row[3])
                splits[split].append(features[apparatus].routine(row[0], {apparatus: total, combined: total}))
    ranges = {name: RG.ranges[name] for name in there} | {combined: RG.ranges[there[0]]}
    return dataset_of(RG, splits, ranges, [])


class _Features:
    """All modalities' features by id."""

    def __init__(self, root: Path, prefix: str):
        self.taken: dict[Path, int] = {}  # bytes of the features that were read
        paths = {name: root / f"{prefix}_{name}.npy" for name in ("rgb_VST", "audio_AST", "flow_I3D")}
        self.by_path = {path: self._read(path) for name, path in paths.items() if name[0] != "f" or path.exists()}

    @staticmethod
    def _read(path: Path) -> dict[str, np.ndarray]:
        found = read_pickle(path)
        if not isinstance(found, dict) or not found:
            raise DataError("holds no dict of features by id", path=path)
        return found

    def routine(self, id: str, scores: dict[str, float]) -> Routine:
        arrays: list[np.ndarray] = []
        for path, features in self.by_path.items():
            if id not in features:
                raise DataError(f"has no features of {id}", path=path, hint="Do labels and features belong together?")
            try:
                self.taken[path] = self.taken.get(path, 0) + 4 * _numbers_in(features[id])
                if self.taken[path] > _WIDEST * stored_bytes(path):
                    raise DataError("names the same features by many ids", path=path)
                with np.errstate(over="ignore"):  # what float32 can't hold is infinity, which is refused
                    arrays.append(np.asarray(features[id]).astype(np.float32, casting="same_kind"))
            except (ValueError, TypeError) as error:
                raise DataError(f"features of {id} are no array of numbers", path=path) from error
        visual, audio, *flow = arrays
        return routine(id, visual, audio, scores, next(iter(self.by_path)), flow[0] if flow else None)


def _numbers_in(value: Any) -> int:
    """How many numbers an array, or a list of lists or of arrays, would become; TypeError where it holds others."""
    if isinstance(value, list | tuple):
        return sum(map(_numbers_in, value))
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        return value.size
    if not isinstance(value, int | float):
        raise TypeError("no number")
    return 1
