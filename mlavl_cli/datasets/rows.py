"""A manifest's csv as rows, checked before anything is loaded or extracted. No torch here."""

import math
import os
from pathlib import Path
from typing import Any

from mlavl_cli.csv_rows import Rows, read_csv
from mlavl_cli.datasets.public import KNOWN_RANGES
from mlavl_cli.errors import DataError
from mlavl_cli.score_range import Range
from mlavl_cli.untrusted import plain_targets

GROUP = "skater"  # the column of what stays in one split, where there is one
SPLITS = ("train", "val", "calibration", "test")
_WORDS = ("path", "split", "id", "audio", "flow")
# What `mlavl labels` writes of a performance beside its scores.
_ABOUT = "skater nation event category segment rank TSS PCS_printed factor deductions system protocol page".split()
_MOST_COLUMNS = 1000
_LISTED = 10  # of what is wrong, on one line


def manifest_rows(
    path: Path, ranges: dict[str, Range], group: str = GROUP
) -> tuple[Rows, list[str], dict[str, Range | None]]:
    """The rows of a manifest, its targets, and their ranges where they are known.

    Args:
        path: the csv.
        ranges: of targets, where they aren't the usual ones.
        group: the column of what stays in one split; no target.

    Raises:
        DataError: the csv or a score doesn't fit; all that is wrong of a kind is listed.
    """
    rows = _read(path, group)
    if group != GROUP and group not in rows[0]:
        raise DataError(f"has no column {group!r}", path=path, hint="--group names one of its columns.")
    targets = [name for name in rows[0] if name not in (*_WORDS, *_ABOUT, group)]
    plain_targets(targets)
    others = {name.casefold(): name for name in (*targets, *KNOWN_RANGES, *_WORDS, *_ABOUT, group)}
    for target in targets:  # a head would be trained on it, `tes` have no range, or the groups of `Skater` not be kept
        if (meant := others[target.casefold()]) != target:
            raise DataError(f"has a column {target!r}, which isn't {meant!r}", path=path, hint=f"Call it {meant}.")
    if not targets:
        raise DataError("has no column with scores", path=path, hint="Add one column a target, like TES.")
    # Ranges of targets by their usual names; others end at their highest training score unless the user says.
    known = {target: ranges.get(target) or KNOWN_RANGES.get(target) for target in targets}
    _refuse_traps(rows, targets, known, path)
    given = any(row["split"] for row in rows)
    for line, row in enumerate(rows, 2):
        if row["split"] not in SPLITS and (row["split"] or given):
            hint = f"Use {', '.join(SPLITS)}; or leave all empty, for --folds."
            raise DataError(f"line {line}: no such split: {row['split']!r}", path=path, hint=hint)
    return rows, targets, known


def _read(path: Path, group: str) -> Rows:
    rows, separator = read_csv(path, _MOST_COLUMNS, (*_WORDS, group))
    if separator == ";":
        rows = [{name: _with_point(cell) if name not in _WORDS else cell for name, cell in row.items()} for row in rows]
    if not rows or "path" not in rows[0]:
        raise DataError("needs a column path, and rows below", path=path)
    return rows if "split" in rows[0] else [{**row, "split": ""} for row in rows]


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
            score = as_number(row[target], f"line {number}, {target}", path) if row[target] else None
            low, high = ranges[target] or (-math.inf, math.inf)
            if score is not None and not low <= score <= high:
                found.append(f"line {number}: {target} {score:g} is not in {low:g} to {high:g}")
    if found:
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        hint = "Correct the csv; --range TARGET=LOW:HIGH says another range."
        raise DataError("; ".join(dict.fromkeys(found[:_LISTED])) + more, path=path, hint=hint)


def as_number(text: str, where: str, path: Path) -> float:
    try:
        if "_" in text:  # which Python leaves out
            raise ValueError
        return float(text)
    except ValueError as error:
        raise DataError(f"{where}: {text!r} is no number", path=path) from error
