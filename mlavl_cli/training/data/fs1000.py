"""FS1000 on disk: one file of features a routine, seven scores a line.

output_feature_fs1000_new/ID.npy   (T, K, 768), averaged over K
ast_feature_fs1000_new/ID.npy      (T, 768)
train_fs1000_new.txt, val_fs1000_new.txt    ID TES PCS SS TR PE CO IN FACTOR, of which PCS is divided by FACTOR
"""

from pathlib import Path

from mlavl_cli.errors import DataError
from mlavl_cli.training.data.dataset import Dataset, Routine, read_rows, routine
from mlavl_cli.training.data.unpickle import read_array
from mlavl_cli.untrusted import plain_name

TARGETS = ("TES", "PCS", "SS", "TR", "PE", "CO", "IN")
RANGES = {"TES": (0.0, 130.0), "PCS": (0.0, 60.0)} | dict.fromkeys(TARGETS[2:], (0.0, 10.0))
PUBLISHED = {
    "TES": (0.92, 64.89), "PCS": (0.89, 6.39), "SS": (0.90, 0.23), "TR": (0.90, 0.24), "PE": (0.88, 0.50),
    "CO": (0.89, 0.25), "IN": (0.88, 0.26), "average": (0.90, 10.39),
}  # fmt: skip


def load_fs1000(root: Path) -> Dataset:
    """Reads FS1000.

    Raises:
        DataError: a file is missing or doesn't fit.
    """
    splits = {
        split: _read_split(root, f"{name}_fs1000_new.txt") for split, name in (("train", "train"), ("test", "val"))
    }
    return Dataset("FS1000", "skating", "fs1000", splits, RANGES, window=95, published=PUBLISHED)


def _read_split(root: Path, name: str) -> list[Routine]:
    routines = []
    for row in read_rows(root / name, columns=9):
        id, values, factor = row[0], [float(cell) for cell in row[1:8]], float(row[8])
        if factor <= 0:
            raise DataError(f"{id} has factor {factor}", path=root / name)
        scores = dict(zip(TARGETS, values, strict=True))
        scores["PCS"] /= factor
        path = root / "output_feature_fs1000_new" / f"{plain_name(id, 'a routine')}.npy"
        visual = read_array(path)
        visual = visual.mean(axis=1) if visual.ndim == 3 else visual
        audio = read_array(root / "ast_feature_fs1000_new" / f"{id}.npy")
        routines.append(routine(id, visual, audio, scores, path))
    return routines
