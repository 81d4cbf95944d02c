"""Evaluation on simulated routines, whose scores and consistency of each clip are known, at any length.

Each routine is scored with its own music, with another routine's (swapped), and with its own half a second late
(shifted), all from the files; and clip by clip consistency is held against the simulator's truth. Results are given for
all routines together and by duration and frame rate.
"""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlavl_cli.errors import DataError, refusing
from mlavl_cli.features.audio import AudioBackbone
from mlavl_cli.features.extractor import Extractor
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.files import refuse_irregular
from mlavl_cli.inputs import Input
from mlavl_cli.media.container import Media
from mlavl_cli.media.sound import SAMPLE_RATE_HZ, SoundReader
from mlavl_cli.scoring.result import RoutineScore
from mlavl_cli.scoring.scorer import Scorer
from mlavl_cli.simulate.collection import TARGETS, truth_path, video_path
from mlavl_cli.simulate.truth import clip_consistency
from mlavl_cli.training.metrics import LEAST_RANKED, auc, mse, srcc

SHIFT_S = 0.5
FOLLOWS = 0.7  # clips of at least this true consistency are danced to their music; others barely differ from swapped
LENGTHS_S = (30, 65, 135, 230)  # borders of the groups by duration
REPEATED = (2, 4)  # times that a routine's clips are skated in a row to see what depends on T
_LONGEST_S = 3600.0  # its sound is read at once
_MOST_TRUTH_BYTES, _MOST_ACCENTS, _MOST_POINTS = 8 << 20, 20_000, 1000  # a routine has some hundred accents
_MOST_CLIPS = 280  # of a repeated routine


@dataclass(frozen=True)
class Sitting:
    """One routine, scored three times."""

    id: str
    seconds: float
    fps: float
    true: dict[str, float]
    truth: np.ndarray  # (T,) each clip's true consistency; NaN where neither movement nor music has an accent
    own: RoutineScore
    swapped: RoutineScore
    shifted: RoutineScore
    repeated: tuple[RoutineScore, ...]  # its clips two and four times in a row


@dataclass(frozen=True)
class Group:
    """Routines of one kind.

    Attributes:
        routines, clips, following: how many, and how many clips follow their music.
        srcc, mse, bias: by target, srcc of five routines and more; the mean error is in per cent of the range.
        covered: by target, the share of true scores inside their intervals; empty without intervals.
        auc: how often a clip's own music is more consistent than false music: "swapped" and "shifted", over the clips
            that follow their music, and "..._all" over all clips; empty for heads that say nothing of it.
        spearman: rank correlation of the clips' consistency with the truth; None for such heads, or without accents.
        drop: by target, by how many per cent of its range swapping the music lowers it, on average.
        flagged: the share of routines that were said to be out of domain.
        moved: by target, and "consistency": how far skating it twice or four times in a row moves the value on average,
            in per cent of its range. Totals grow.
    """

    routines: int
    clips: int
    following: int
    srcc: dict[str, float]
    mse: dict[str, float]
    bias: dict[str, float]
    covered: dict[str, float]
    auc: dict[str, float]
    spearman: float | None
    drop: dict[str, float]
    flagged: float
    moved: dict[str, float]


def examine(scorer: Scorer, folder: Path, ids: list[str]) -> list[Sitting]:
    """Scores each of the routines with its own and with false music.

    Raises:
        DataError: the folder isn't one of `mlavl synthesize`.
        MediaError: a video can't be read.
    """
    truths = {id: _truth(folder, id) for id in ids}
    extractor = scorer.extractor
    if not isinstance(extractor, Extractor):
        raise DataError("this evaluation extracts audio features itself, which a cluster doesn't do", path=folder)
    listen = extractor.backbones.audio
    found = []
    for number, (id, truth) in enumerate(truths.items()):
        # The next routine to another music: the same one may be there at several frame rates.
        later = (*ids[number + 1 :], *ids[:number])
        other = next((one for one in later if truths[one]["music_accents"] != truth["music_accents"]), None)
        if other is None:
            raise DataError("fewer than two routines to swap the music of", path=folder)
        video = video_path(folder, id)
        features = extractor.one(Input(video, Path("videos", video.name)))
        movement, music = (np.array(truth[name]).reshape(-1, 2).T for name in ("movement_accents", "music_accents"))
        swapped = replace(features, audio=hear(listen, video_path(folder, other), features))
        shifted = replace(features, audio=hear(listen, video, features, SHIFT_S))
        found.append(
            Sitting(
                id,
                truth["seconds"],
                truth["fps"],
                truth["scores"],
                clip_consistency((movement[0], movement[1]), (music[0], music[1]), features.start_s, features.end_s),
                scorer.score(features),
                scorer.score(swapped),
                scorer.score(shifted),
                tuple(
                    scorer.score(in_a_row(features, times))
                    for times in REPEATED
                    if times * features.clips <= _MOST_CLIPS
                ),
            )
        )
    return found


def groups(sittings: list[Sitting]) -> dict[str, Group]:
    """Results of all routines, and by duration and frame rate where there are several."""
    kinds: dict[str, list[Sitting]] = {"all": sittings}
    for name, kind in (("", _length), (" frames/s", lambda one: f"{one.fps:g}")):
        parts: dict[str, list[Sitting]] = {}
        for one in sorted(sittings, key=lambda one: (one.seconds, one.fps)):
            parts.setdefault(kind(one) + name, []).append(one)
        kinds |= {part: some for part, some in parts.items() if len(parts) > 1 and len(some) > 1}
    return {name: summarise(some) for name, some in kinds.items()}


def summarise(sittings: list[Sitting]) -> Group:
    """What came out of some routines."""
    truth = np.concatenate([one.truth for one in sittings])
    own, swapped, shifted = (
        np.concatenate([[clip.consistency for clip in getattr(one, name).clips] for one in sittings]).astype(float)
        for name in ("own", "swapped", "shifted")
    )
    heard = not np.isnan(own).any()  # NaN: the heads have no consistency
    follows, known = truth >= FOLLOWS, ~np.isnan(truth)
    aucs = {}
    for name, false in (("swapped", swapped), ("shifted", shifted)) if heard else ():
        aucs[name], aucs[f"{name}_all"] = auc(own[follows], false[follows]), auc(own, false)
    targets = [target for target in sittings[0].own.scores if target in sittings[0].true]
    points = {target: np.array([one.own.scores[target].score for one in sittings]) for target in targets}
    true = {target: np.array([one.true[target] for one in sittings]) for target in targets}
    widths = {target: np.ptp(sittings[0].own.scores[target].range) for target in targets}
    share = {target: 100 / widths[target] for target in targets}

    def mean(of: Callable[[Sitting, str], float]) -> dict[str, float]:
        return {target: float(np.mean([of(one, target) for one in sittings])) for target in targets}

    intervals = {t: [one.own.scores[t].interval for one in sittings] for t in targets}
    return Group(
        routines=len(sittings),
        clips=len(truth),
        following=int(follows.sum()),
        srcc={t: srcc(points[t], true[t]) for t in targets} if len(sittings) >= LEAST_RANKED else {},
        mse={target: mse(points[target], true[target]) for target in targets},
        bias={target: share[target] * float((points[target] - true[target]).mean()) for target in targets},
        covered={
            target: float(np.mean([low <= at <= high for (low, high), at in zip(told, true[target], strict=True)]))
            for target, found in intervals.items()
            if len(told := [interval for interval in found if interval]) == len(found)
        },
        auc=aucs,
        spearman=srcc(own[known], truth[known]) if heard and known.any() else None,
        drop=mean(lambda one, t: share[t] * (one.own.scores[t].score - one.swapped.scores[t].score)),
        flagged=float(np.mean([one.own.in_domain is False for one in sittings])),
        moved=_moved(sittings, share),
    )


def _moved(sittings: list[Sitting], share: dict[str, float]) -> dict[str, float]:
    pairs = [(one.own, again) for one in sittings for again in one.repeated]
    if not pairs:
        return {}
    moved = {
        target: float(np.mean([abs(a.scores[target].score - b.scores[target].score) * by for a, b in pairs]))
        for target, by in share.items()
    }
    heard = [abs(a.consistency.mean - b.consistency.mean) for a, b in pairs if a.consistency and b.consistency]
    return moved | ({"consistency": 100 * float(np.mean(heard))} if heard else {})


def in_a_row(features: RoutineFeatures, times: int) -> RoutineFeatures:
    """The routine skated so many times without a break."""
    lasts_s = float(features.end_s[-1] - features.start_s[0])
    late = np.repeat(np.arange(times) * lasts_s, features.clips)
    tables = {name: np.tile(rows, (times, 1)) for name, rows in features.tables().items()}
    start_s, end_s = (np.tile(edges, times) + late for edges in (features.start_s, features.end_s))
    video = replace(features.video, duration_s=features.video.duration_s + (times - 1) * lasts_s)
    longer: dict[str, Any] = {**tables, "start_s": start_s, "end_s": end_s, "video": video}
    return replace(features, **longer)


def hear(listen: AudioBackbone, sound: Path, features: RoutineFeatures, shift_s: float = 0.0) -> np.ndarray:
    """Audio features (T, D_a) of the routine's clips with the sound of any file, `shift_s` seconds late.

    A sound that ends before the clips do is repeated from its start.
    """
    rows = []
    if features.end_s[-1] > _LONGEST_S:
        raise DataError(f"lasts {features.end_s[-1]:.0f} s, as no simulated routine does", path=features.video.path)
    with Media(sound) as media, closing(SoundReader(media)) as reader:
        whole = reader.read(0.0, float(features.end_s[-1]) + shift_s)
    heard = np.flatnonzero(whole)
    whole = np.resize(whole[: heard[-1] + 1] if len(heard) else whole, len(whole))
    for start, end in zip(features.start_s, features.end_s, strict=True):
        first, last = (round((time_s + shift_s) * SAMPLE_RATE_HZ) for time_s in (start, end))
        spectrogram = listen.spectrogram(whole[first:last])
        rows.append(listen.encode([spectrogram])[0].cpu().numpy())
    return np.stack(rows)


def _length(one: Sitting) -> str:
    number = int(np.searchsorted(LENGTHS_S, one.seconds))
    low, high = (0, *LENGTHS_S)[number], (*LENGTHS_S, None)[number]
    return f"{low} to {high} s" if high else f"over {low} s"


def _truth(folder: Path, id: str) -> dict[str, Any]:
    path = truth_path(folder, id)
    with refusing(DataError, "holds no truth of a simulated routine", path):
        refuse_irregular(path, _MOST_TRUTH_BYTES)
        truth = json.loads(path.read_text("utf-8"))
        numbers = {name: float(truth[name]) for name in ("seconds", "fps")}
        scores = {name: float(truth["scores"][name]) for name in TARGETS}
        accents = {
            name: [[float(at), float(strength)] for at, strength in truth[name]]
            for name in ("movement_accents", "music_accents")
        }
        usual = 0 < numbers["seconds"] <= _LONGEST_S and 1 <= numbers["fps"] <= 240
        usual &= all(0 <= value <= _MOST_POINTS for value in scores.values())
        usual &= max(map(len, accents.values())) <= _MOST_ACCENTS
        usual &= all(
            abs(at) <= 2 * _LONGEST_S and 0 <= strength <= _MOST_POINTS
            for pairs in accents.values()
            for at, strength in pairs
        )
        if not usual:  # or NaN, which is nowhere between two numbers
            raise ValueError("numbers that no routine has")
        return {**numbers, "scores": scores, **accents}
