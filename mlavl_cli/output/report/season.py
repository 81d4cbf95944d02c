"""What a folder of pages remembers of every scoring: one JSON object a line, in `history.jsonl`."""

import json
import math
import os
import re
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from mlavl_cli.errors import MlavlError
from mlavl_cli.files import refuse_irregular
from mlavl_cli.inputs import Input
from mlavl_cli.output.report.links import path_of, url
from mlavl_cli.scoring.result import RoutineScore
from mlavl_cli.untrusted import plain_targets

HISTORY_DATA = "history.jsonl"
_MOST_BYTES, _MOST_RECORDS, _MOST_TARGETS, _LONGEST, _MOST = 64 << 20, 50_000, 64, 4096, 1e9
_LONGEST_LINE = 1 << 16  # of one record
_DAY = re.compile(
    r"(?<!\d)(?:(?P<y>20\d\d)[-_.]?(?P<m>0[1-9]|1[0-2])[-_.]?(?P<d>0[1-9]|[12]\d|3[01])"
    r"|(?P<d2>0[1-9]|[12]\d|3[01])\.(?P<m2>0[1-9]|1[0-2])\.(?P<y2>20\d\d))(?!\d)"
)
# Of a file's name, what says which programme it is and not whose.
_PROGRAMMES = frozenset("free short long fs sp fd rd rhythm dance program programme skate kür take".split())


@dataclass(frozen=True)
class Record:
    """One scoring of one video.

    Attributes:
        page: its page, as a URL below the folder.
        name: of the video, as its page is called.
        skater: whose it is: the folder that it lies in; else its name without date, numbers and programme; else the
            folder above it.
        date: of the performance: as the path says (2026-10-03), else of the file; ISO 8601.
        dated: whether the path says so.
        scored: when it was scored; ISO 8601.
        weights, sha256, trained_on: which weights, and the fingerprint of their files.
        points: by target: points, from and to of the interval (None: none).
        in_domain: None: the weights don't say.
        has_audio: whether it was scored with its sound; the score is another one without.
    """

    page: str
    name: str
    skater: str
    date: str
    dated: bool
    scored: str
    weights: str
    sha256: str | None
    trained_on: str
    points: dict[str, tuple[float, float | None, float | None]]
    in_domain: bool | None
    has_audio: bool = True

    @property
    def by(self) -> tuple[str, str | None]:
        """Which weights: scores of others are not joined with it."""
        return self.weights, self.sha256


def record_of(source: Input, result: RoutineScore, page: str) -> Record:
    """Of a score that was given now."""
    name = path_of(page).with_suffix("")  # a video is called as its page, however it was named this time
    day = _date_in(source.path)
    points = {target: (score.score, *(score.interval or (None, None))) for target, score in result.scores.items()}
    weights = result.weights
    return Record(
        page, str(name), _skater_of(source.path, name), day or _date_of_file(source.path), day is not None,
        datetime.now(UTC).isoformat(timespec="seconds"), weights.name, weights.sha256, weights.trained_on, points,
        result.in_domain, result.video.has_audio,
    )  # fmt: skip


def label_of(video: Path, name: PurePosixPath) -> str:
    """What a video is called among others: below its skater, where its own name doesn't say whose it is."""
    skater = _skater_of(video, name)
    if len(name.parts) > 1 or not _DAY.search(name.stem) or skater.casefold() in name.name.casefold():
        return str(name)
    return f"{skater}/{name}"


def _skater_of(video: Path, name: PurePosixPath) -> str:
    if len(name.parts) > 1:
        return name.parts[-2]
    words = re.split(r"[\W_]+", _DAY.sub(" ", name.stem))
    own = [word for word in words if word and not word.isdigit() and word.casefold() not in _PROGRAMMES]
    return " ".join(own) or video.absolute().parent.name or name.stem


def _date_in(video: Path) -> str | None:
    for part in reversed(video.parts):
        for found in reversed(list(_DAY.finditer(part))):
            day = [found[name] or found[f"{name}2"] for name in "ymd"]
            try:
                return date(*map(int, day)).isoformat()
            except ValueError:  # the 31st of November
                continue
    return None


def _date_of_file(video: Path) -> str:
    try:
        return date.fromtimestamp(video.stat().st_mtime).isoformat()
    except (OSError, ValueError, OverflowError):
        return date.today().isoformat()


def append_history(folder: Path, records: list[Record]) -> None:
    """Adds to what a folder remembers; what it knows already, score for score, isn't added again.

    Raises:
        MlavlError: it can't be written, or something else lies there.
    """
    path = folder / HISTORY_DATA
    before = sorted(read_history(folder), key=lambda one: one.scored)
    known, latest = set(map(_told, before)), {one.page: _told(one) for one in before}
    fresh = [one for one in records if _told(one) not in known or latest[one.page] != _told(one)]
    if not fresh:
        return
    lines = "".join(json.dumps(asdict(one), allow_nan=False) + "\n" for one in fresh)
    try:
        refuse_irregular(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(path, flags, 0o666), "a+b") as file:  # noqa: PTH123
            if size := file.seek(0, os.SEEK_END):
                file.seek(size - 1)
                lines = lines if file.read(1) == b"\n" else f"\n{lines}"  # somebody edited it, or it broke off
            file.write(lines.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise MlavlError(f"can't be written ({error.strerror})", path=path, hint="Move it away.") from error


def _told(one: Record) -> tuple[Any, ...]:
    """All that a record says but when it was made."""
    points = tuple((target, *found) for target, found in one.points.items())
    return one.page, one.name, one.skater, one.date, one.by, one.trained_on, one.in_domain, one.has_audio, points


def read_history(folder: Path) -> list[Record]:
    """All that a folder remembers, in the order of dates; lines that are none of ours are left out.

    Of one video, one date and one pair of weights the last scoring counts.
    """
    path = folder / HISTORY_DATA
    found: dict[Any, Record] = {}
    try:
        if path.is_symlink():
            return []
        refuse_irregular(path)
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _MOST_BYTES))
            lines = file.read(_MOST_BYTES).rsplit(b"\n", _MOST_RECORDS + 1)[-_MOST_RECORDS - 1 :]
    except OSError:
        return []
    for line in lines:
        if len(line) <= _LONGEST_LINE and (one := _record(line.decode("utf-8", "surrogateescape"))):
            found[one.page, one.date, one.by] = one
    return sorted(found.values(), key=lambda one: (one.date, one.scored))


def _record(line: str) -> Record | None:
    try:
        values = json.loads(line)
        points = {str(target): (float(p), _end(low), _end(high)) for target, (p, low, high) in values["points"].items()}
        one = Record(**{**values, "points": points})
        date.fromisoformat(one.date)
        words = [one.page, one.name, one.skater, one.scored, one.weights, one.trained_on, *points]
        words += [] if one.sha256 is None else [one.sha256]
        path = path_of(one.page)
        plain_targets(points)
        for word in words:
            word.encode("utf-8", "surrogateescape")  # as a csv will
        sound = (
            all(isinstance(word, str) and len(word) <= _LONGEST for word in words)
            and len(points) <= _MOST_TARGETS
            and all(v is None or abs(v) <= _MOST for found in points.values() for v in found)
            and all((low is None) == (high is None) for _, low, high in points.values())
            and all(type(value) is bool for value in (one.dated, one.has_audio))
            and (one.in_domain is None or type(one.in_domain) is bool)
            and path.name and not path.is_absolute() and ".." not in path.parts and url(path) == one.page
        )  # fmt: skip
        return one if sound else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, MlavlError):
        return None


def _end(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number
