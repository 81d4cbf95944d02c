"""RoutineFeatures: what the backbones saw and heard in one routine, the value that heads score; and its file.

A safetensors file, which stores hold, has all of it; npz is for other tools.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from mlavl_cli.bundle import is_frame_rate
from mlavl_cli.errors import FeatureError, one_line
from mlavl_cli.features.arrays import (
    ARRAYS,
    MOST_CLIPS,
    MOST_TOKENS,
    MOST_WIDE,
    TABLES,
    TIMES,
    read_arrays,
    wrong_tables,
)
from mlavl_cli.features.statistics import PICTURE_STATISTICS, SOUND_STATISTICS
from mlavl_cli.files import atomic_write
from mlavl_cli.media.cutting import FRAMES_PER_CLIP
from mlavl_cli.media.decode import VideoInfo
from mlavl_cli.untrusted import open_safetensors

_METADATA = "mlavl"  # one key: safetensors writes several in random order, and stores should compare byte for byte
_MOST_NUMBER = 1e7  # of seconds, frames a second and pixels: a hundred days
_LEAST_FPS = 1e-6
_MOST_WARNINGS, _LONGEST_WARNING = 1000, 4096
_WIDTHS = {"picture_statistics": PICTURE_STATISTICS, "sound_statistics": SOUND_STATISTICS}
_LATE_S = 1.0  # a clip may end so much behind the end of its video, which is rounded


@dataclass(frozen=True, repr=False)
class RoutineFeatures:
    """Features of one routine of T clips. Arrays of other precision and tensors are made float32 arrays.

    Attributes:
        visual: (T, D_v) float32.
        audio: (T, D_a) float32, or None for a video without sound.
        start_s, end_s: (T,) float64, seconds from the start of the video.
        video: the file they come from.
        provenance: how they were made; what decides whether stored features are still good.
        warnings: what a user should know about this file.
        picture_statistics, sound_statistics: (T, 20) and (T, 9) float32, by which other kinds of video are detected
            (statistics.py); None where they weren't taken.
        flow: (T, D_f) float32 of optical flow, which other tools make, or None.
        tokens: (T, K, D_v) float32, the K visual tokens a clip of which `visual` is the mean; of other tools, or None.

    Raises:
        FeatureError: shapes that disagree, times that don't increase, NaN or infinity.
    """

    visual: np.ndarray
    audio: np.ndarray | None
    start_s: np.ndarray
    end_s: np.ndarray
    video: VideoInfo
    provenance: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    picture_statistics: np.ndarray | None = None
    sound_statistics: np.ndarray | None = None
    flow: np.ndarray | None = None
    tokens: np.ndarray | None = None

    def __post_init__(self) -> None:
        def refuse(cause: str) -> None:
            raise FeatureError(cause, path=self.video.path, hint="Extract its features again.")

        try:
            for name in (*TABLES, *TIMES):
                if (rows := getattr(self, name)) is not None:
                    object.__setattr__(self, name, _array(rows, np.float64 if name in TIMES else np.float32))
        except (TypeError, ValueError, RuntimeError) as error:
            refuse(f"{name} is no array of numbers ({one_line(str(error))[:100]})")
        count = len(self.visual)
        if wrong := wrong_features(self.tables()):
            refuse(wrong)
        if self.start_s.shape != (count,) or self.end_s.shape != (count,):
            refuse("as many clip times as clips are needed")
        if not ((self.end_s > self.start_s).all() and (self.start_s[1:] >= self.end_s[:-1]).all()):
            refuse("clip times don't increase")
        if not (self.start_s[0] >= 0 and self.end_s[-1] <= _MOST_NUMBER):
            refuse("clips begin before the video does, or end after months")

    def tables(self) -> dict[str, np.ndarray]:
        """All that is known of each clip: (T, width) by name, (T, K, width) of tokens."""
        return {name: rows for name in TABLES if (rows := getattr(self, name)) is not None}

    @property
    def clips(self) -> int:
        return len(self.visual)

    @property
    def frame_rate(self) -> float | None:
        """Frames a second at which its clips were cut; None: not known."""
        cutting = self.provenance.get("cutting")
        if not isinstance(cutting, dict):
            return None
        rate = cutting.get("frame_rate") or self.video.fps
        return float(rate) if is_frame_rate(rate) else None

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {rows.shape}" for name, rows in self.tables().items())
        return f"RoutineFeatures({one_line(Path(self.video.path).name)}: {shapes})"

    def save(self, path: str | Path) -> None:
        """Writes them whole: as `.npz`, arrays by name, else as safetensors with all that is known of their making."""
        path = Path(path)
        if path.suffix != ".npz":
            write_features(path, self)
            return
        arrays: dict[str, Any] = {**self.tables(), **{name: getattr(self, name) for name in TIMES}}
        with atomic_write(path) as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | Path, clip_s: float | None = None) -> "RoutineFeatures":
        """What `save` wrote; or arrays of another tool, `.npy`, `.npz` or `.pt` (arrays.py).

        Args:
            path: the file.
            clip_s: seconds a clip lasts, where the file doesn't say when its clips begin and end.

        Raises:
            FeatureError: it isn't there, holds something else, or no times and `clip_s` isn't given.
        """
        path = Path(path)
        if not path.exists():
            raise FeatureError("no such feature file", path=path)
        if path.suffix.lower() not in ARRAYS:
            return read_features(path)
        tables: dict[str, Any] = {"audio": None, **read_arrays(path)}
        if clip_s is not None and not tables.keys() & set(TIMES):
            if not isinstance(clip_s, int | float) or not 0 < clip_s <= _MOST_NUMBER:
                raise FeatureError(f"a clip of {clip_s!r:.40} seconds is none", path=path)
            edges = np.arange(len(tables["visual"]) + 1) * float(clip_s)  # a clip ends where the next one begins
            tables["start_s"], tables["end_s"] = edges[:-1], edges[1:]
        if not set(TIMES) <= tables.keys():
            raise FeatureError("doesn't say when its clips begin and end", path=path, hint="Give clip_s.")
        rate = FRAMES_PER_CLIP / max(float(tables["end_s"][0] - tables["start_s"][0]), 1e-3)
        video = VideoInfo(str(path), float(tables["end_s"][-1]), rate, 1, 1, tables["audio"] is not None)
        return cls(**tables, video=video)


def wrong_features(tables: dict[str, np.ndarray]) -> str | None:
    """What keeps tables from being those of one routine's clips; None if nothing does."""
    odd = (f"{name} of width {tables[name].shape[-1]}, not {width}" for name, width in _WIDTHS.items()
           if name in tables and tables[name].shape[-1:] != (width,))  # fmt: skip
    return wrong_tables(tables) or next(odd, None)


def _array(rows: Any, dtype: type) -> np.ndarray:
    if hasattr(rows, "detach"):  # a tensor, perhaps of numbers that numpy doesn't know, or on another device
        rows = rows.detach().double().cpu()
    return np.asarray(rows, dtype)


def write_features(path: Path, features: RoutineFeatures) -> None:
    """One safetensors file, whole or not at all; the same features give the same bytes."""
    arrays = {**features.tables(), **{name: getattr(features, name) for name in TIMES}}
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
            if shapes.keys() - {*TABLES, *TIMES} or not _is_of_a_routine(shapes):
                raise TypeError("arrays of other kinds")
            arrays = {name: file.get_tensor(name) for name in shapes}
        if any(a.dtype != (np.float64 if name in TIMES else np.float32) for name, a in arrays.items()):
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
        if name == "tokens" and not (widths and widths[0] <= MOST_TOKENS):
            return False
        known = name not in _WIDTHS or widths == [_WIDTHS[name]]
        return bool(shape) and shape[0] <= MOST_CLIPS and max(widths, default=0) <= MOST_WIDE and known

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
