"""mlavl score: videos -> scores."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from mlavl_cli.cli import console, options, plots
from mlavl_cli.cli.batch import Batch, for_each, results_only, tracked, writing_results
from mlavl_cli.cli.ending import before_the_end
from mlavl_cli.errors import FeatureError, UsageError
from mlavl_cli.files import atomic_write, refuse_outside
from mlavl_cli.inputs import Input

if TYPE_CHECKING:
    from mlavl_cli.scoring.result import RoutineScore


class Format(StrEnum):
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def score(
    inputs: options.Inputs,
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            "-f",
            help="json: one object for one video, an array for several.  [default: as --output ends, or table]",
        ),
    ] = None,
    output: options.Output = None,
    clips_csv: Annotated[Path | None, typer.Option("--clips-csv", help="Also write one row a clip here.")] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Write a page a video here, with the video's timeline, and an index of them."),
    ] = None,
    embed: Annotated[
        bool, typer.Option("--report-embed-video", help="Put the videos into the pages, instead of links to them.")
    ] = False,
    vtt: Annotated[
        Path | None, typer.Option("--vtt", help="Write the timelines here as WebVTT, for players: one file a video.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the timeline of one video: .png, .svg or .pdf.")
    ] = None,
    weights: options.Weights = "mini",
    features: Annotated[
        Path | None,
        typer.Option("--features", help="A feature store to reuse and to fill, so that nothing is computed twice."),
    ] = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.auto,
    batch_size: options.BatchSize = None,
    compiled: options.Compile = False,
    workers: options.Workers = 2,
    tail: options.TailOption = options.Tail.drop,
    video_stream: options.VideoStream = None,
    audio_stream: options.AudioStream = None,
    frame_rate: options.FrameRate = "auto",
    shard: options.Shard = None,
    ray: options.Ray = None,
    ray_cpus: options.RayCpus = 4,
    strict: Annotated[
        bool, typer.Option("--strict", help="Count a video that is out of the weights' domain as one that failed.")
    ] = False,
    fail_fast: options.FailFast = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Score routines: TES/PCS-style points, grades, and how well action and music fit, clip by clip.

    mlavl score routine.mp4

    mlavl score season/ --format csv --output scores.csv

    find . -name '*.mp4' -print0 | mlavl score - --format jsonl
    """
    ending = output.suffix.lstrip(".") if output else ""
    form = format or (Format(ending) if ending in list(Format) else Format.table)
    # What is checked of all inputs before any work, or sent to a cluster together, needs the whole list.
    batch = Batch(inputs, shard, as_they_come=not (output or clips_csv or plot or embed or ray))
    _refuse_overwriting(batch.known, output, clips_csv)
    sheet = plots.Sheet(plot) if plot else None
    if sheet and len(batch.known) > 1:
        raise UsageError("--plot draws one video", hint="Use --report for many.")
    if embed and not report:
        raise UsageError("--report-embed-video is of no use without --report", hint="Add --report FOLDER.")

    from mlavl_cli.features import apart

    apart.start()  # before torch is loaded

    from mlavl_cli.bundle import find_bundle
    from mlavl_cli.features.cluster import Cluster
    from mlavl_cli.media.clips import Cutting
    from mlavl_cli.output.render import WRITERS, ClipsCsvWriter
    from mlavl_cli.output.webvtt import write_webvtt
    from mlavl_cli.scoring.result import UNFAMILIAR, is_of_consistency
    from mlavl_cli.scoring.scorer import load_scorer

    rate = options.frame_rate_of(frame_rate, find_bundle(weights).frame_rate)
    cutting = Cutting(tail.value, video_stream, audio_stream, rate)
    pages = None
    if report:  # only then is its import worth its time
        from mlavl_cli.output.report.write import Report

        pages = Report(report, embed, cutting)
        pages.check(batch.known)
    cluster = Cluster(ray, ray_cpus) if ray else None
    scorer = load_scorer(weights, device, precision.value, batch_size, features, cutting, workers, cluster, compiled)
    many = len(inputs) > 1 or inputs[0] == "-" or Path(inputs[0]).is_dir()

    with ExitStack() as stack:
        results: list[Path] = []
        stdout = stack.enter_context(results_only())
        stream = stack.enter_context(_result_file(output, results)) if output else stdout
        writer = WRITERS[form](stream, list(scorer.heads), many)
        stack.callback(writer.close)
        before_the_end(lambda: results and stack.close())
        if pages:
            stack.callback(pages.write_index)
        of_clips = ClipsCsvWriter(stack.enter_context(_result_file(clips_csv, results))) if clips_csv else None

        def work(source: Input, result: "RoutineScore") -> None:
            outside = strict and result.in_domain is False
            for text in result.warnings:
                if not (is_of_consistency(text) or (outside and text == UNFAMILIAR)):
                    console.warning(f"{source.path}: {text}")
            if outside:
                batch.fail(FeatureError(UNFAMILIAR, path=source.path))
            with progress.aside(), writing_results():
                writer.add(result)
                if of_clips:
                    of_clips.add(result)
            results.append(source.path)
            if vtt:
                timeline = vtt / f"{source.name}.vtt"
                refuse_outside(timeline, vtt)
                write_webvtt(timeline, result)
            if sheet:
                sheet.timeline(result)
            if pages:
                pages.add(source, result)
            console.note(f"{source.path}: {result.timing['real_time_factor']:.1f} x real time, {result.timing}")

        with console.file_progress() as progress:
            scored = (
                result
                for group in batch.groups()
                for result in scorer.score_many(tracked(group, progress), progress.on_clips, batch.fail)
            )
            for_each(batch, scored, work, fail_fast)


def _refuse_overwriting(inputs: list[Input], output: Path | None, clips_csv: Path | None) -> None:
    """Results must not take the place of a video, nor of each other.

    Raises:
        UsageError: naming the file.
    """
    taken = {os.path.realpath(source.path): "is one of the videos" for source in inputs}
    for target in (output, clips_csv):
        if target is None:
            continue
        if cause := taken.get(os.path.realpath(target)):
            raise UsageError(f"{cause}, results can't be written there", path=target, hint="Choose another name.")
        taken[os.path.realpath(target)] = "is used twice"


@contextmanager
def _result_file(path: Path, results: list[Path]) -> Iterator[TextIO]:
    """A file that is begun at once, so that a folder that can't be written is known before the work, and appears whole.

    After Ctrl-C or an error it holds the results so far; without any, what stood under its name is left alone.
    """
    manager = atomic_write(path, "w", named=True)
    file = manager.__enter__()
    try:
        yield file
    except BaseException as error:
        if results:
            manager.__exit__(None, None, None)
        elif manager.__exit__(type(error), error, error.__traceback__):
            return
        raise
    manager.__exit__(None, None, None)
