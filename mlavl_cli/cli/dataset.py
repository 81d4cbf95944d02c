"""Options that name a dataset, for train and evaluate."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from mlavl_cli.datasets.layouts import FOLDERS, TABLES
from mlavl_cli.errors import UsageError
from mlavl_cli.untrusted import plain_name

Sport = Literal["skating", "gymnastics", "swimming"]
KindArgument = Annotated[
    str,
    typer.Argument(
        metavar="KIND",
        help=f"A layout: {', '.join((*FOLDERS, *TABLES))}. manifest: your own csv; simulated: of `mlavl synthesize`.",
    ),
]
PathArgument = Annotated[Path, typer.Argument(metavar="PATH", help="The dataset's folder, or the manifest's csv.")]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        help="TES, PCS, ... (again for more). RG: also all, one head for every apparatus.  [default: each]",
    ),
]
SportOption = Annotated[Sport, typer.Option("--sport", help="Whose prompts guide a manifest's heads.")]
Ranges = Annotated[
    list[str] | None, typer.Option("--range", help="A manifest's score range, like TES=0:130 (again for more).")
]
Features = Annotated[
    Path | None, typer.Option("--features", help="Where a manifest's features are kept.  [default: beside the csv]")
]


def parse_ranges(texts: list[str] | None) -> dict[str, tuple[float, float]]:
    """TES=0:130 -> {"TES": (0, 130)}.

    Raises:
        UsageError: not of that form, or empty.
    """
    ranges = {}
    for text in texts or []:
        try:
            target, bounds = text.split("=")
            low, high = map(float, bounds.split(":"))
        except ValueError as error:
            raise UsageError(f"--range {text} isn't like TES=0:130") from error
        if not (low < high and math.isfinite(high - low)):
            raise UsageError(f"--range {text} is no range", hint="From a number to a larger one, like TES=0:130.")
        ranges[plain_name(target, "a target", UsageError)] = (low, high)
    return ranges
