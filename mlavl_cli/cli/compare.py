"""mlavl compare: two takes of one programme, side by side."""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlavl_cli.cli import console, options
from mlavl_cli.cli.batch import results_only
from mlavl_cli.cli.tables import Row, TableFormat, print_rows
from mlavl_cli.errors import DataError, UsageError, one_line
from mlavl_cli.files import refuse_irregular

if TYPE_CHECKING:
    from mlavl_cli.scoring.compare import Moment

_SAME = "Score both with the same weights."
_MOST_BYTES, _MOST_TARGETS = 8 << 20, 64
_MOST_WARNINGS, _LONGEST_WORD = 1000, 4096
_MOST_NUMBER = 1e9  # of points, seconds and shares
_Take = Annotated[str, typer.Argument(help="A video, or what `mlavl score --format json` wrote of one.")]


def compare(
    a: _Take,
    b: _Take,
    offset: Annotated[float, typer.Option(help="By how many seconds the programme begins later in B.")] = 0.0,
    most: Annotated[int, typer.Option(min=1, help="Table: how many moments, those that differ most.")] = 8,
    form: Annotated[
        TableFormat, typer.Option("--format", "-f", help="csv: one row a moment, all of them. json: everything.")
    ] = "table",
    weights: options.Weights = "mini",
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare two takes of one programme: their scores, and the moments in which they differ.

    mlavl compare monday.mp4 friday.mp4

    mlavl compare monday.json friday.json --offset 1.5
    """
    written = [_written(path) for path in (a, b)]
    takes = [take for take in written if take]
    if len(takes) < 2:
        from mlavl_cli.features import apart

        apart.start()  # before torch is loaded

        from mlavl_cli.scoring.scorer import load_scorer

        with results_only():
            scorer = load_scorer(weights, device, precision)
            takes = [take or scorer.score(path).to_dict() for take, path in zip(written, (a, b), strict=True)]
    from mlavl_cli.scoring.compare import compare_moments, compare_scores

    _refuse_other_weights(takes)
    for take in takes:
        for text in take.get("warnings", ()):
            console.warning(f"{take['video']['path']}: {text}")
    scores, moments = compare_scores(takes[0], takes[1]), compare_moments(takes[0], takes[1], offset)
    if not scores:
        raise UsageError("the takes have no score in common", hint=_SAME)
    timed = any(moment.quality_a is not None for moment in moments)
    if timed and not any(moment.quality_b is not None for moment in moments):
        raise UsageError("the takes share no time", hint="Check --offset.")
    if form == "json":
        sys.stdout.write(json.dumps(_whole(takes, scores, moments, offset), indent=2, allow_nan=False) + "\n")
        return
    if form == "csv":
        print_rows([vars(moment) | {"change": moment.change} for moment in moments], form)
        return
    for name, take in zip("AB", takes, strict=True):
        typer.echo(one_line(f"{name} {take['video']['path']}"))
    print_rows([{"": name, "A": a, "B": b, "B - A": b - a} for name, (a, b) in scores.items()], form)
    differing = sorted((m for m in moments if m.change is not None), key=lambda m: -abs(m.change or 0))[:most]
    if differing:
        rows = [_row(m) for m in sorted(differing, key=lambda m: m.start_s)]
        print_rows(rows, form, "Where they differ most (A's time)")
    typer.echo(one_line(f"{takes[0]['weights']['name']}: {takes[0]['weights']['trained_on']}"))


def _refuse_other_weights(takes: list[dict[str, Any]]) -> None:
    for take in takes:
        if any(take["weights"][name] != takes[0]["weights"][name] for name in ("name", "trained_on")):
            names = " and ".join(repr(one["weights"]["name"]) for one in takes)
            raise UsageError(f"scores by different weights ({names}) can't be compared", hint=_SAME)


def _written(path: str) -> dict[str, Any] | None:
    """A score that was written as json, checked as far as it is used; None: it is no json, so a video.

    Raises:
        DataError: json, but not a score of one video.
    """
    if Path(path).suffix.lower() not in (".json", ".jsonl"):
        return None
    try:
        refuse_irregular(Path(path))
        if Path(path).stat().st_size > _MOST_BYTES:
            raise ValueError
        found = json.loads(Path(path).read_text("utf-8"))
        if isinstance(found, list):
            (found,) = found
        if len(found["scores"]) > _MOST_TARGETS:
            raise ValueError
        numbers = [score["score"] for score in found["scores"].values()]
        for clip in found["clips"]:
            numbers += [clip[name] for name in ("start_s", "end_s")]
            numbers += [0.0 if clip[name] is None else clip[name] for name in ("consistency", "quality")]
        warnings = found.get("warnings", [])
        if not isinstance(warnings, list) or len(warnings) > _MOST_WARNINGS:
            raise TypeError
        words = [found["weights"]["name"], found["weights"]["trained_on"], found["video"]["path"]]
        words += [*found["scores"], *warnings]
        if not all(type(n) in (int, float) and abs(n) <= _MOST_NUMBER for n in numbers):
            raise ValueError
        spans = [(clip["start_s"], clip["end_s"]) for clip in found["clips"]]
        if any(start >= end for start, end in spans) or any(b[0] < a[1] for a, b in pairwise(spans)):
            raise ValueError  # clips follow one another
        if not all(isinstance(word, str) and len(word) <= _LONGEST_WORD for word in words):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        cause = "can't be read as the score of one video"
        raise DataError(cause, path=path, hint="Write it with: mlavl score VIDEO --format json.") from error
    return found


def _row(moment: "Moment") -> Row:
    from mlavl_cli.scoring.shown import clock

    return {
        "time": f"{clock(moment.start_s)}-{clock(moment.end_s)}",
        "consistency A": moment.consistency_a, "consistency B": moment.consistency_b,
        "quality A": moment.quality_a, "quality B": moment.quality_b, "change": moment.change,
    }  # fmt: skip


def _whole(takes: list[dict[str, Any]], scores: dict, moments: list["Moment"], offset: float) -> dict[str, Any]:
    return {
        "a": takes[0]["video"]["path"],
        "b": takes[1]["video"]["path"],
        "weights": {name: takes[0]["weights"][name] for name in ("name", "trained_on")},
        "offset_s": offset,
        "scores": {name: {"a": a, "b": b, "difference": b - a} for name, (a, b) in scores.items()},
        "moments": [vars(moment) | {"change": moment.change} for moment in moments],
    }
