"""Users' own data: a csv of videos or feature files, their scores and their split.

    path,split,TES,PCS
    videos/anna.mp4,train,41.3,32.8
    features/berta.mp4.safetensors,test,,30.1
    i3d/carla.npz,test,,31.2

`path` is relative to the csv. `split` is train, val, calibration or test. `audio` and `flow` name further features of
the same clips, (T, D), relative to the csv, or nothing. Every other column but `id` is a target; an empty cell is no
score. Videos are extracted through a feature store (videos.py); feature files, also of other tools (arrays.py), are
taken as they are. Cells may be separated by commas,
semicolons (numbers may then have decimal commas) or tabs; UTF-8 and UTF-16 are read.
"""

import codecs
import csv
import io
import math
import os
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mlavl_cli.bundle import Bundle
from mlavl_cli.datasets.arrays import ARRAYS, read_arrays, read_stream
from mlavl_cli.datasets.dataset import MOST_LABEL_BYTES, MOST_ROWS, Dataset, Routine, routine
from mlavl_cli.datasets.public import KNOWN_RANGES
from mlavl_cli.datasets.videos import Identity, VideoFeatures
from mlavl_cli.errors import DataError, FeatureError, refusing
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.store import SUFFIX, read_features
from mlavl_cli.files import refuse_irregular
from mlavl_cli.inputs import Input
from mlavl_cli.media.cutting import FRAMES_PER_CLIP
from mlavl_cli.media.decode import ENDS_EARLY
from mlavl_cli.media.frame_rate import count_as_one
from mlavl_cli.media.pictures import DAMAGED, STOPPED
from mlavl_cli.score_range import Range
from mlavl_cli.untrusted import plain_name

SPLITS = ("train", "val", "calibration", "test")
_WORDS = ("path", "split", "id", "audio", "flow")
_STREAMS = ("audio", "flow")
_DAMAGED_SHARE = 0.03  # of a routine's pictures; more is no routine to learn from
_FIVE, _THREE = {"SS", "TR", "PE", "IN"}, {"PR", "SK"}  # components that the other system of judging hasn't
# What `mlavl labels` writes of a performance beside its scores.
_ABOUT = "skater nation event category segment rank TSS PCS_printed factor deductions system protocol page".split()
_MOST_COLUMNS, _MOST_CELLS = 1000, 4_000_000
_LONGEST_PATH = 4096  # letters
_LISTED = 10  # of what is wrong, on one line


@dataclass(frozen=True)
class _Found:
    """Features of one row: tables (T, D), (T, K, D) of tokens; who made them, and frames a second of their clips."""

    tables: dict[str, np.ndarray]
    made: Identity | None = None
    rate: float | None = None


def load_manifest(path: Path, sport: str, ranges: dict[str, Range], videos: VideoFeatures) -> Dataset:
    """Reads a manifest.

    Args:
        path: the csv.
        sport: whose prompts are used.
        ranges: of targets, where they aren't the usual ones.
        videos: where features of videos come from.

    Raises:
        DataError: the csv, a score or a feature file doesn't fit.
        FeatureError: features of different backbones.
        MediaError: a video can't be read.
    """
    rows = _read_csv(path)
    targets = [name for name in rows[0] if name not in (*_WORDS, *_ABOUT)]
    for target in targets:
        plain_name(target, "a target")
    if not targets:
        raise DataError("has no column with scores", path=path, hint="Add one column a target, like TES.")
    # Ranges of targets by their usual names; others end at their highest training score unless the user says.
    known = {target: ranges.get(target) or KNOWN_RANGES.get(target) for target in targets}
    _refuse_traps(rows, targets, known, path)
    splits: dict[str, list[Routine]] = {split: [] for split in SPLITS}
    for number, row in enumerate(rows, 2):
        if row["split"] not in splits:
            hint = f"Use {', '.join(SPLITS)}."
            raise DataError(f"line {number}: no such split: {row['split']!r}", path=path, hint=hint)
    bundle, features = _features(rows, path, videos)
    rates = [0.0 + found.rate for found in features if found.rate is not None]
    if slow := [rate for rate in rates if not count_as_one(rate, rates[0])]:
        cause = f"its clips were cut at different frame rates ({rates[0]:.4g} and {slow[0]:.4g} a second)"
        raise DataError(cause, path=path, hint="Extract them all at one --frame-rate.")
    for number, (row, found) in enumerate(zip(rows, features, strict=True), 2):
        scores = {target: _number(row[target], f"line {number}, {target}", path) for target in targets if row[target]}
        tables = {**found.tables, **{name: read_stream(path.parent / row[name]) for name in _STREAMS if row.get(name)}}
        streams = (tables.get(name) for name in ("audio", "flow"))
        sound, flow = streams
        one = routine(row.get("id") or row["path"], tables["visual"], sound, scores, path.parent / row["path"], flow)
        tokens = partial(tables.__getitem__, "tokens") if "tokens" in tables else None
        statistics = {name: rows for name, rows in tables.items() if name.endswith("_statistics")}
        splits[row["split"]].append(replace(one, statistics=statistics, tokens=tokens))
    notes = (*_mixed_sound(splits, path), *_mixed_systems(splits["train"], path))
    points = {t: known[t] or _observed(splits["train"], t, path) for t in targets}
    there = {name: found for name, found in splits.items() if found}
    rate = median(rates) if rates else None
    return Dataset(path.stem, sport, bundle, there, points, notes=notes, frame_rate=rate)


def _features(rows: list[dict[str, str]], path: Path, videos: VideoFeatures) -> tuple[Bundle, list[_Found]]:
    """The features of all rows, and the bundle whose backbones made them."""
    ready: dict[int, _Found] = {}
    sources: dict[int, Input] = {}
    for at, row in enumerate(rows):
        source = path.parent / row["path"]
        if source.suffix == SUFFIX:
            ready[at] = _stored(source)
        elif source.suffix.lower() in ARRAYS:
            ready[at] = _Found(read_arrays(source))
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
        rate = (features.provenance.get("cutting") or {}).get("frame_rate") or features.video.fps
        return _Found(features.tables(), made, 0.0 + rate)


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        refuse_irregular(path, MOST_LABEL_BYTES)
        data = path.read_bytes()
        encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        text = data.decode(encoding)
        head = text.split("\n", 1)[0]
        separator = max(",;\t", key=head.count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
        columns = [name or "" for name in reader.fieldnames or ()]
        if len(columns) > _MOST_COLUMNS:
            raise DataError(f"has {len(columns)} columns, more than there can be targets", path=path)
        rows = []
        for number, row in enumerate(islice(reader, MOST_ROWS + 1), 2):
            if None in row or None in row.values():
                raise DataError(f"line {number} has not as many cells as the first line", path=path)
            if number * len(columns) > _MOST_CELLS:
                raise DataError(f"has more than {_MOST_CELLS:,} cells", path=path, hint="Is it a manifest?")
            if any("\0" in cell for cell in row.values()):
                raise DataError(f"line {number} holds a NUL character", path=path)
            if any(len(row.get(name) or "") > _LONGEST_PATH for name in _WORDS):
                raise DataError(f"line {number} holds a path of more than {_LONGEST_PATH:,} letters", path=path)
            rows.append(row)
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"can't be read as csv ({error})", path=path) from error
    if doubled := sorted(name for name, count in Counter(columns).items() if count > 1):
        raise DataError(f"has two columns {doubled[0]!r}", path=path, hint="Which of them counts?")
    if len(rows) > MOST_ROWS:
        raise DataError(f"has more than {MOST_ROWS:,} rows", path=path, hint="Is it a manifest?")
    if separator == ";":
        rows = [{name: _with_point(cell) if name not in _WORDS else cell for name, cell in row.items()} for row in rows]
    if not rows or not {"path", "split"} <= set(rows[0]):
        raise DataError("needs the columns path and split, and rows below", path=path)
    return rows


def _with_point(cell: Any) -> Any:
    """41,3 as 41.3, which is how a csv with semicolons writes it."""
    return cell.replace(",", ".") if isinstance(cell, str) else cell


def _refuse_traps(rows: list[dict[str, str]], targets: list[str], ranges: dict[str, Range | None], path: Path) -> None:
    """What trains without a word and makes every number wrong, found before anything is extracted.

    Raises:
        DataError: a routine in two splits, or twice with different scores; scores outside their range. All are listed.
    """
    seen: dict[str, tuple[int, dict[str, str]]] = {}
    found = []
    for number, row in enumerate(rows, 2):
        for key in {os.path.realpath(path.parent / row["path"]), f"id {row['id']}" if row.get("id") else ""} - {""}:
            before, other = seen.setdefault(key, (number, row))
            if before == number:
                continue
            if other["split"] != row["split"]:
                found.append(f"lines {before} and {number} are one routine, in {other['split']} and in {row['split']}")
            elif any(other[target] != row[target] for target in targets):
                found.append(f"lines {before} and {number} are one routine with different scores")
            else:
                found.append(f"lines {before} and {number} are one routine")
        for target in targets:
            score = _number(row[target], f"line {number}, {target}", path) if row[target] else None
            low, high = ranges[target] or (-math.inf, math.inf)
            if score is not None and not low <= score <= high:
                found.append(f"line {number}: {target} {score:g} is not in {low:g} to {high:g}")
    if found:
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        hint = "Correct the csv; --range TARGET=LOW:HIGH says another range."
        raise DataError("; ".join(dict.fromkeys(found[:_LISTED])) + more, path=path, hint=hint)


def _number(text: str, where: str, path: Path) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{where}: {text!r} is no number", path=path) from error


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
    return min(0.0, min(scores)), max(scores)
