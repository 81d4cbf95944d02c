"""A feature store: a folder with one safetensors file a video, written atomically, reused as long as it is good.

`OUT/<path below the input folder>.safetensors` holds `visual` (T, D_v), `audio` (T, D_a) where there is sound,
`picture_statistics` (T, 20) and `sound_statistics` (T, 9), `start_s` and `end_s` (T,); its metadata says how they were
made and of which file. Any safetensors reader opens it.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlavl_cli.backbone import content_of
from mlavl_cli.device import PRECISIONS
from mlavl_cli.errors import FeatureError, UsageError, refusing
from mlavl_cli.features.routine import RoutineFeatures, read_features, write_features
from mlavl_cli.files import refuse_others, refuse_outside, sha256
from mlavl_cli.inputs import Input

SUFFIX = ".safetensors"
_LONGEST = 4096  # letters of a backbone's name
_TAKEN = frozenset(PRECISIONS) - {"int8"}  # where nobody asks for one


class FeatureStore:
    """Features of many videos in one folder.

    Raises:
        UsageError: it lies behind a link of another user in a folder that others write to.
    """

    def __init__(self, folder: Path):
        with refusing(UsageError, "can't be used", folder, "Name another."):
            refuse_others(folder)
        self.folder = folder

    def path(self, source: Input) -> Path:
        return self.folder / source.name.parent / (source.name.name + SUFFIX)

    def get(self, source: Input, wanted: dict[str, Any]) -> RoutineFeatures | None:
        """The stored features if they were made from this very file as `wanted` says, else None.

        Precision "auto" is content with any but int8, which is never taken by itself. A damaged entry counts as none:
        it will be made again.
        """
        try:
            features = self._read(source)
        except (FeatureError, OSError):
            return None
        made = dict(features.provenance)
        origin = made.pop("source", None)
        if not _names_backbones(made.get("backbones")):
            return None
        if wanted["precision"] == "auto" and made.get("precision") in _TAKEN:
            wanted = {**wanted, "precision": made["precision"]}
        try:
            if _meant(made) != _meant(json.loads(json.dumps(wanted))) or not _same_file(source.path, origin):
                return None
        except (OSError, RecursionError):  # the video can't be read, which reading it reports; or nested without end
            return None
        return replace(features, video=replace(features.video, path=str(source.path)))

    def find(self, source: Input) -> RoutineFeatures | None:
        """Features of this very file, whichever backbones made them, under its name or a shorter one: whoever extracts
        a folder and whoever lists its videos in a csv beside it name them differently.
        """
        parts = source.name.parts
        for first in range(len(parts)):
            try:
                features = self._read(replace(source, name=Path(*parts[first:])))
                if _same_file(source.path, features.provenance.get("source")):
                    return replace(features, video=replace(features.video, path=str(source.path)))
            except (FeatureError, OSError, RecursionError):
                continue
        return None

    def _read(self, source: Input) -> RoutineFeatures:
        refuse_others(self.path(source))
        return read_features(self.path(source))

    def put(self, source: Input, features: RoutineFeatures) -> Path:
        """Stores features and returns their file.

        Raises:
            MlavlError: the folder can't be written, or leads out of the store.
        """
        path = self.path(source)
        refuse_outside(path, self.folder)
        write_features(path, replace(features, provenance={**features.provenance, "source": _fingerprint(source.path)}))
        return path


def _names_backbones(known: Any) -> bool:
    """Whether each backbone has a name that can be shown with the score."""
    rows = known.values() if isinstance(known, dict) else [None]
    return all(
        isinstance(one, dict) and isinstance(name := one.get("id"), str) and len(name) <= _LONGEST for one in rows
    )


def _meant(provenance: dict[str, Any]) -> dict[str, Any]:
    """Provenance as two extractions are compared by: a folder's backbone is its files, whatever it is called."""
    known = provenance.get("backbones")
    if not isinstance(known, dict) or not all(isinstance(one, dict) for one in known.values()):
        return provenance
    return {**provenance, "backbones": {role: content_of(one) for role, one in known.items()}}


def _fingerprint(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "sha256": sha256(path),
    }


def _same_file(path: Path, origin: Any) -> bool:
    """By size and times; where a time differs (a copied folder, a file put in another's place), by content.

    A file's time of modification can be set to anything, its inode's time of change can't.
    """
    status = path.stat()
    if not isinstance(origin, dict) or status.st_size != origin.get("size"):
        return False
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return times == (origin.get("mtime_ns"), origin.get("ctime_ns")) or sha256(path) == origin.get("sha256")
