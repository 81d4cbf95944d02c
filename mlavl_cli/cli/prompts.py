"""mlavl prompts: the texts that guide the grading."""

from pathlib import Path
from typing import Annotated

import typer

from mlavl_cli.cli.dataset import Sport
from mlavl_cli.errors import one_line

Actions = Annotated[Path | None, typer.Option("--actions", help="Your own csv with columns id,name.")]

app = typer.Typer(no_args_is_help=True, help="The prompts that guide the grading.")


@app.command("list")
def list_(
    sport: Annotated[Sport, typer.Argument()] = Sport.skating,
    actions: Actions = None,
) -> None:
    """Print a sport's prompts, one a line, in the order of their rows."""
    typer.echo("\n".join(map(one_line, _texts(sport, actions))))


@app.command()
def encode(
    output: Annotated[Path, typer.Option("--output", "-o", help="A numpy file, (P, width) float32.")],
    sport: Annotated[Sport, typer.Argument()] = Sport.skating,
    actions: Actions = None,
    text: Annotated[
        str,
        typer.Option(
            "--text", help="A CLIP by hub id (ID@REVISION pins it) or folder.  [default: the pinned ViT-B/16]"
        ),
    ] = "",
    checkpoint: Annotated[
        Path | None, typer.Option(help="A ViFi-CLIP .pth, whose text tensors take the place of CLIP's.")
    ] = None,
) -> None:
    """Encode prompts with CLIP's text tower, for `mlavl train --text-features`."""
    import numpy as np

    from mlavl_cli.bundle import find_bundle, parse_backbone
    from mlavl_cli.features.text import encode_prompts
    from mlavl_cli.files import atomic_write

    tower = parse_backbone(text) if text else find_bundle("fs1000").text
    features = encode_prompts(_texts(sport, actions), tower, checkpoint)
    with atomic_write(output, named=True) as file:
        np.save(file, features)
    typer.echo(f"{output}\t{features.shape[0]} prompts\t{features.shape[1]} wide")


def _texts(sport: Sport, actions: Path | None) -> list[str]:
    from mlavl_cli.features.prompts import read_actions, sport_prompts

    return (read_actions(actions) if actions else sport_prompts(sport.value)).texts
