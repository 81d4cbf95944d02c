"""LOGO on disk: visual features only, whole routines, and pickled annotations.

ROOT/
    ANNOTATIONS/anno_dict.pkl                  {(event, id): score, or a sequence or array whose second entry is it,
                                               or a dict that calls it "score"}
    ANNOTATIONS/train*.pkl, test*.pkl          [(event, id), ...]
    FEATURES/EVENT/ID.npy                      (T, D); also ID.npy and EVENT_ID.npy

ANNOTATIONS and FEATURES are folders of any name, up to two levels below ROOT, or ROOT itself.
"""

import os
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mlavl_cli.datasets.budget import Budget
from mlavl_cli.datasets.dataset import Dataset, Routine, dataset_of, refuse_repeated, refuse_shared, routine
from mlavl_cli.datasets.public import LOGO
from mlavl_cli.datasets.unpickle import read_array, read_pickle
from mlavl_cli.errors import DataError, refusing
from mlavl_cli.untrusted import plain_name

_ANNOTATIONS = "anno_dict.pkl"
_MOST_FOLDERS = 200  # each is listed
_LONGEST_NAME = 255  # letters of an event or an id: of a file's name
_SCORE_KEYS = ("score", "final_score", "total_score", "total")


def load_logo(root: Path) -> Dataset:
    """Reads LOGO, whose score is out of 100.

    Raises:
        DataError: a file is missing or doesn't fit.
    """
    if not root.is_dir():
        raise DataError("no such folder", path=root, hint="See `mlavl train --help` for the layout.")
    folders = [root, *_below(root), *(deeper for folder in _below(root) for deeper in _below(folder))]
    if len(folders) > _MOST_FOLDERS:
        raise DataError(f"holds {len(folders)} folders", path=root, hint="Name the folder of LOGO itself.")
    source = next((folder / _ANNOTATIONS for folder in folders if (folder / _ANNOTATIONS).is_file()), None)
    if source is None:
        hint = "See `mlavl train --help` for the layout."
        raise DataError(f"holds no {_ANNOTATIONS}, and no folder in it does", path=root, hint=hint)
    annotations = read_pickle(source)
    if not isinstance(annotations, dict):
        raise DataError("holds no dict of annotations", path=source)
    annotations = {_key(key): annotation for key, annotation in annotations.items() if _is_key(key)}
    budget = Budget(root)
    there = _Files(folders, annotations)
    splits = {split: _read_split(there, split, source, annotations, budget) for split in ("train", "test")}
    return dataset_of(LOGO, splits, LOGO.ranges, [])


def _below(folder: Path) -> list[Path]:
    with refusing(DataError, "can't be searched", folder, "Check its permissions."):
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _read_split(
    there: "_Files", split: str, source: Path, annotations: dict[tuple[str, str], Any], budget: Budget
) -> list[Routine]:
    name = f"{split}*.pkl"
    found = sorted(source.parent.glob(name)) or sorted(path for folder in there.folders for path in folder.glob(name))
    if len(found) != 1:
        raise DataError(f"holds {len(found)} files {name}, where one split is needed", path=source.parent)
    with refusing(DataError, "holds no list of (event, id)", found[0]):
        keys = read_pickle(found[0])
        if odd := [key for key in keys if not _is_key(key)]:
            raise DataError(f"holds {odd[0]!r:.40}, which is no (event, id)", path=found[0])
        keys = [_key(key) for key in keys]
        refuse_repeated(keys, found[0])
        places = {key: _place(key, there, found[0], annotations) for key in keys}
        refuse_repeated([str(path) for path in places.values()], found[0])
        refuse_shared(places.values(), found[0])
        return [_routine(key, path, source, annotations, budget) for key, path in places.items()]


def _is_key(key: Any) -> bool:
    return isinstance(key, tuple | list | np.ndarray) and len(key) == 2 and all(map(_is_name, key))


def _is_name(part: Any) -> bool:
    if isinstance(part, str):
        return len(part) <= _LONGEST_NAME
    return isinstance(part, int | float | np.integer | np.floating) and abs(float(part)) < 1e18


def _key(key: Any) -> tuple[str, str]:
    """Event and id as words: other keys can be made so that each is compared with all others."""
    event, id = (int(part) if isinstance(part, float) and part.is_integer() else part for part in key)
    return str(event), str(id)


class _Files:
    """What lies in some folders and in theirs, each listed once: whoever asks for each file by its name asks long."""

    def __init__(self, folders: list[Path], keys: Iterable[tuple[str, str]]):
        """Of the keys it is known which events there are, and how many of them have a routine of each id."""
        keys = list(keys)
        self.folders, self.events = folders, {event for event, _ in keys}
        self.events_with = Counter(id for _, id in keys)
        self.holders: dict[str, list[Path]] = {}  # of a name, the folders with it
        for folder in folders:
            for name in _names(folder):
                self.holders.setdefault(name, []).append(folder)
        self._by_event: dict[str, dict[str, Path]] = {}

    def named(self, name: str, others: Container[str] = ()) -> Path | None:
        """The one file of this name, outside folders of these other names.

        Raises:
            DataError: there are several.
        """
        found = [folder for folder in self.holders.get(name, ()) if folder.name not in others]
        if len(found) > 1:
            raise self._several(name, found)
        return found[0] / name if found else None

    def _several(self, what: str, folders: Iterable[Path]) -> DataError:
        cause = f"there are features of {what:.60} in {' and in '.join(map(str, folders)):.600}"
        return DataError(cause, path=self.folders[0], hint="Leave those of one extractor below it.")

    def find(self, event: str, name: str) -> Path | None:
        """EVENT/NAME below one of the folders.

        Raises:
            DataError: several hold features of this event, perhaps of different backbones.
        """
        if event not in self._by_event:
            found = {folder: _names(folder / event) for folder in self.holders.get(event, ())}
            found = {folder: names for folder, names in found.items() if any(name.endswith(".npy") for name in names)}
            if len(found) > 1:
                raise self._several(event, found)
            self._by_event[event] = {name: folder / event / name for folder, names in found.items() for name in names}
        return self._by_event[event].get(name)


def _names(folder: Path) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)  # noqa: PTH208
    return []


def _place(key: tuple[str, str], there: _Files, split: Path, annotations: dict[tuple[str, str], Any]) -> Path:
    """The file of a routine's features."""
    if key not in annotations:
        raise DataError(f"names {key!s:.60}, which has no annotation", path=split)
    event, id = (plain_name(part, "an event or a routine") for part in key)
    if path := there.find(event, f"{id}.npy"):
        return path
    if path := there.named(f"{event}_{id}.npy"):
        return path
    # Events number their routines anew: what lies in another's folder, or may be another's, is not this one.
    if there.events_with[key[1]] == 1 and (path := there.named(f"{id}.npy", there.events)):
        return path
    return there.folders[0] / event / f"{id}.npy"


def _routine(
    key: tuple[str, str], path: Path, source: Path, annotations: dict[tuple[str, str], Any], budget: Budget
) -> Routine:
    name = f"{key[0]}/{key[1]}"
    score = _score(annotations[key], name, source)
    visual = read_array(path)
    budget.count(path, visual)
    return routine(name, visual, None, {"LOGO": score}, path)


def _score(annotation: Any, name: str, path: Path) -> float:
    try:
        if isinstance(annotation, dict):
            annotation = next(annotation[key] for key in _SCORE_KEYS if key in annotation)
        if isinstance(annotation, str | bytes | bytearray):
            return float(annotation)
        if isinstance(annotation, np.ndarray) and annotation.dtype.itemsize == 1:  # truths, or the letters of a text
            raise TypeError
        if isinstance(annotation, Sequence) or (isinstance(annotation, np.ndarray) and annotation.ndim):
            annotation = annotation[1]
        if isinstance(annotation, bool | np.bool_):
            raise TypeError
        return float(annotation)
    except (TypeError, ValueError, IndexError, StopIteration) as error:
        raise DataError(f"no score in the annotation of {name}", path=path) from error
