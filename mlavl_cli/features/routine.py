"""RoutineFeatures: what the backbones saw and heard in one routine. The value that heads score and learn from."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlavl_cli.errors import FeatureError
from mlavl_cli.media.decode import VideoInfo

_MOST_VALUE = 1e12  # no backbone's; squares of larger ones overflow


@dataclass(frozen=True)
class RoutineFeatures:
    """Features of one routine of T clips.

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

        count = len(self.visual)
        if wrong := wrong_tables(self.tables()):
            refuse(wrong)
        if self.start_s.shape != (count,) or self.end_s.shape != (count,):
            refuse("as many clip times as clips are needed")
        if not ((self.end_s > self.start_s).all() and (self.start_s[1:] >= self.end_s[:-1]).all()):
            refuse("clip times don't increase")

    def tables(self) -> dict[str, np.ndarray]:
        """All that is known of each clip: (T, width) by name, (T, K, width) of tokens."""
        names = ("visual", "audio", "picture_statistics", "sound_statistics", "flow", "tokens")
        return {name: rows for name in names if (rows := getattr(self, name)) is not None}

    @property
    def clips(self) -> int:
        return len(self.visual)


def wrong_tables(tables: dict[str, np.ndarray]) -> str | None:
    """What keeps tables from being features of the same T clips, (T, width) each, (T, K, width) of tokens; None if
    nothing does.
    """
    count: int | None = None
    for name, rows in tables.items():
        shape = "(clips, tokens, width)" if name == "tokens" else "(clips, width)"
        if rows.ndim != shape.count(",") + 1 or 0 in rows.shape:
            return f"{name} features have shape {rows.shape}, not {shape}"
        count = len(rows) if count is None else count
        if len(rows) != count:
            return f"{len(rows)} clips of {name} features against {count} of {next(iter(tables))} ones"
        if not np.isfinite(rows).all():
            return f"{name} features hold NaN or infinity"
        if float(np.abs(rows).max()) > _MOST_VALUE:
            return f"{name} features hold numbers beyond {_MOST_VALUE:g}"
    return None
