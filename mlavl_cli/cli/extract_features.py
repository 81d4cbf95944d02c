"""mlavl extract-features: videos -> a feature store."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mlavl_cli.bundle import find_bundle
from mlavl_cli.cli import console, options
from mlavl_cli.cli.batch import Batch, counted, expected, for_each, results_only, writing_results
from mlavl_cli.errors import one_line
from mlavl_cli.inputs import Input


def extract_features(
    inputs: options.Inputs,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The feature store: one file a video.", file_okay=False)
    ],
    weights: Annotated[
        str,
        typer.Option(
            "--weights", "-w", "--backbones", help="Whose backbones: mini, fs1000, fisv, rg, or a bundle's folder."
        ),
    ] = "mini",
    visual: options.Visual = None,
    audio: options.Audio = None,
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
    fail_fast: options.FailFast = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Extract features of videos, for training and for scoring again. Prints each feature file's path.

    What is done is skipped, what is stale is done again; stop and start it as you like.
    """
    batch = Batch(inputs, shard, as_they_come=not ray)

    from mlavl_cli.features import apart

    apart.start()  # before torch is loaded
    with console.loading("libraries"):
        from mlavl_cli.features.cluster import Cluster, load_cluster_extractor
        from mlavl_cli.features.extractor import ExtractionOptions, Outcome, load_extractor
        from mlavl_cli.features.store import FeatureStore
        from mlavl_cli.media.cutting import Cutting

    store = FeatureStore(output)
    bundle = find_bundle(weights)
    cutting = Cutting(tail, video_stream, audio_stream, bundle.frame_rate if frame_rate == "auto" else frame_rate)
    load = partial(load_cluster_extractor, Cluster(ray, ray_cpus)) if ray else load_extractor
    asked = ExtractionOptions(
        visual=visual, audio=audio, store=output, cutting=cutting,
        batch_size=batch_size, workers=workers, compiled=compiled,
    )  # fmt: skip
    with console.loading("backbones"):
        extractor = load(bundle, device, precision, asked)

    def work(source: Input, outcome: Outcome) -> None:
        if outcome.fresh:
            for text in outcome.unwrap().warnings:
                console.warning(f"{source.path}: {text}")
        else:
            console.note(f"{source.path}: already there")
        with progress.aside(), writing_results():
            typer.echo(one_line(str(store.path(source))), file=stdout)

    with results_only() as stdout, console.file_progress() as progress:
        outcomes = (
            outcome for group in expected(batch, progress) for outcome in extractor.run(group, progress.on_clips)
        )
        results = ((one.source, one.error or one.unkept or one) for one in outcomes)
        for_each(batch, counted(results, progress), work, fail_fast)
