"""mlavl compare: two takes of one programme, side by side."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlavl_cli.bundle import find_bundle
from mlavl_cli.cli import console, options
from mlavl_cli.cli.batch import results_only
from mlavl_cli.cli.outputs import refuse_taken
from mlavl_cli.cli.tables import Row, TableFormat, form_of, print_rows, stdout_to
from mlavl_cli.cli.takes import Take, read_take
from mlavl_cli.errors import UsageError, one_line

if TYPE_CHECKING:
    from mlavl_cli.media.cutting import Cutting
    from mlavl_cli.output.report.glimpse import Glimpse
    from mlavl_cli.scoring.alignment import MusicMatch
    from mlavl_cli.scoring.compare import Comparison, Moment

_SAME = "Score both with the same weights."
_TakeName = Annotated[str, typer.Argument(help="A video, or what `mlavl score --format json` wrote of one.")]


def compare(
    a: _TakeName,
    b: _TakeName,
    offset: Annotated[
        Any,
        typer.Option(
            metavar="SECONDS",
            parser=options.offset_of,
            help="By how many seconds the programme begins later in B; start: 0; music: as the music of both fits."
            "  \\[default: music for two videos, else start]",
        ),
    ] = "auto",
    most: Annotated[int, typer.Option(min=1, help="Table: how many moments, those that differ most.")] = 8,
    form: Annotated[
        TableFormat | None,
        typer.Option(
            "--format",
            "-f",
            help="csv: one row a moment, all of them. json: everything.  \\[default: as --output ends, or table]",
        ),
    ] = None,
    output: options.Output = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Write a page here: both videos side by side, in step, and where they differ.",
            file_okay=False,
        ),
    ] = None,
    weights: options.Weights = "mini",
    features: options.Features = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare two takes of one programme: their scores, and the moments in which they differ.

    mlavl compare monday.mp4 friday.mp4

    mlavl compare monday.mp4 friday.mp4 --report pages

    mlavl compare monday.json friday.json --offset 1.5
    """
    refuse_taken({os.path.realpath(path): "is one of the takes" for path in (a, b)}, [output])
    takes = [read_take(path) for path in (a, b)]
    filmed = [take.result is None for take in takes]
    if not all(filmed) and (report or offset == "music"):
        what = "--report" if report else "--offset music"
        raise UsageError(f"{what} needs two videos, not what was written of them", hint="Name the videos.")
    glimpses: list[Glimpse] = []
    with results_only():
        if any(filmed):
            cutting = _score(takes, weights, device, precision, features)
            if all(filmed) and (report or offset != "start"):
                glimpses = [_look(take, cutting, bool(report)) for take in takes]
    found = _compared(takes, offset, glimpses)
    with stdout_to(output):
        _show(takes, found, form_of(form, output), most)
    if report:  # where it can't be written, the results are there
        from mlavl_cli.output.report.side_by_side import write_side_by_side

        console.told(f"page: {write_side_by_side(report, [take.scored for take in takes], glimpses, found)}")


def _score(takes: list[Take], weights: str, device: str, precision: Any, features: Path | None) -> "Cutting":
    """Scores the videos among the takes, and says how they were cut."""
    from mlavl_cli.features import apart

    apart.start()  # before torch is loaded
    with console.loading("libraries"):
        from mlavl_cli.features.extractor import ExtractionOptions
        from mlavl_cli.media.cutting import Cutting
        from mlavl_cli.scoring.scorer import load_scorer

    bundle = find_bundle(weights)
    cutting = Cutting(frame_rate=bundle.frame_rate)
    with console.loading("weights"):
        scorer = load_scorer(bundle, device, precision, ExtractionOptions(store=features, cutting=cutting))
    for take in takes:
        if take.result is None:
            take.score = scorer.score(take.path)
            take.result = take.score.to_dict()
    return cutting


def _look(take: Take, cutting: "Cutting", pictures: bool) -> "Glimpse":
    from mlavl_cli.output.report.glimpse import look
    from mlavl_cli.output.report.page import shown_clips

    video = take.scored.video
    return look(
        Path(take.path), shown_clips(take.scored) if pictures else (), (video.width_px, video.height_px), cutting
    )


def _compared(takes: list[Take], offset: float | str, glimpses: list["Glimpse"]) -> "Comparison":
    """Says what is unusual of the takes; what can't be compared is refused."""
    from mlavl_cli.scoring.alignment import match_music
    from mlavl_cli.scoring.compare import compare_takes

    first, second = (take.known for take in takes)
    if any(first["weights"][name] != second["weights"][name] for name in ("name", "trained_on")):
        names = " and ".join(repr(one["weights"]["name"]) for one in (first, second))
        raise UsageError(f"scores by different weights ({names}) can't be compared", hint=_SAME)
    files = {digest for one in (first, second) if (digest := one["weights"].get("sha256"))}
    if len(files) > 1:
        name = first["weights"]["name"]
        raise UsageError(f"the weights {name!r} were changed between the scores, which can't be compared", hint=_SAME)
    for take in (first, second):
        for text in take.get("warnings", ()):
            console.warning(f"{take['video']['path']}: {text}")
    match = match_music(*(glimpse.onsets for glimpse in glimpses)) if glimpses else None
    note = _of_music(match, offset)
    if note:
        console.warning(note)
    fits = match is not None and match.same and offset in ("auto", "music")
    shift = match.offset_s if match and fits else 0.0 if isinstance(offset, str) else offset
    aligned_by = "music" if fits else "start" if isinstance(offset, str) else "given"
    found = replace(compare_takes(first, second, shift, aligned_by), note=note)
    if not found.scores:
        raise UsageError("the takes have no score in common", hint=_SAME)
    timed = any(moment.quality_a is not None for moment in found.moments)
    if timed and not any(moment.quality_b is not None for moment in found.moments):
        raise UsageError("the takes share no time", hint="Check --offset.")
    return found


def _of_music(match: "MusicMatch | None", offset: float | str) -> str:
    """What is to be said of the music of both takes."""
    if match and not match.same:
        return (
            f"the takes don't have the same music (correlation {match.correlation:.2f}): they are of different "
            "programmes, or noise hides it" + ("; compared from the start" if isinstance(offset, str) else "")
        )
    return "a take has no music to go by: compared from the start" if match is None and offset == "music" else ""


def _show(takes: list[Take], found: "Comparison", form: TableFormat, most: int) -> None:
    if form == "json":
        sys.stdout.write(json.dumps(_whole(takes, found), indent=2, allow_nan=False) + "\n")
        return
    if form == "csv":
        print_rows([vars(moment) | {"change": moment.change} for moment in found.moments], form)
        return
    for name, take in zip("AB", takes, strict=True):
        typer.echo(one_line(f"{name} {take.known['video']['path']}"))
    rows = [
        {
            "": target,
            "A": one.a,
            "B": one.b,
            "B - A": one.difference,
            "beyond intervals": one.why_not if one.beyond is None else "yes" if one.beyond else "no",
        }
        for target, one in found.scores.items()
    ]
    print_rows(rows, form)
    if differing := found.differing(most):
        how = f"Where they differ most (A's time; B is {found.offset_s:+.2f} s, by {found.aligned_by})"
        print_rows([_row(moment) for moment in sorted(differing, key=lambda m: m.start_s)], form, how, tight=True)
    weights = takes[0].known["weights"]
    typer.echo(one_line(f"{weights['name']}: {weights['trained_on']}"))


def _row(moment: "Moment") -> Row:
    from mlavl_cli.scoring.shown import clock

    return {
        "time": f"{clock(moment.start_s)}-{clock(moment.end_s)}",
        "consistency A": moment.consistency_a, "consistency B": moment.consistency_b,
        "quality A": moment.quality_a, "quality B": moment.quality_b, "change": moment.change,
    }  # fmt: skip


def _whole(takes: list[Take], found: "Comparison") -> dict[str, Any]:
    first, second = (take.known for take in takes)
    return {
        "a": first["video"]["path"],
        "b": second["video"]["path"],
        "weights": {name: first["weights"][name] for name in ("name", "trained_on")},
        "offset_s": found.offset_s,
        "aligned_by": found.aligned_by,
        "note": found.note or None,
        "scores": {
            target: {
                "a": one.a,
                "b": one.b,
                "difference": one.difference,
                "beyond_intervals": one.beyond,
                "incomparable": one.incomparable or None,
            }
            for target, one in found.scores.items()
        },
        "moments": [vars(moment) | {"change": moment.change} for moment in found.moments],
    }
