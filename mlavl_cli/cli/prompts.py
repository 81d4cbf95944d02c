"""mlavl prompts: the texts that guide the grading."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The prompts that guide the grading.")


@app.command("list")
def list_(
    sport: Annotated[str, typer.Argument(help="skating, gymnastics or swimming")] = "skating",
    actions: Annotated[Path | None, typer.Option("--actions", help="Your own csv with columns id,name.")] = None,
) -> None:
    """Print a sport's prompts, one a line, in the order of their rows."""
    from mlavl_cli.features.prompts import read_actions, sport_prompts

    prompts = read_actions(actions) if actions else sport_prompts(sport)
    typer.echo("\n".join(prompts.texts))
