"""The Typer app, and the one boundary where errors become a line on stderr and an exit code."""

import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

from mlavl_cli import __version__
from mlavl_cli.cli import console, prompts, weights
from mlavl_cli.cli.benchmark import benchmark
from mlavl_cli.cli.evaluate import evaluate
from mlavl_cli.cli.extract_features import extract_features
from mlavl_cli.cli.score import score
from mlavl_cli.cli.synthesize import synthesize
from mlavl_cli.cli.train import train
from mlavl_cli.errors import MlavlError


class MlavlGroup(TyperGroup):
    """Exit codes: 0 all done, 1 at least one input failed, 2 wrong usage, 130 interrupted."""

    def invoke(self, ctx: typer.Context) -> object:
        try:
            return super().invoke(ctx)
        except (typer.TyperException, typer.Exit, typer.Abort, EOFError, BrokenPipeError):
            raise
        except MlavlError as problem:
            console.error(problem)
            raise typer.Exit(problem.exit_code) from problem
        except Exception as problem:
            console.error(problem)
            raise typer.Exit(1) from problem


app = typer.Typer(
    cls=MlavlGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Score figure-skating and rhythmic-gymnastics routines from raw video (MLAVL, CVPR 2025).",
    epilog="Start with:  mlavl score routine.mp4",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlavl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


app.command()(score)
app.command()(extract_features)
app.command()(train)
app.command()(evaluate)
app.command()(benchmark)
app.command()(synthesize)
app.add_typer(weights.app, name="weights")
app.add_typer(prompts.app, name="prompts")


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that no terminal can show must not end a run
            stream.reconfigure(errors="backslashreplace")
    app()
