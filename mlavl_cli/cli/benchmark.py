"""mlavl benchmark: how fast this machine is."""

from pathlib import Path
from typing import Annotated

import typer

from mlavl_cli.cli import options
from mlavl_cli.cli.tables import TableFormat, print_rows


def benchmark(
    video: Annotated[
        Path | None, typer.Argument(help="Of some clips at least.  \\[default: a made-up 720p one]")
    ] = None,
    weights: Annotated[
        str, typer.Option("--weights", "-w", "--backbones", help="mini, fs1000, fisv, rg, or a bundle's folder.")
    ] = "mini",
    visual: options.Visual = None,
    audio: options.Audio = None,
    seconds: Annotated[int, typer.Option(min=3, help="Length of the made-up video.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions of each measurement; the median is reported.")] = 3,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    batch_size: options.BatchSize = None,
    compiled: options.Compile = False,
    form: Annotated[TableFormat, typer.Option("--format", "-f", help="How the rows are printed.")] = "table",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure decoding, both backbones and the whole pipeline on this machine."""
    import tempfile

    from mlavl_cli.backbone import parse_backbone
    from mlavl_cli.bundle import find_bundle
    from mlavl_cli.device import place
    from mlavl_cli.features.extract import load_backbones
    from mlavl_cli.features.throughput import measure_throughput
    from mlavl_cli.media.sample import write_sample

    bundle, placement = find_bundle(weights), place(device, precision, compiled)
    specs = [parse_backbone(source) if source else None for source in (visual, audio)]
    backbones = load_backbones(bundle, placement, *specs)
    with tempfile.TemporaryDirectory() as folder:
        path = video or write_sample(Path(folder) / "720p.mp4", seconds)
        found = measure_throughput(path, backbones, batch_size, rounds)
    stages = {
        "decode": found.decode_s,
        "pictures and sound": found.pictures_and_sound_s,
        "spectrogram": found.spectrogram_s,
        "visual backbone": found.visual_s,
        "audio backbone": found.audio_s,
    }
    total = sum(stages.values())
    rows = [
        {"stage": name, "ms a clip": 1000 * value, "clips/s": 1 / max(value, 1e-9), "share": value / total}
        for name, value in stages.items()
    ]
    whole = {"ms a clip": 1000 * found.pipeline_s, "clips/s": 1 / found.pipeline_s, "share": None}
    rows.append({"stage": "pipeline", **whole})
    if form == "table":
        title = f"{bundle.name} on {placement.device}, {placement.precision}: {found.clips} clips"
        print_rows(rows, form, title)
        typer.echo(f"decoding          {found.decode_fps:.0f} frames/s")
        typer.echo(f"pipeline          {found.real_time_factor:.2f} x real time")
        typer.echo(f"pipeline by backbones alone   {found.overhead:.3f}")
        typer.echo(f"peak memory       {found.peak_memory_mb:.0f} MB")
    else:
        facts = {"real_time_factor": found.real_time_factor, "overhead": found.overhead}
        facts |= {"decode_fps": found.decode_fps, "peak_memory_mb": found.peak_memory_mb}
        print_rows([{**row, **facts} for row in rows], form)
