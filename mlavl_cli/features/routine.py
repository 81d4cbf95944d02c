"""RoutineFeatures: what the backbones saw and heard in one routine. The value that heads score and learn from."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlavl_cli.errors import FeatureError
from mlavl_cli.media.decode import VideoInfo


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

    def __post_init__(self) -> None:
        def refuse(cause: str) -> None:
            raise FeatureError(cause, path=self.video.path, hint="Extract its features again.")

        count = len(self.visual)
        for name, rows in (("visual", self.visual), ("audio", self.audio)):
            if rows is None:
                continue
            if rows.ndim != 2 or 0 in rows.shape:
                refuse(f"{name} features have shape {rows.shape}, not (clips, width)")
            if len(rows) != count:
                refuse(f"{len(rows)} clips of {name} features against {count} of visual ones")
            if not np.isfinite(rows).all():
                refuse(f"{name} features hold NaN or infinity")
        if self.start_s.shape != (count,) or self.end_s.shape != (count,):
            refuse("as many clip times as clips are needed")
        if not ((self.end_s > self.start_s).all() and (self.start_s[1:] >= self.end_s[:-1]).all()):
            refuse("clip times don't increase")

    @property
    def clips(self) -> int:
        return len(self.visual)
