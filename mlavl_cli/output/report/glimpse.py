"""What a page shows of the video itself: small pictures, the waveform, and where the music has onsets and beats."""

import base64
import io
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mlavl_cli.features.apart import prepare_file
from mlavl_cli.features.reading import Prepared
from mlavl_cli.media.cutting import Cutting
from mlavl_cli.media.picture import PictureSpec
from mlavl_cli.media.sound import SAMPLE_RATE_HZ
from mlavl_cli.output.report.rhythm import rhythm
from mlavl_cli.scoring.alignment import Onsets

THUMBNAIL_PX = 160  # the longer side
_PEAKS_HZ = 20  # of the waveform
_LISTEN_S = 1200.0  # beats of longer videos are not looked for: a page must not cost more than the score


@dataclass(frozen=True)
class Glimpse:
    """Of one video.

    Attributes:
        thumbnails: JPEG as a data URI, by index of the clip whose middle frame it shows.
        peaks: (start_s, end_s, largest magnitude in [0, 1]) of short stretches of the sound; empty without sound.
        onsets_s, beats_s: times in the music.
        onsets: how strongly it sets in, over time; None without music.
    """

    thumbnails: dict[int, str]
    peaks: list[tuple[float, float, float]]
    onsets_s: list[float]
    beats_s: list[float]
    onsets: Onsets | None = None


def look(path: Path, wanted: Iterable[int], size_px: tuple[int, int], cutting: Cutting) -> Glimpse:
    """Goes through the video once.

    Args:
        path: the video.
        wanted: clips to show.
        size_px: (width, height) of the upright picture.
        cutting: as the clips that were scored were cut.

    Raises:
        MediaError: it can't be read.
    """
    scale = THUMBNAIL_PX / max(size_px)
    width, height = (max(1, round(side * scale)) for side in size_px)
    wanted = set(wanted)
    thumbnails, peaks, sounds = {}, [], []
    with closing(prepare_file(path, PictureSpec((height, width)), 1, cutting, True, patient=False)) as clips:
        for index, clip in enumerate(item for item in clips if isinstance(item, Prepared)):
            start_s, end_s = clip.span
            if index in wanted:
                thumbnails[index] = _jpeg(clip.frames[0])
            if clip.sound is not None and len(clip.sound):
                peaks += _peaks(clip.sound, start_s, end_s)
                if end_s <= _LISTEN_S:
                    sounds.append((start_s, clip.sound))
    return Glimpse(thumbnails, peaks, *rhythm(sounds))


def _jpeg(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=65)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _peaks(sound: np.ndarray, start_s: float, end_s: float) -> list[tuple[float, float, float]]:
    parts = np.array_split(np.abs(sound), max(1, round(len(sound) / SAMPLE_RATE_HZ * _PEAKS_HZ)))
    edges = np.linspace(start_s, end_s, len(parts) + 1)
    return [(float(a), float(b), float(part.max())) for a, b, part in zip(edges, edges[1:], parts, strict=False)]
