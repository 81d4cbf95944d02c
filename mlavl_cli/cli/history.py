"""mlavl history: the scores that a folder of pages remembers, over time."""

from pathlib import Path
from typing import Annotated

import typer

from mlavl_cli.cli import console, options
from mlavl_cli.cli.tables import Row, TableFormat, print_rows, stdout_to
from mlavl_cli.errors import UsageError
from mlavl_cli.output.report.history import By, grouped, weights_named
from mlavl_cli.output.report.season import Record, read_history
from mlavl_cli.output.report.write import Report


def history(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `mlavl score --report DIR` filled.")],
    by: Annotated[
        By,
        typer.Option("--by", help="skater: the folder a video lies in, else its name without the date. Or each file."),
    ] = "skater",
    form: Annotated[TableFormat, typer.Option("--format", "-f", help="How the scores are printed.")] = "table",
    output: options.Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show a season: every score of a folder of pages over dates, and a page of them (DIR/history.html).

    A video's date is what its path says (2026-10-03), else its file's. Scores of other weights are told apart.

    mlavl score season/ --report pages && mlavl history pages
    """
    records = read_history(folder)
    if not records:
        raise UsageError(
            "nothing was scored into this folder", path=folder, hint="Run: mlavl score VIDEOS --report DIR."
        )
    named = weights_named(records)
    show = _short if form == "table" else _whole
    rows = [show(who, one, named[one.by]) for who, found in grouped(records, by).items() for one in found]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with stdout_to(output):
        print_rows([{name: row.get(name) for name in columns} for row in rows], form, tight=True)
    console.told(f"page: {Report(folder).write_history(by)}")


def _short(who: str, one: Record, weights: str) -> Row:
    """As wide as a terminal; what is out of domain is marked."""
    points = {target: f"{found[0]:.2f}" for target, found in one.points.items()}
    return {"": who, "date": one.date, "weights": weights, "domain": "out" if one.in_domain is False else "", **points}


def _whole(who: str, one: Record, weights: str) -> Row:
    points: Row = {}
    for target, (score, low, high) in one.points.items():
        points |= {target: score, f"{target}_low": low, f"{target}_high": high}
    inside = {True: "yes", False: "no", None: ""}[one.in_domain]
    who_when = {"who": who, "date": one.date, "path": one.name, "scored": one.scored}
    return {**who_when, "weights": weights, "trained_on": one.trained_on, "in_domain": inside, **points}
