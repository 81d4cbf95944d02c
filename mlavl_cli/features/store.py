"""A feature store: a folder with one safetensors file a video, written atomically, reused as long as it is good.

`OUT/<path below the input folder>.safetensors` holds `visual` (T, D_v), `audio` (T, D_a) where there is sound,
`picture_statistics` (T, 20) and `sound_statistics` (T, 9), `start_s` and `end_s` (T,); its metadata says how they were
made and of which file. Any safetensors reader opens it.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from mlavl_cli.backbone import content_of
from mlavl_cli.device import PRECISIONS
from mlavl_cli.errors import FeatureError, one_line
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.statistics import PICTURE_STATISTICS, SOUND_STATISTICS
from mlavl_cli.files import atomic_write, refuse_outside, sha256
from mlavl_cli.inputs import Input
from mlavl_cli.media.decode import VideoInfo
from mlavl_cli.untrusted import open_safetensors

SUFFIX = ".safetensors"
_METADATA = "mlavl"  # one key: safetensors writes several in random order, and stores should compare byte for byte
_TIMES = ("start_s", "end_s")
_MOST_NUMBER = 1e7  # of seconds, frames a second and pixels: a hundred days
_LEAST_FPS = 1e-6
_MOST_WARNINGS, _LONGEST_WARNING = 1000, 4096
_TABLES = ("visual", "audio", "picture_statistics", "sound_statistics", "flow", "tokens")
_MOST_CLIPS, _MOST_WIDE, _MOST_TOKENS = 100_000, 4096, 64
_WIDTHS = {"picture_statistics": PICTURE_STATISTICS, "sound_statistics": SOUND_STATISTICS}
_LATE_S = 1.0  # a clip may end so much behind the end of its video, which is rounded


class FeatureStore:
    """Features of many videos in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, source: Input) -> Path:
        return self.folder / source.name.parent / (source.name.name + SUFFIX)

    def get(self, source: Input, wanted: dict[str, Any]) -> RoutineFeatures | None:
        """The stored features if they were made from this very file as `wanted` says, else None.

        Precision "auto" is content with any. A damaged entry counts as none: it will be made again.
        """
        try:
            features = read_features(self.path(source))
        except (FeatureError, FileNotFoundError):
            return None
        made = dict(features.provenance)
        origin = made.pop("source", None)
        if wanted["precision"] == "auto" and made.get("precision") in PRECISIONS:
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
                features = read_features(self.path(replace(source, name=Path(*parts[first:]))))
                if _same_file(source.path, features.provenance.get("source")):
                    return replace(features, video=replace(features.video, path=str(source.path)))
            except (FeatureError, OSError, RecursionError):
                continue
        return None

    def put(self, source: Input, features: RoutineFeatures) -> Path:
        """Stores features and returns their file.

        Raises:
            MlavlError: the folder can't be written, or leads out of the store.
        """
        path = self.path(source)
        refuse_outside(path, self.folder)
        write_features(path, replace(features, provenance={**features.provenance, "source": _fingerprint(source.path)}))
        return path


def _meant(provenance: dict[str, Any]) -> dict[str, Any]:
    """Provenance as two extractions are compared by: a folder's backbone is its files, whatever it is called."""
    known = provenance.get("backbones")
    if not isinstance(known, dict) or not all(isinstance(one, dict) for one in known.values()):
        return provenance
    return {**provenance, "backbones": {role: content_of(one) for role, one in known.items()}}


def write_features(path: Path, features: RoutineFeatures) -> None:
    """One safetensors file, whole or not at all; the same features give the same bytes."""
    arrays = {**features.tables(), **{name: getattr(features, name) for name in _TIMES}}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {
        "video": {**vars(features.video), "path": Path(features.video.path).name},  # without the user's folders
        "provenance": features.provenance,
        "warnings": features.warnings,
        "checksum": _checksum(arrays),
    }
    with atomic_write(path) as file:
        file.write(save(arrays, metadata={_METADATA: json.dumps(metadata, sort_keys=True)}))


def read_features(path: Path) -> RoutineFeatures:
    """Reads one file of a store.

    Raises:
        FileNotFoundError: there is none.
        FeatureError: it is damaged or not a feature file.
    """
    hint = "Delete it and extract again."
    try:
        with open_safetensors(path, "np") as file:
            metadata = json.loads((file.metadata() or {})[_METADATA])
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - not a dict
            if shapes.keys() - {*_TABLES, *_TIMES} or not _is_of_a_routine(shapes):
                raise TypeError("arrays of other kinds")
            arrays = {name: file.get_tensor(name) for name in shapes}
        if any(a.dtype != (np.float64 if name in _TIMES else np.float32) for name, a in arrays.items()):
            raise TypeError("arrays of other kinds")
        if _checksum(arrays) != metadata["checksum"]:
            raise FeatureError("is damaged: its checksum doesn't fit", path=path, hint=hint)
        video, provenance, warnings = VideoInfo(**metadata["video"]), metadata["provenance"], metadata["warnings"]
        words = isinstance(provenance, dict) and isinstance(provenance.get("precision", ""), str)
        if not (_is_video(video) and words and _are_warnings(warnings)):
            raise TypeError("metadata of other kinds")
        if arrays["end_s"].size and float(arrays["end_s"][-1]) > video.duration_s + _LATE_S:
            raise ValueError("clips behind the end of their video")
        arrays = {"audio": None, **arrays}
        return RoutineFeatures(**arrays, video=video, provenance=provenance, warnings=tuple(map(one_line, warnings)))
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FeatureError("is no feature file, or a damaged one", path=path, hint=hint) from error


def _are_warnings(value: Any) -> bool:
    """A list of as many texts, of such lengths, as one video causes."""
    few = isinstance(value, list) and len(value) <= _MOST_WARNINGS
    return few and all(isinstance(text, str) and len(text) <= _LONGEST_WARNING for text in value)


def _is_of_a_routine(shapes: dict[str, list[int]]) -> bool:
    """As many clips as a day has at the most, no wider than any backbone makes them."""

    def is_one(name: str, shape: list[int]) -> bool:
        widths = shape[1:]
        if name == "tokens" and not (widths and widths[0] <= _MOST_TOKENS):
            return False
        known = name not in _WIDTHS or widths == [_WIDTHS[name]]
        return bool(shape) and shape[0] <= _MOST_CLIPS and max(widths, default=0) <= _MOST_WIDE and known

    return all(is_one(name, shape) for name, shape in shapes.items())


def _is_video(video: VideoInfo) -> bool:
    words = isinstance(video.path, str) and isinstance(video.has_audio, bool)
    sides = all(type(side) is int and 1 <= side <= _MOST_NUMBER for side in (video.width_px, video.height_px))
    times = isinstance(video.duration_s, int | float) and 0 <= video.duration_s <= _MOST_NUMBER
    return words and sides and times and isinstance(video.fps, int | float) and _LEAST_FPS <= video.fps <= _MOST_NUMBER


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape};".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


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
