"""mlavl score: videos -> scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mlavl_cli.bundle import find_bundle
from mlavl_cli.cli import console, options
from mlavl_cli.cli.batch import Batch, counted, expected, for_each
from mlavl_cli.cli.outputs import Outputs
from mlavl_cli.errors import FeatureError
from mlavl_cli.inputs import Input
from mlavl_cli.output.formats import FORMATS

if TYPE_CHECKING:
    from mlavl_cli.scoring.result import RoutineScore


def score(
    inputs: options.Inputs,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help=f"{', '.join(FORMATS)}. json: one object for one video, an array for several."
            "  \\[default: as --output ends, or table]",
        ),
    ] = None,
    output: options.Output = None,
    clips_csv: Annotated[
        Path | None, typer.Option("--clips-csv", help="Also write one row a clip here.", dir_okay=False)
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Write a page a video here, with the video's timeline, and an index of them.",
            file_okay=False,
        ),
    ] = None,
    embed: Annotated[
        bool, typer.Option("--report-embed-video", help="Put the videos into the pages, instead of links to them.")
    ] = False,
    vtt: Annotated[
        Path | None,
        typer.Option(
            "--vtt", help="Write the timelines here as WebVTT, for players: one file a video.", file_okay=False
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the timeline of one video: .png, .svg or .pdf.", dir_okay=False)
    ] = None,
    weights: options.Weights = "mini",
    features: options.Features = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    batch_size: options.BatchSize = None,
    compiled: options.Compile = False,
    workers: options.Workers = None,
    tail: options.TailOption = "drop",
    video_stream: options.VideoStream = None,
    audio_stream: options.AudioStream = None,
    frame_rate: options.FrameRate = "auto",
    shard: options.Shard = "1/1",
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
    many = len(inputs) > 1 or inputs[0] == "-" or Path(inputs[0]).is_dir()
    outputs = Outputs(
        form=form, output=output, clips_csv=clips_csv, report=report, embed=embed, vtt=vtt, plot=plot, many=many
    )
    # What is checked of all inputs before any work, or sent to a cluster together, needs the whole list.
    batch = Batch(inputs, shard, outputs.as_they_come and not ray, outputs.format != "table")
    outputs.check(batch.known)

    from mlavl_cli.features import apart

    apart.start()  # before torch is loaded
    with console.loading("libraries"):
        from mlavl_cli.features.cluster import Cluster
        from mlavl_cli.features.extractor import ExtractionOptions
        from mlavl_cli.media.cutting import Cutting
        from mlavl_cli.scoring.scorer import load_scorer

    bundle = find_bundle(weights)
    cutting = Cutting(tail, video_stream, audio_stream, bundle.frame_rate if frame_rate == "auto" else frame_rate)
    asked = ExtractionOptions(
        store=features, cutting=cutting, batch_size=batch_size, workers=workers, compiled=compiled
    )
    with console.loading("weights"):
        scorer = load_scorer(bundle, device, precision, asked, Cluster(ray, ray_cpus) if ray else None)
    with outputs.opened(batch.known, list(scorer.heads), cutting) as sinks, console.file_progress() as progress:

        def work(source: Input, result: "RoutineScore") -> None:
            _warn(source, result, batch if strict else None)
            with progress.aside():
                sinks.add(source, result)
            console.note(f"{source.path}: {result.timing.real_time_factor:.1f} x real time, {result.timing}")

        batch.record_lost(sinks.fail)
        scored = (
            (cast(Input, source), result)
            for group in expected(batch, progress)
            for source, result in scorer.score_many(group, progress.on_clips, batch.fail)
        )
        for_each(batch, counted(scored, progress), work, fail_fast)


def _warn(source: Input, result: "RoutineScore", strict: Batch | None) -> None:
    """Says what a user should know of a result; with a strict batch, out of domain counts as failed."""
    from mlavl_cli.scoring.result import OF_CONSISTENCY, UNFAMILIAR

    outside = strict is not None and result.in_domain is False
    for notice in result.warnings:
        if notice.code not in OF_CONSISTENCY and not (outside and notice.code == "out-of-domain"):
            console.warning(f"{source.path}: {notice.text}")
    if strict is not None and outside:
        strict.fail(FeatureError(UNFAMILIAR, path=source.path))
