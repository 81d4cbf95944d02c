"""mlavl score: videos -> scores."""

import io
import sys
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mlavl_cli.cli import console, options
from mlavl_cli.cli.batch import expand, for_each
from mlavl_cli.files import Input, atomic_write


class Format(StrEnum):
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def score(
    inputs: options.Inputs,
    format: Annotated[
        Format,
        typer.Option("--format", "-f", help="json: one object for one video, an array for several or a folder."),
    ] = Format.table,
    output: options.Output = None,
    clips_csv: Annotated[Path | None, typer.Option("--clips-csv", help="Also write one row a clip here.")] = None,
    weights: options.Weights = "mini",
    features: Annotated[
        Path | None,
        typer.Option("--features", help="A feature store to reuse and to fill, so that nothing is computed twice."),
    ] = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.auto,
    batch_size: options.BatchSize = None,
    tail: options.TailOption = options.Tail.drop,
    video_stream: options.VideoStream = None,
    audio_stream: options.AudioStream = None,
    fail_fast: options.FailFast = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Score routines: TES/PCS-style points, grades, and how well action and music fit, clip by clip.

    mlavl score routine.mp4

    mlavl score season/ --format csv --output scores.csv

    find . -name '*.mp4' -print0 | mlavl score - --format jsonl
    """
    found, failed = expand(inputs)
    if not found:
        raise typer.Exit(1)

    from mlavl_cli.features.extract import Cutting
    from mlavl_cli.scores.render import WRITERS, ClipsCsvWriter
    from mlavl_cli.scores.result import UNVALIDATED
    from mlavl_cli.scores.scorer import load_scorer

    cutting = Cutting(tail.value, video_stream, audio_stream)
    scorer = load_scorer(weights, device, precision.value, batch_size, features, cutting)
    many = len(inputs) > 1 or inputs[0] == "-" or Path(inputs[0]).is_dir()

    with ExitStack() as stack:
        # A file appears whole at the end, or with what was scored until Ctrl-C; stdout gets each result at once.
        stream = stack.enter_context(_file_at_exit(output)) if output else sys.stdout
        writer = WRITERS[format](stream, list(scorer.heads), many)
        stack.callback(writer.close)
        of_clips = ClipsCsvWriter(stack.enter_context(_file_at_exit(clips_csv))) if clips_csv else None

        def work(source: Input, on_clips) -> None:
            result = scorer.score(source, on_clips)
            for text in result.warnings:
                if text != UNVALIDATED:  # said beside every consistency already
                    console.warning(f"{source.path}: {text}")
            writer.add(result)
            if of_clips:
                of_clips.add(result)
            console.note(f"{source.path}: {result.timing['real_time_factor']:.1f} x real time, {result.timing}")

        for_each(found, work, failed, fail_fast)


class _file_at_exit(io.StringIO):
    """Text kept in memory and written atomically on leaving, also when leaving by an exception."""

    def __init__(self, path: Path):
        super().__init__(newline="")
        self._path = path

    def __exit__(self, *_: object) -> None:
        with atomic_write(self._path, "w") as file:
            file.write(self.getvalue())
