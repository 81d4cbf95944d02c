"""Options that several commands share, each in one place."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mlavl_cli.bundle import MOST_WORDS
from mlavl_cli.cli import console
from mlavl_cli.device import Precision
from mlavl_cli.errors import UsageError
from mlavl_cli.media.cutting import Tail

_MOST_OFFSET_S = 1e6


def shard_of(text: str) -> tuple[int, int]:
    """2/8 -> (2, 8).

    Raises:
        UsageError: not of that form.
    """
    try:
        number, of = map(int, text.split("/"))
    except ValueError as error:
        raise UsageError(f"--shard {text} isn't like 2/8") from error
    if not 1 <= number <= of:
        raise UsageError(f"--shard {text}: the first number goes from 1 to the second")
    return number, of


def words(text: str | None) -> str | None:
    """What a bundle will say with every score.

    Raises:
        UsageError: it is too long to be read again.
    """
    if text and len(text) > MOST_WORDS:
        raise UsageError(f"{text[:40]!r}... has {len(text):,} letters, more than the {MOST_WORDS} of a bundle's words")
    return text


def frame_rate_of(text: str) -> float | Literal["auto"] | None:
    """Frames a second; None for native, the video's own; or "auto", the weights'.

    Raises:
        UsageError: none of them.
    """
    if text in ("auto", "native"):
        return "auto" if text == "auto" else None
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not 1 <= fps <= 1000:
        raise UsageError(f"--frame-rate {text} is no rate", hint="Use frames a second, native or auto.")
    return fps


def window_of(text: str) -> int | Literal["auto"] | None:
    """A number of clips; None for full, all of them; or "auto".

    Raises:
        UsageError: none of them.
    """
    if text in ("auto", "full"):
        return "auto" if text == "auto" else None
    if not (text.isdecimal() and int(text) > 0):
        raise UsageError(f"--window {text} is no number of clips", hint="Use a number, full or auto.")
    return int(text)


def offset_of(text: str) -> float | str:
    """Seconds, or "auto", "music" or "start".

    Raises:
        UsageError: none of them.
    """
    if text in ("auto", "music", "start"):
        return text
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not abs(seconds) <= _MOST_OFFSET_S:
        raise UsageError(f"--offset {text} is no number of seconds", hint="Use seconds, music or start.")
    return seconds


def weights_completed(incomplete: str) -> list[str]:
    """What a shell offers for the weights: bundled names, and folders that hold a bundle or lead to one.

    Shells take some letters of what they are offered for code, so names that have others than these aren't offered.
    """
    from mlavl_cli.bundle import MANIFEST, bundled_names

    head, _, _ = incomplete.rpartition("/")
    try:
        folders = [
            path for path in Path(head or ("/" if incomplete.startswith("/") else ".")).iterdir() if path.is_dir()
        ]
    except OSError:
        folders = []
    lead = incomplete[: len(head) + 1] if "/" in incomplete else ""
    below = [f"{lead}{path.name}" + ("" if (path / MANIFEST).is_file() else "/") for path in folders]
    offered = (name for name in (*bundled_names(), *below) if name.startswith(incomplete))
    return sorted(name for name in offered if re.fullmatch(r"[\w./@+,=-]+", name))


# Typer takes no unions: what a parser makes of a text is Any to it.
Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Videos, folders of videos, or - for a list of paths on stdin."),
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        "-w",
        autocompletion=weights_completed,
        help="A bundled name (see `mlavl weights list`), a bundle's folder, or user/name\\[@revision] on the hub.",
    ),
]
Visual = Annotated[
    str | None, typer.Option("--visual", help="Another visual backbone: a hub id (ID@REVISION pins it) or a folder.")
]
Audio = Annotated[
    str | None, typer.Option("--audio", help="Another audio backbone: a hub id (ID@REVISION pins it) or a folder.")
]
Features = Annotated[
    Path | None,
    typer.Option(
        "--features", help="A feature store to reuse and to fill, so that nothing is computed twice.", file_okay=False
    ),
]
Device = Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="Number format of the backbones.")]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Clips a forward pass.  \\[default: by device]")
]
TailOption = Annotated[
    Tail, typer.Option("--tail", help="Fewer than 32 frames at the end: drop them (as the paper) or pad.")
]
VideoStream = Annotated[
    int | None, typer.Option("--video-stream", min=0, help="Which video stream of a file.  \\[default: the best]")
]
AudioStream = Annotated[
    int | None, typer.Option("--audio-stream", min=0, help="Which audio stream of a file.  \\[default: the best]")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Let torch compile the visual backbone: a minute at first, then faster.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Videos that are decoded at once.  \\[default: one a core, 2 to 16]"),
]
Shard = Annotated[
    Any,
    typer.Option(
        "--shard", metavar="I/N", parser=shard_of, help="Only every N-th input from the I-th, as for SLURM arrays."
    ),
]
FrameRate = Annotated[
    Any,
    typer.Option(
        "--frame-rate",
        metavar="RATE",
        parser=frame_rate_of,
        help="Of clips, in frames/s: auto (the weights'; 23.976 to 30 count as one), native (the video's), a number.",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Extract on a Ray cluster: local, auto (the one this machine is in) or HOST:PORT.",
        rich_help_panel="Cluster",
    ),
]
RayCpus = Annotated[
    int, typer.Option("--ray-cpus", min=1, help="CPUs of each worker where there is no GPU.", rich_help_panel="Cluster")
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first input that fails.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=console.set_quiet, help="No progress and no warnings on stderr.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", callback=console.set_verbose, help="Verbose output, with tracebacks.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the results here instead of to stdout.", dir_okay=False)
]
