"""Options that name a dataset, for train and evaluate."""

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mlavl_cli.errors import UsageError
from mlavl_cli.untrusted import plain_name


class Kind(StrEnum):
    fs1000 = "fs1000"
    fisv = "fisv"
    rg = "rg"
    logo = "logo"
    manifest = "manifest"
    simulated = "simulated"


class Sport(StrEnum):
    skating = "skating"
    gymnastics = "gymnastics"
    swimming = "swimming"


KindArgument = Annotated[
    Kind,
    typer.Argument(
        help="A public dataset's layout; manifest: your own csv; simulated: a folder of `mlavl synthesize`."
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
