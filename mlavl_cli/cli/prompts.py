"""mlavl prompts: the texts that guide the grading."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlavl_cli.cli import console, options
from mlavl_cli.cli.dataset import Sport
from mlavl_cli.errors import UsageError, one_line
from mlavl_cli.heads import dims

if TYPE_CHECKING:
    from mlavl_cli.features.text_features import TextFeatures


Actions = Annotated[
    Path | None,
    typer.Option("--prompts", "--actions", help="A csv of columns id,name: your own actions, or all official prompts."),
]
GradeOrder = Annotated[
    dims.GradeOrder,
    typer.Option("--grade-order", help="Of the audio-visual grades in --text-features; blocks: encoded by mlavl 0.1."),
]

app = typer.Typer(no_args_is_help=True, help="The prompts that guide the grading.")


@app.command("list")
def list_(
    sport: Annotated[Sport, typer.Argument()] = "skating",
    actions: Actions = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Print a sport's prompts, one a line, in the order of their rows."""
    typer.echo("\n".join(map(one_line, _texts(sport, actions))))


@app.command()
def encode(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="(P, width) float32: .safetensors, which keeps the texts, or .npy.", dir_okay=False
        ),
    ],
    sport: Annotated[Sport, typer.Argument()] = "skating",
    actions: Actions = None,
    text: Annotated[
        str,
        typer.Option(
            "--text", help="A CLIP by hub id (ID@REVISION pins it) or folder.  \\[default: the pinned ViT-B/16]"
        ),
    ] = "",
    checkpoint: Annotated[
        Path | None, typer.Option(help="A ViFi-CLIP .pth, whose text tensors take the place of CLIP's.")
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Encode prompts with CLIP's text tower, for `mlavl train --text-features`. A full stop follows each."""
    from mlavl_cli.backbone import parse_backbone
    from mlavl_cli.bundle import find_bundle
    from mlavl_cli.features.text import encode_prompts
    from mlavl_cli.features.text_features import write_text_features

    tower = parse_backbone(text) if text else find_bundle("fs1000").text
    if tower is None:
        raise UsageError("the text tower of fs1000 isn't known", hint="Give one with --text.")
    features = encode_prompts(_texts(sport, actions), tower, checkpoint)
    write_text_features(output, features)
    typer.echo(f"{output}\t{features.rows.shape[0]} prompts\t{features.rows.shape[1]} wide")


def read_features(path: Path, blocks: bool) -> "TextFeatures":
    """The features in a file, in the order of the prompts.

    Args:
        path: of the file.
        blocks: whether its audio-visual grades stand in two blocks.
    """
    from mlavl_cli.features.text_features import interleaved, read_text_features

    features = read_text_features(path)
    if blocks:
        return interleaved(features)
    if not features.texts and features.looks_like_blocks:
        console.warning(
            f"{path}: its audio-visual grades look as if they stood in two blocks, as mlavl 0.1 encoded them; "
            "--grade-order blocks reads them so"
        )
    return features


def _texts(sport: Sport, actions: Path | None) -> tuple[str, ...]:
    from mlavl_cli.features.prompts import read_prompts, sport_prompts

    return (read_prompts(actions) if actions else sport_prompts(sport)).texts
