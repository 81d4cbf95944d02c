"""Users' own data: a csv of videos or feature files, their scores and their split.

    path,split,TES,PCS
    videos/anna.mp4,train,41.3,32.8
    features/berta.mp4.safetensors,test,,30.1
    i3d/carla.npz,test,,31.2

`path` is relative to the csv. `split` is train, val, calibration or test, or empty in all rows where folds are drawn.
`audio` and `flow` name further features of the same clips, (T, D), relative to the csv, or nothing. Every other column
but `id` is a target; an empty cell is no score. Videos are extracted through a feature store (videos.py); feature
files, also of other tools (arrays.py), are taken as they are. Cells may be separated by commas, semicolons (numbers may
then have decimal commas) or tabs; UTF-8 and UTF-16 are read.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from mlavl_cli.bundle import Bundle, is_frame_rate
from mlavl_cli.datasets.budget import Budget
from mlavl_cli.datasets.dataset import Dataset, Routine, copies, refuse_shared, routine
from mlavl_cli.datasets.rows import GROUP, SPLITS, as_number, manifest_rows
from mlavl_cli.datasets.videos import Identity, VideoFeatures, names_of
from mlavl_cli.errors import DataError, FeatureError, refusing
from mlavl_cli.features.arrays import ARRAYS, TIMES, read_arrays, read_stream
from mlavl_cli.features.routine import RoutineFeatures, read_features, wrong_features
from mlavl_cli.features.store import SUFFIX
from mlavl_cli.groups import together
from mlavl_cli.inputs import Input
from mlavl_cli.media.cutting import FRAMES_PER_CLIP
from mlavl_cli.media.decode import ENDS_EARLY
from mlavl_cli.media.frame_rate import count_as_one
from mlavl_cli.media.pictures import DAMAGED, STOPPED
from mlavl_cli.score_range import Range, is_range

_STREAMS = ("audio", "flow")
_SHA256 = re.compile("[0-9a-f]{64}")
_DAMAGED_SHARE = 0.03  # of a routine's pictures; more is no routine to learn from
_FIVE, _THREE = {"SS", "TR", "PE", "IN"}, {"PR", "SK"}  # components that the other system of judging hasn't


@dataclass(frozen=True)
class _Found:
    """Features of one row: tables (T, D), (T, K, D) of tokens; who made them, frames a second of their clips, and the
    SHA-256 of their video."""

    tables: dict[str, np.ndarray]
    made: Identity | None = None
    rate: float | None = None
    video: str = ""


def load_manifest(
    path: Path, sport: str, ranges: dict[str, Range], videos: VideoFeatures, group: str = GROUP
) -> Dataset:
    """Reads a manifest.

    Args:
        path: the csv.
        sport: whose prompts are used.
        ranges: of targets, where they aren't the usual ones.
        videos: where features of videos come from.
        group: the column of what stays in one split, like `skater`, with partners as "Anna / Bo".

    Raises:
        DataError: the csv, a score or a feature file doesn't fit.
        FeatureError: features of different backbones.
        MediaError: a video can't be read.
    """
    rows, targets, known = manifest_rows(path, ranges, group)
    splits: dict[str, list[Routine]] = {split: [] for split in SPLITS}
    for column in ("path", *_STREAMS):
        refuse_shared((path.parent / row[column] for row in rows if row.get(column)), path)
    budget = Budget(path)
    bundle, features = _features(rows, path, videos, budget)
    rates = [0.0 + found.rate for found in features if found.rate is not None]
    if slow := [rate for rate in rates if not count_as_one(rate, rates[0])]:
        cause = f"its clips were cut at different frame rates ({rates[0]:.4g} and {slow[0]:.4g} a second)"
        raise DataError(cause, path=path, hint="Extract them all at one --frame-rate.")
    if rates and videos.wanted and (wanted := videos.wanted.frame_rate) and not count_as_one(rates[0], wanted):
        cause = f"its clips were cut at {rates[0]:.4g} frames a second, those of {names_of(bundle)} at {wanted:.4g}"
        raise DataError(cause, path=path, hint=f"Extract them again with --frame-rate {wanted:.4g}.")
    routines: list[Routine] = []
    for line, (row, found) in enumerate(zip(rows, features, strict=True), 2):
        scores = {target: as_number(row[target], f"line {line}, {target}", path) for target in targets if row[target]}
        streams = {name: _stream(path.parent / row[name], budget) for name in _STREAMS if row.get(name)}
        tables = {**found.tables, **streams}
        if wrong := wrong_features(tables):
            raise DataError(f"{row.get('id') or row['path']}: {wrong}", path=path.parent / row["path"])
        sound, flow = (tables.get(name) for name in _STREAMS)
        one = routine(row.get("id") or row["path"], tables["visual"], sound, scores, path.parent / row["path"], flow)
        tokens = partial(tables.__getitem__, "tokens") if "tokens" in tables else None
        statistics = {name: rows for name, rows in tables.items() if name.endswith("_statistics")}
        routines.append(replace(one, statistics=statistics, tokens=tokens, video=found.video))
    for row, one, name in zip(rows, routines, _groups(rows, routines, group), strict=True):
        splits[row["split"] or "train"].append(replace(one, group=name))
    notes = (*copies(path.name, splits), *_mixed_sound(splits, path), *_mixed_systems(splits["train"], path))
    points = {t: known[t] or _observed(splits["train"], t, path) for t in targets}
    there = {name: found for name, found in splits.items() if found}
    rate = median(rates) if rates else None
    return Dataset(path.stem, sport, bundle, there, points, notes=notes, frame_rate=rate)


def _stream(path: Path, budget: Budget) -> np.ndarray:
    found = read_stream(path)
    budget.count(path, found)
    return found


def _features(
    rows: list[dict[str, str]], path: Path, videos: VideoFeatures, budget: Budget
) -> tuple[Bundle, list[_Found]]:
    """The features of all rows, and the bundle whose backbones made them."""
    ready: dict[int, _Found] = {}
    sources: dict[int, Input] = {}
    for at, row in enumerate(rows):
        source = path.parent / row["path"]
        if source.suffix == SUFFIX:
            ready[at] = _stored(source)
            budget.count(source, *ready[at].tables.values())
        elif source.suffix.lower() in ARRAYS:
            ready[at] = _Found({name: rows for name, rows in read_arrays(source).items() if name not in TIMES})
            budget.count(source, *ready[at].tables.values())
        else:
            parts = (part for part in Path(row["path"]).parts if part != ".." and not part.startswith("/"))
            sources[at] = Input(source, Path(*parts))
    bundle, extracted = videos.of(list(sources.values()), [found.made for found in ready.values()])
    found = {at: _of(extracted[source], source.path) for at, source in sources.items()}
    return bundle, [ready.get(at) or found[at] for at in range(len(rows))]


def _stored(source: Path) -> _Found:
    try:
        return _of(read_features(source), source)
    except FileNotFoundError as error:
        raise DataError("no such feature file", path=source) from error
    except FeatureError as error:
        raise DataError(error.message, path=source, hint=error.hint) from error


def _of(features: RoutineFeatures, source: Path) -> _Found:
    """Raises:
    DataError: a part of the picture is missing: the music alone doesn't say how somebody performed.
    """
    most = _DAMAGED_SHARE * FRAMES_PER_CLIP * features.clips
    for text in features.warnings:
        pieces = int(text.split()[0]) if DAMAGED in text and text.split()[0].isdecimal() else 0
        if text.startswith((ENDS_EARLY, STOPPED)) or pieces > most:
            hint = "Leave its line out, or cut the file to what can be seen."
            raise DataError(f"its picture is damaged: {text}", path=source, hint=hint)
    with refusing(DataError, "doesn't say how its features were made", source, "Extract them again."):
        made = features.provenance.get("backbones")
        cut = (features.provenance.get("cutting") or {}).get("frame_rate")
        if cut is not None and not is_frame_rate(cut):
            raise DataError(f"says {cut!r:.40} frames a second", path=source)
        rate = cut or features.video.fps
        video = (features.provenance.get("source") or {}).get("sha256")
        video = video if isinstance(video, str) and _SHA256.fullmatch(video) else ""
        return _Found(features.tables(), made, 0.0 + rate, video)


def _groups(rows: list[dict[str, str]], routines: list[Routine], column: str) -> list[str]:
    """Of each row a name of what stays in one split: by the column, and with all copies of its features."""
    often = Counter(digest for one in routines for digest in one.digests)
    shared = [[digest for digest in one.digests if often[digest] > 1] for one in routines]
    return together([" / ".join([*some, row.get(column, "")]) for some, row in zip(shared, rows, strict=True)])


def _mixed_sound(splits: dict[str, list[Routine]], path: Path) -> tuple[str, ...]:
    """A note where some routines are silent and others aren't."""
    silent = [routine.id for found in splits.values() for routine in found if routine.audio is None]
    if not silent or len(silent) == sum(map(len, splits.values())):
        return ()
    told = f"{path.name}: {len(silent)} routines have no sound, {silent[0]} first; others have"
    return (f"{told}: heads hear those, and judge the silent ones by their pictures",)


def _mixed_systems(train: list[Routine], path: Path) -> tuple[str, ...]:
    """A note where seasons with five components and with three are trained on together."""
    five, three = ([one for one in train if names & one.scores.keys()] for names in (_FIVE, _THREE))
    if not five or not three:
        return ()
    told = f"{path.name}: {len(five)} routines have five components, {len(three)} have three"
    return (f"{told}; CO is judged by other criteria in each, and PCS ends at 50 and at 30 unless it was pooled",)


def _observed(routines: list[Routine], target: str, path: Path) -> Range:
    scores = [routine.scores[target] for routine in routines if target in routine.scores]
    if not scores:
        raise DataError(f"no {target} score in split 'train'", path=path)
    low, high = min(0.0, min(scores)), max(scores)
    if low < high and not is_range(low, high):  # of which no head could be read again
        cause = f"its {target} scores, {min(scores):g} to {max(scores):g}, span no range"
        raise DataError(cause, path=path, hint=f"Correct them, or give --range {target}=LOW:HIGH.")
    return low, high
