"""Options that name a dataset, for train and evaluate."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mlavl_cli.bundle import bundled_names
from mlavl_cli.cli import console
from mlavl_cli.datasets.layouts import FOLDERS, TABLES
from mlavl_cli.datasets.rows import manifest_rows
from mlavl_cli.errors import DataError, UsageError
from mlavl_cli.hub_bundle import is_hub_name
from mlavl_cli.score_range import Range, is_range
from mlavl_cli.untrusted import plain_targets

if TYPE_CHECKING:
    from mlavl_cli.bundle import Bundle
    from mlavl_cli.datasets.dataset import Dataset


def load(given: SimpleNamespace, backbones: "Bundle | None") -> "Dataset":
    """The dataset that the options name, with a bar while videos are extracted."""
    from mlavl_cli.datasets.load import load_dataset
    from mlavl_cli.datasets.videos import VideoOptions
    from mlavl_cli.device import place

    ranges = dict(given.score_range or ())
    with console.file_progress() as progress:
        videos = VideoOptions(
            store=given.features, again=given.extract_again, tell=console.told, on_clips=progress.on_clips
        )
        data = load_dataset(
            given.kind, given.path, place(given.device), backbones, given.sport, ranges, videos, given.group
        )
    for text in data.notes:
        console.warning(text)
    return data


def refuse_inputs(given: SimpleNamespace, targets: "list[Path | None]", weights: "Bundle | None" = None) -> None:
    """Results never take the place of labels, features, videos or weights.

    Raises:
        UsageError: they would.
    """
    if getattr(given, "save", False) and not Path(given.weights).is_dir() and is_hub_name(given.weights):
        hint = "Copy their folder, which is below HF_HOME/mlavl, and evaluate the copy."
        raise UsageError("weights of a hub stay as it lists them", path=given.weights, hint=hint)
    if getattr(given, "save", False) and str(given.weights) in bundled_names():
        hint = "Copy their folder, which `mlavl weights info` names, and evaluate the copy."
        raise UsageError("weights of the package stay as they are", path=given.weights, hint=hint)
    if not any(targets):
        return
    held = [os.path.realpath(given.path)] if given.path.is_dir() else []
    held += [os.path.realpath(weights.folder)] if weights else []
    read = {Path(os.path.realpath(given.path))}
    if given.kind == "manifest" and given.path.exists():
        rows, *_ = manifest_rows(given.path, dict(given.score_range or ()), given.group)
        named = (row.get(column) for row in rows for column in ("path", "audio", "flow"))
        read |= {Path(os.path.realpath(given.path.parent / name)) for name in named if name}
    for target in filter(None, targets):
        real = Path(os.path.realpath(target))
        if real in read or (real.exists() and any(real.is_relative_to(folder) for folder in held)):
            raise UsageError("holds what is read, results can't be written there", path=target)


def check_labels(given: SimpleNamespace, folds: bool = False) -> None:
    """What is wrong with a manifest's csv, told before torch is loaded.

    Raises:
        DataError: something is.
        UsageError: the plot would take its place.
    """
    refuse_inputs(given, [given.plot])
    path, group, ranges = given.path, given.group, dict(given.score_range or ())
    if given.kind != "manifest" or not path.exists():
        return
    rows, *_ = manifest_rows(path, ranges, group)
    if not folds and not any(row["split"] for row in rows):
        raise DataError("no row has a split", path=path, hint=f"Give train, val and test, or --folds ({group}).")


def range_of(text: str) -> Range:
    """0:130 -> (0, 130).

    Raises:
        UsageError: not of that form, or empty.
    """
    try:
        low, high = map(float, text.split(":"))
    except ValueError as error:
        raise UsageError(f"--range {text} isn't like 0:130") from error
    if not is_range(low, high):
        raise UsageError(f"--range {text} is no range", hint="From a number to one above it, like 0:130.")
    return low, high


def range_of_one(text: str) -> Range:
    """0:130, or TES=0:130 as other commands take it, -> (0, 130).

    Raises:
        UsageError: not of that form.
    """
    return range_of(text.rpartition("=")[2])


def target_range_of(text: str) -> tuple[str, Range]:
    """TES=0:130 -> ("TES", (0, 130)).

    Raises:
        UsageError: not of that form, or empty.
    """
    target, equals, bounds = text.partition("=")
    if not equals:
        raise UsageError(f"--range {text} isn't like TES=0:130")
    return plain_targets([target], UsageError)[0], range_of(bounds)


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
        help="TES, PCS, ... (again for more). RG: also all, one head for every apparatus.  \\[default: each]",
    ),
]
SportOption = Annotated[Sport, typer.Option("--sport", help="Whose prompts guide a manifest's heads.")]
Ranges = Annotated[
    list[Any] | None,
    typer.Option(
        "--range",
        metavar="TARGET=LOW:HIGH",
        parser=target_range_of,
        help="A manifest's score range, in points, like TES=0:130 (again for more).",
    ),
]
Group = Annotated[
    str,
    typer.Option(
        "--group",
        metavar="COLUMN",
        help="Of a manifest: rows of one group stay together where splits are drawn.",
        rich_help_panel="Recipe",
    ),
]
ExtractAgain = Annotated[
    bool,
    typer.Option(
        "--extract-again", help="Make a manifest's features anew where those there are of other backbones or cuts."
    ),
]
Features = Annotated[
    Path | None,
    typer.Option(
        "--features", help="Where a manifest's features are kept.  \\[default: beside the csv]", file_okay=False
    ),
]
