"""An exam that only simulated routines can set: does the consistency know which music belongs to a movement?

Each routine is scored with its own music, with another routine's (swapped), and with its own half a second late
(shifted), all from the files; and clip by clip consistency is held against the simulator's truth.
"""

import json
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlavl_cli.errors import DataError
from mlavl_cli.features.audio import AudioBackbone
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.inputs import Input
from mlavl_cli.media.container import Media
from mlavl_cli.media.sound import SAMPLE_RATE_HZ, SoundReader
from mlavl_cli.scores.scorer import Scorer
from mlavl_cli.training.metrics import auc, srcc
from mlavl_cli.training.simulate.collection import truth_path, video_path

SHIFT_S = 0.5
FOLLOWS = 0.7  # clips of at least this true consistency are danced to their music; others hardly differ from swapped


@dataclass(frozen=True)
class Exam:
    """What came out.

    Attributes:
        routines, clips, following: how many, and how many clips follow their music.
        auc: how often a clip's own music is more consistent than false music: "swapped" and "shifted", over the clips
            that follow their music, and "..._all" over all clips.
        spearman: rank correlation of the clips' consistency with the truth.
        drop: of each target, by how many per cent of its range swapping the music lowers it, on average.
    """

    routines: int
    clips: int
    following: int
    auc: dict[str, float]
    spearman: float
    drop: dict[str, float]


def examine(scorer: Scorer, folder: Path, ids: list[str]) -> Exam:
    """Scores each of the routines three times.

    Raises:
        DataError: the folder isn't one of `mlavl synthesize`.
        MediaError: a video can't be read.
    """
    if len(ids) < 2:
        raise DataError("fewer than two routines to swap the music of", path=folder)
    listen = scorer.extractor.backbones.audio
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("truth", "own", "swapped", "shifted")}
    lower: dict[str, list[float]] = {target: [] for target in scorer.heads}
    for id, other in zip(ids, [*ids[1:], ids[0]], strict=True):
        video = video_path(folder, id)
        features = scorer.extractor.one(Input(video, Path("videos", video.name)))
        swapped = replace(features, audio=hear(listen, video_path(folder, other), features))
        shifted = replace(features, audio=hear(listen, video, features, SHIFT_S))
        scores = {"own": features, "swapped": swapped, "shifted": shifted}
        scores = {name: scorer.score(heard) for name, heard in scores.items()}
        for name, score in scores.items():
            found[name].append(np.array([clip.consistency for clip in score.clips]))
        found["truth"].append(_truth(folder, id, features.clips))
        for target, values in lower.items():
            own, false = (scores[name].scores[target] for name in ("own", "swapped"))
            values.append(100 * (own.score - false.score) / (own.range[1] - own.range[0]))
    truth, own, swapped, shifted = (np.concatenate(found[name]) for name in found)
    follows = truth >= FOLLOWS
    known = ~np.isnan(truth)
    aucs = {}
    for name, false in (("swapped", swapped), ("shifted", shifted)):
        aucs[name], aucs[f"{name}_all"] = auc(own[follows], false[follows]), auc(own, false)
    return Exam(
        len(ids), len(truth), int(follows.sum()), aucs, srcc(own[known], truth[known]),
        {target: float(np.mean(values)) for target, values in lower.items()},
    )  # fmt: skip


def hear(listen: AudioBackbone, sound: Path, features: RoutineFeatures, shift_s: float = 0.0) -> np.ndarray:
    """Audio features (T, D_a) of the routine's clips with the sound of any file, `shift_s` seconds late.

    A sound that ends before the clips do goes on from its start.
    """
    rows = []
    with Media(sound) as media, closing(SoundReader(media)) as reader:
        whole = reader.read(0.0, float(features.end_s[-1]) + shift_s)
    heard = np.flatnonzero(whole)
    whole = np.resize(whole[: heard[-1] + 1] if len(heard) else whole, len(whole))
    for start, end in zip(features.start_s, features.end_s, strict=True):
        first, last = (round((time_s + shift_s) * SAMPLE_RATE_HZ) for time_s in (start, end))
        spectrogram = listen.spectrogram(whole[first:last])
        rows.append(listen.encode([spectrogram])[0].cpu().numpy())
    return np.stack(rows)


def _truth(folder: Path, id: str, clips: int) -> np.ndarray:
    """(T,) true consistency; NaN where neither movement nor music has an accent."""
    path = truth_path(folder, id)
    try:
        values = [clip["consistency"] for clip in json.loads(path.read_text())["clips"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("holds no truth of a simulated routine", path=path) from error
    if len(values) != clips:
        raise DataError(f"tells of {len(values)} clips; the video has {clips}", path=path)
    return np.array([np.nan if value is None else value for value in values])
