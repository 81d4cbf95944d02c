"""mlavl synthesize: simulated routines of known score, as real mp4 files with a manifest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mlavl_cli.cli import console, options
from mlavl_cli.cores import cores
from mlavl_cli.errors import UsageError


def _pair(text: str, option: str, example: str, sign: str = ":") -> tuple[float, float]:
    try:
        first, second = map(float, text.split(sign))
    except ValueError as error:
        raise UsageError(f"{option} {text} isn't like {example}") from error
    return first, second


def seconds_of(text: str) -> tuple[float, float]:
    """20:180 -> (20, 180); 90 -> (90, 90)."""
    shortest, longest = _pair(text if ":" in text else f"{text}:{text}", "--seconds", "20:180")
    if not 5 <= shortest <= longest <= 600:
        raise UsageError(f"--seconds {text}: a routine takes 5 to 600 seconds")
    return shortest, longest


def fidelity_of(text: str) -> tuple[float, float]:
    """0.5:1 -> (0.5, 1)."""
    low, high = _pair(text, "--fidelity", "0.5:1")
    if not 0 <= low <= high <= 1:
        raise UsageError(f"--fidelity {text} must lie between 0 and 1")
    return low, high


def size_of(text: str) -> tuple[int, int]:
    """640x360 -> (640, 360)."""
    width, height = _pair(text, "--size", "640x360", "x")
    if not all(64 <= side <= 4096 and side % 2 == 0 for side in (width, height)) or not height <= width <= 4 * height:
        raise UsageError(f"--size {text}: even sides of 64 to 4096, at least as wide as high")
    return int(width), int(height)


def synthesize(
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="Gets videos/, truth/ and manifest.csv.", file_okay=False)
    ],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many routines.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same files.")] = 0,
    style: Annotated[
        list[str] | None,
        typer.Option(
            help="Scenery, body, camera and music (again for more, taken in turn); any: drawn for each routine.  "
            "\\[default: those for training]"
        ),
    ] = None,
    split: Annotated[
        Literal["auto", "train", "val", "test"], typer.Option(help="Of all; auto: 70, 10 and 20 per cent.")
    ] = "auto",
    seconds: Annotated[
        Any,
        typer.Option(metavar="FROM:TO", parser=seconds_of, help="Shortest and longest, like 20:180, or one."),
    ] = "40:50",
    fidelity: Annotated[
        Any,
        typer.Option(metavar="FROM:TO", parser=fidelity_of, help="How closely the movement follows the music, 0 to 1."),
    ] = "0:1",
    size: Annotated[Any, typer.Option(metavar="WxH", parser=size_of, help="Of the picture, in pixels.")] = "640x360",
    fps: Annotated[int | None, typer.Option(min=5, max=120, help="Frames a second.  \\[default: the style's]")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes.  \\[default: one a core]")] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Draw routines whose true scores are known: TES, PCS, SS, TR, PE, CO, IN, and how each clip fits its music.

    mlavl synthesize skate --count 40 --seed 1

    mlavl train simulated skate --output my-weights

    Run the same command again to resume it; run it with another seed to add to the folder.
    """
    from mlavl_cli.simulate.collection import MANIFEST, split_of, synthesize_set
    from mlavl_cli.simulate.style import TRAINING, find_style
    from mlavl_cli.simulate.write import Recipe

    styles = list(style or TRAINING)
    for name in styles:
        find_style(name)
    recipes = [Recipe(seed, i, styles[i % len(styles)], seconds, fidelity, size, fps) for i in range(count)]
    splits = [split_of(i, count) if split == "auto" else split for i in range(count)]
    with _bar(count) as advance:
        for id in synthesize_set(output, recipes, splits, workers or cores()):
            advance(id)
    typer.echo(output / MANIFEST)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[str], None]]:
    """On a terminal, how many are done."""
    with console.bar() as bar:
        task = bar.add_task("", total=total) if bar else None
        yield lambda id: bar.update(task, advance=1, description=id) if bar else None
