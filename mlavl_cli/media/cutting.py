"""How a file is cut into clips, as far as it can be chosen."""

from dataclasses import dataclass
from typing import Literal

FRAMES_PER_CLIP = 32

Tail = Literal["drop", "pad"]


@dataclass(frozen=True)
class Cutting:
    """How a file is cut into clips.

    Attributes:
        tail: what becomes of fewer than 32 frames at the end.
        video_stream, audio_stream: which are taken; None: the best.
        frame_rate: frames a second of which clips are made; None: the file's own, as in the paper.
    """

    tail: Tail = "drop"
    video_stream: int | None = None
    audio_stream: int | None = None
    frame_rate: float | None = None


PAPER_CUTTING = Cutting()
