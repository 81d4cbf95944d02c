"""mlavl history: the scores that a folder of pages remembers, over time."""

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mlavl_cli.cli import console, options
from mlavl_cli.cli.outputs import KEPT, refuse_taken
from mlavl_cli.cli.tables import Row, TableFormat, form_of, print_rows, stdout_to
from mlavl_cli.errors import UsageError

if TYPE_CHECKING:
    from mlavl_cli.output.report.season import Record


def history(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `mlavl score --report DIR` filled.")],
    by: Annotated[
        Literal["skater", "file"],
        typer.Option("--by", help="skater: the folder a video lies in, else its name without the date. Or each file."),
    ] = "skater",
    form: Annotated[
        TableFormat | None,
        typer.Option("--format", "-f", help="How the scores are printed.  \\[default: as --output ends, or table]"),
    ] = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show a season: every score of a folder of pages over dates. The table also writes a page, DIR/history.html.

    A video's date is what its path says (2026-10-03, 03.10.2026), else its file's. Scores of other weights are told
    apart.

    mlavl score season/ --report pages && mlavl history pages
    """
    from mlavl_cli.output.report.history import grouped, weights_named
    from mlavl_cli.output.report.season import read_history
    from mlavl_cli.output.report.write import Report

    refuse_taken({os.path.realpath(folder / name): "holds the season" for name in KEPT}, [output])
    records = read_history(folder)
    if not records:
        raise UsageError(
            "nothing was scored into this folder", path=folder, hint="Run: mlavl score VIDEOS --report DIR."
        )
    named = weights_named(records)
    form = form_of(form, output)
    with stdout_to(output):
        if form != "table":
            found = grouped(records, by).items()
            _print([_whole(who, one, named[one.by]) for who, some in found for one in some], form)
            return
        by_weights: dict[Any, list[Record]] = defaultdict(list)
        for one in records:
            by_weights[one.by].append(one)
        for weights, name in named.items():  # a table each: as wide as a terminal
            found = grouped(by_weights[weights], by).items()
            _print([_short(who, one) for who, some in found for one in some], form, name)
    console.told(f"page: {Report(folder).write_history(by)}")


def _print(rows: list[Row], form: TableFormat, title: str = "") -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print_rows([{name: row.get(name) for name in columns} for row in rows], form, title, tight=True)


def _short(who: str, one: "Record") -> Row:
    points = {target: f"{found[0]:.1f}" for target, found in one.points.items()}
    marks = ["out of domain"] if one.in_domain is False else []
    marks += [] if one.has_audio else ["no sound"]
    return {"": who, "date": one.date, **points, " ": ", ".join(marks)}


def _whole(who: str, one: "Record", weights: str) -> Row:
    points: Row = {}
    for target, (score, low, high) in one.points.items():
        points |= {target: score, f"{target}_low": low, f"{target}_high": high}
    who_when = {"who": who, "date": one.date, "dated": one.dated, "name": one.name, "scored": one.scored}
    return {
        **who_when,
        "weights": weights,
        "trained_on": one.trained_on,
        "in_domain": one.in_domain,
        "has_audio": one.has_audio,
        **points,
    }
