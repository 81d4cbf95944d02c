"""The index of a folder of pages: one row a routine, to be sorted, kept from run to run."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from mlavl_cli.errors import MlavlError
from mlavl_cli.files import refuse_irregular
from mlavl_cli.output.report.html import document, table, text
from mlavl_cli.output.report.links import path_of, url
from mlavl_cli.output.report.scores import banner
from mlavl_cli.score_range import TARGET_NAMES
from mlavl_cli.scoring.result import RoutineScore, ScoredBy
from mlavl_cli.scoring.shown import clock

INDEX, HISTORY = "index.html", "history.html"
_MOST_BYTES, _MOST_NUMBER = 128 << 20, 1e9  # of an index, and of a score or a duration in it
_MOST_DATA, _MOST_PARTS, _MOST_WORDS = 48 << 20, 100_000, 4_000_000  # of its rows: bytes, lists and objects, quotes
_LONGEST_TEXT, _MOST_TEXTS, _LONGEST_TARGET = 4096, 100, 200  # of a row
_MOST_ROWS = 20_000  # the browser sorts them
_MOST_TARGETS = 64  # columns of scores; weights have fewer
_MOST_FAILED = 1000
_MOST_PICTURES, _MOST_TEXT = 12 << 20, 24 << 20  # letters of an index's pictures, and of its rows; more is left out
_THUMBNAIL = re.compile(r"|data:image/jpeg;base64,[A-Za-z0-9+/=]{1,30000}")
_DATA_BEGINS, _DATA_ENDS = b'<script type="application/json" id="data">', b"</script>"


@dataclass(frozen=True)
class Entry:
    """A routine's row: its page (relative URL) and what the index shows of it."""

    page: str
    name: str
    weights: str
    scores: dict[str, float]
    consistency: float | None
    duration_s: float
    warnings: list[str]
    trained_on: str = ""
    in_domain: bool | None = None
    thumbnail: str = ""  # JPEG as a data URI


def entry(result: RoutineScore, page: str, name: str, thumbnail: str = "") -> Entry:
    """The row of a routine."""
    return Entry(
        page=page,
        name=name,
        weights=result.weights.name,
        scores={target: score.score for target, score in result.scores.items()},
        consistency=result.consistency.mean if result.consistency else None,
        duration_s=result.video.duration_s,
        warnings=[notice.text for notice in result.warnings if notice.code != "out-of-domain"],  # a badge
        trained_on=result.weights.trained_on,
        in_domain=result.in_domain,
        thumbnail=thumbnail,
    )


def read_index(folder: Path) -> list[Entry]:
    """The rows of an index that is there, without pages that are gone; none if it isn't one of ours, or is a link."""
    try:
        if (folder / INDEX).is_symlink():
            return []
        refuse_irregular(folder / INDEX)
        if (folder / INDEX).stat().st_size > _MOST_BYTES:
            return []
        _, _, rest = (folder / INDEX).read_bytes().partition(_DATA_BEGINS)
        data, end, _ = rest.partition(_DATA_ENDS)
        if not end or not _is_bounded(data):
            return []
        return [one for row in json.loads(data)["routines"][:_MOST_ROWS] if (one := _entry_of(row, folder))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _is_bounded(data: bytes) -> bool:
    """Whether json takes memory in proportion, before it is parsed: what stands in its texts is no part of it."""
    if len(data) > _MOST_DATA or data.count(b'"') > _MOST_WORDS:
        return False
    outside = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    return outside.count(b"{") + outside.count(b"[") <= _MOST_PARTS


def set_foreign_aside(path: Path) -> None:
    """Gives an index.html or history.html that isn't one of ours another name: it may be somebody's home page.

    Raises:
        MlavlError: it can't be renamed.
    """
    try:
        if path.is_symlink() or not path.is_file():
            return
        if path.stat().st_size <= _MOST_BYTES and _DATA_BEGINS in path.read_bytes():
            return
        names = (path.with_name(f"{path.stem}.{number}.html") for number in count(1))
        path.rename(next(name for name in names if not name.exists()))
    except OSError as error:
        raise MlavlError(f"can't be renamed ({error.strerror})", path=path) from error


def _entry_of(row: Any, folder: Path) -> Entry | None:
    """A row that was read, if it is one of ours and its page is there."""
    try:
        one = Entry(**row)
        return one if _is_entry(one) and (folder / path_of(one.page)).is_file() else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _is_entry(one: Entry) -> bool:
    """Whether a row that was read holds what we write: words, numbers, and a page below this folder.

    A page's link is a relative path, quoted: a name like a script's is no script.
    """
    path = path_of(one.page)
    inside = not path.is_absolute() and ".." not in path.parts and url(path) == one.page  # one page, one name
    texts = (one.page, one.name, one.weights, one.trained_on, *one.warnings)
    words = all(isinstance(text, str) and len(text) <= _LONGEST_TEXT for text in texts) and len(texts) <= _MOST_TEXTS
    words = words and one.in_domain in (True, False, None) and len(one.scores) <= _MOST_TARGETS
    words = words and all(len(name) <= _LONGEST_TARGET for name in one.scores)
    words = words and isinstance(one.thumbnail, str) and bool(_THUMBNAIL.fullmatch(one.thumbnail))
    numbers = [*one.scores.values(), one.duration_s, *([] if one.consistency is None else [one.consistency])]
    return inside and words and all(type(n) in (int, float) and abs(n) <= _MOST_NUMBER for n in numbers)


def _targets(entries: list[Entry]) -> list[str]:
    """The targets of a table: where there are too many, the usual ones and those of the most rows."""
    counts = Counter(target for one in entries for target in one.scores)
    most = set(sorted(counts, key=lambda name: (name not in TARGET_NAMES, -counts[name]))[:_MOST_TARGETS])
    return [name for name in counts if name in most]


def index(entries: list[Entry], failed: Sequence[tuple[str, str]] = ()) -> str:
    """The index as HTML.

    Args:
        entries: its rows, in order.
        failed: path and cause of the inputs of the last run that gave no score.
    """
    lost = "".join(f"<li>{text(path)}: {text(cause)}</li>" for path, cause in failed[:_MOST_FAILED])
    listed = f'<div class="notes"><p>{len(failed)} could not be scored:</p><ul>{lost}</ul></div>' if failed else ""
    entries = list(_fitting(entries[:_MOST_ROWS]))
    targets = _targets(entries)
    columns = ["routine", *targets, "mean consistency", "duration", "weights", "warnings"]
    outside = sum(one.in_domain is False for one in entries)
    lead = f"{outside} of {len(entries)} out of domain: unlike the training data, so these scores have no meaning"
    made = [ScoredBy(one.weights, one.trained_on) for one in entries]
    head = "".join(f'<th scope="col"><button type="button">{text(name)}</button></th>' for name in columns)
    rows = "".join(_row(one, targets) for one in entries)
    spelt = ", ".join(f"{text(target)}: {TARGET_NAMES[target]}" for target in targets if target in TARGET_NAMES)
    body = f"""
<header><h1>Scores of {len(entries)} routine{"" if len(entries) == 1 else "s"}</h1></header>
<main>
{banner(made, lead if outside else "")}
{listed}
<p><a href="{HISTORY}">Scores over time</a></p>
<p class="soft">Press a heading to sort by it. {spelt}.</p>
{table("Routines", head, rows)}</main>
"""
    return document("Scores", body, {"routines": [asdict(one) for one in entries]}, ("index.js",))


def _fitting(entries: list[Entry]) -> Iterator[Entry]:
    """The rows that an index takes; without pictures once those before them are large enough."""
    pictures, texts = _MOST_PICTURES, _MOST_TEXT
    for one in entries:
        bare = replace(one, thumbnail="")
        pictures -= len(one.thumbnail)
        texts -= len(json.dumps(asdict(bare)))
        if texts < 0:
            return
        yield one if pictures >= 0 else bare


def _row(one: Entry, targets: list[str]) -> str:
    def number(value: float | None, digits: int = 2) -> str:
        shown = "" if value is None else f"{value:.{digits}f}"
        return f'<td data-value="{"" if value is None else value}">{shown}</td>'

    shown = f'<img class="thumbnail" alt="" src="{one.thumbnail}">' if one.thumbnail else ""
    badges = [("alarm", "out of domain")] if one.in_domain is False else []
    badges += [("", "no consistency")] if one.consistency is None else []
    marked = "".join(f'<span class="badge {kind}">{label}</span>' for kind, label in badges)
    linked = f'<a href="{text(one.page)}">{shown}{text(one.name)}</a>'
    cells: list[Any] = [f'<td data-value="{text(one.name)}">{linked} {marked}</td>']
    cells += [number(one.scores.get(target)) for target in targets]
    cells.append(number(one.consistency))
    cells.append(f'<td data-value="{one.duration_s}">{clock(one.duration_s)}</td>')
    cells.append(f'<td data-value="{text(one.weights)}">{text(one.weights)}</td>')
    cells.append(f'<td class="text" data-value="{len(one.warnings)}">{text("; ".join(one.warnings))}</td>')

    outside = ' class="outside"' if one.in_domain is False else ""
    return f"<tr{outside}>{''.join(cells)}</tr>"
