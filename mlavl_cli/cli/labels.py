"""mlavl labels: judges' protocols and a folder of videos -> the manifest that `mlavl train` takes."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlavl_cli.cli import console, options
from mlavl_cli.cli.outputs import refuse_taken
from mlavl_cli.cli.tables import Row, TableFormat, print_rows
from mlavl_cli.errors import DataError, UsageError
from mlavl_cli.files import stands_in_a_csv
from mlavl_cli.inputs import expand_inputs

if TYPE_CHECKING:
    from mlavl_cli.protocols.match import Match
    from mlavl_cli.protocols.performance import Performance


def labels(
    protocols: Annotated[list[Path], typer.Argument(metavar="PROTOCOL...", help="PDFs of judges' details per skater.")],
    videos: Annotated[Path | None, typer.Option("--videos", help="The folder of the videos, searched whole.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The manifest: a csv.", dir_okay=False)] = None,
    of_map: Annotated[
        Path | None,
        typer.Option("--map", help="A csv of columns skater, path (below --videos) and, if needed, segment and event."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take the videos that were found by name, unasked.")] = False,
    val: Annotated[int, typer.Option(min=0, max=50, help="Per cent for the validation split, by skater.")] = 15,
    test: Annotated[int, typer.Option(min=0, max=50, help="Per cent for the test split, by skater.")] = 15,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of the splits.")] = 0,
    pool: Annotated[
        bool, typer.Option("--pool", help="PCS of three components times 5/3, beside seasons with five.")
    ] = False,
    form: Annotated[TableFormat, typer.Option("--format", "-f", help="How the rows are printed.")] = "table",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Read ISU judges' protocols into labels, and match them with videos by name.

    mlavl labels men-fs.pdf women-fs.pdf --videos videos -o manifest.csv

    mlavl train manifest manifest.csv -o my-weights

    Rows whose sums don't hold are listed and left out. Without --videos the labels are printed.
    """
    from mlavl_cli.protocols.labels import label_rows, read_protocols, write_manifest

    if (output or of_map) and not videos:
        raise UsageError("--output and --map go with --videos")
    if videos and not videos.is_dir():
        raise UsageError("no such folder", path=videos, hint="--videos is a folder that is searched.")
    if output:
        refuse_taken({os.path.realpath(path): "is read" for path in (*protocols, of_map) if path}, [output])
    told = read_protocols(protocols)
    for error in told.failed:
        console.error(error)
    for one, why in told.wrong:
        console.warning(f"{one.protocol}, page {one.page}: {one.skater} is left out: {why}")
    for text in told.without:
        console.note(text)
    if told.rows:
        found = _matches(told.rows, videos, of_map, output) if videos else []
        rows: list[Row] = [dict(row) for row in label_rows(told.rows, pool)]
        for row, pair in zip(rows, found, strict=bool(found)):
            row |= {"video": str(pair.video or ""), "match": round(pair.score, 3) if pair.video else None}
        print_rows([_narrow(row) for row in rows] if form == "table" else rows, form, "PCS is divided by its factor")
        if output and videos:
            _confirm(found, yes or of_map is not None)
            write_manifest(output, found, videos, {"test": test, "val": val}, seed, pool)
    elif not (told.failed or told.wrong):
        count = len(told.without)
        hint = "With --verbose each is named; a protocol of another form looks like this, too."
        raise DataError(f"nobody has a score; {count} are named without one", path=protocols[0], hint=hint)
    if told.failed or told.wrong:
        raise typer.Exit(1)


def _matches(rows: "list[Performance]", folder: Path, of_map: Path | None, output: Path | None) -> "list[Match]":
    from mlavl_cli.protocols.match import match, read_map

    paths = []
    for inputs, errors in expand_inputs([str(folder)]):
        refuse_taken({os.path.realpath(one.path): "is one of the videos" for one in inputs}, [output])
        for path in (one.path.relative_to(folder) for one in inputs):
            if stands_in_a_csv(str(path)):
                paths.append(path)
            else:
                console.warning(f"{path}: no table can hold this name as it is, so it is left out; rename it")
        for error in errors:
            console.error(error)
    found = read_map(of_map, rows, paths) if of_map else match(rows, paths)
    for one in found:
        if one.video is None:
            console.warning(f"{one.performance.skater}, {one.performance.segment or 'segment unknown'}: {one.why}")
    return found


def _confirm(found: "list[Match]", agreed: bool) -> None:
    """Nothing that was found by names alone is written unseen."""
    count = sum(one.video is not None for one in found)
    if agreed or not count:
        return
    if not sys.stdin.isatty():
        hint = "Look at the table, then give --yes, or --map FILE to say it yourself."
        raise UsageError(f"{count} videos were found by their names", hint=hint)
    typer.confirm(f"{count} videos were found by their names. Write the manifest?", abort=True, err=True)


def _narrow(row: Row) -> Row:
    """What fits on a terminal."""
    kept = ("skater", "nation", "segment", "TES", "PCS", "TSS", "video", "match")
    return {name: row[name] for name in kept if name in row}
