"""LOGO on disk: visual features only, and pickled annotations.

ID.npy (T, D), also found as EVENT_ID.npy or EVENT/ID.npy
anno_dict.pkl         {(event, id): score, or a sequence whose second entry is the score}
train*.pkl, test*.pkl [(event, id), ...]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlavl_cli.errors import DataError
from mlavl_cli.training.data.dataset import Dataset, Routine, routine
from mlavl_cli.training.data.unpickle import read_array, read_pickle
from mlavl_cli.untrusted import plain_name

# The visual-only methods of the paper's table 4: SRCC of the method as it is, and with MAG2.
TABLE_4 = {
    "MS-LSTM": (0.542, 0.582), "USDL": (0.762, 0.804), "GDLT": (0.647, 0.654), "CoRe": (0.697, 0.723),
    "TPT": (0.589, 0.621), "HGCN": (0.541, 0.640), "T2CR": (0.681, 0.699), "CoFInAl": (0.661, 0.708),
    "QTD": (0.698, 0.729),
}  # fmt: skip


def load_logo(root: Path) -> Dataset:
    """Reads LOGO, whose score is out of 100.

    Raises:
        DataError: a file is missing or doesn't fit.
    """
    annotations = read_pickle(root / "anno_dict.pkl")
    if not isinstance(annotations, dict):
        raise DataError("holds no dict of annotations", path=root / "anno_dict.pkl")
    splits = {split: _read_split(root, split, annotations) for split in ("train", "test")}
    return Dataset("LOGO", "swimming", "fisv", splits, {"LOGO": (0.0, 100.0)}, window=48)


def _read_split(root: Path, split: str, annotations: dict[Any, Any]) -> list[Routine]:
    found = sorted(root.glob(f"{split}*.pkl"))
    if len(found) != 1:
        raise DataError(f"holds {len(found)} files {split}*.pkl, where one split is needed", path=root)
    routines = []
    for key in read_pickle(found[0]):
        if not (isinstance(key, Sequence) and len(key) == 2):
            raise DataError(f"holds {key!r}, which is no (event, id)", path=found[0])
        key = tuple(key)
        if key not in annotations:
            raise DataError(f"names {key}, which has no annotation", path=found[0])
        event, id = (plain_name(str(part), "an event or a routine") for part in key)
        paths = [root / f"{id}.npy", root / f"{event}_{id}.npy", root / event / f"{id}.npy"]
        path = next((path for path in paths if path.exists()), paths[0])
        name = f"{event}/{id}"
        score = _score(annotations[key], name, root / "anno_dict.pkl")
        routines.append(routine(name, read_array(path), None, {"LOGO": score}, path))
    return routines


def _score(annotation: Any, name: str, path: Path) -> float:
    try:
        return float(annotation if not isinstance(annotation, Sequence) else annotation[1])
    except (TypeError, ValueError, IndexError) as error:
        raise DataError(f"no score in the annotation of {name}", path=path) from error
