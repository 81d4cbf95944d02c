"""The Typer app, and the one boundary where errors become a line on stderr and an exit code."""

import errno
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mlavl_cli import __version__
from mlavl_cli.cli import console, prompts, weights
from mlavl_cli.cli.batch import StdoutError
from mlavl_cli.cli.benchmark import benchmark
from mlavl_cli.cli.compare import compare
from mlavl_cli.cli.doctor import doctor
from mlavl_cli.cli.ending import INTERRUPTED, all_is_done, watch_for_the_end
from mlavl_cli.cli.evaluate import evaluate
from mlavl_cli.cli.extract_features import extract_features
from mlavl_cli.cli.history import history
from mlavl_cli.cli.labels import labels
from mlavl_cli.cli.process import settle
from mlavl_cli.cli.score import score
from mlavl_cli.cli.synthesize import synthesize
from mlavl_cli.cli.train import train
from mlavl_cli.errors import MlavlError, UsageError

_NO_MEMORY = ("can't allocate memory", "failed to map segment")  # of torch, and of what loads its parts
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF)


class MlavlGroup(TyperGroup):
    """Exit codes: 0 all done, 1 at least one input failed, 2 wrong usage, 130 interrupted."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().make_context(*args, **kwargs)
        except typer.TyperException as problem:
            raise _wrong_usage(problem) from problem

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.TyperException as problem:
            raise _wrong_usage(problem) from problem
        except (typer.Exit, typer.Abort, EOFError, BrokenPipeError):
            raise
        except StdoutError as problem:
            cause = problem.__cause__
            if isinstance(cause, BrokenPipeError):
                raise cause from None
            raise self._said(cause if isinstance(cause, OSError) else problem) from problem
        except MlavlError as problem:
            console.error(problem)
            raise typer.Exit(problem.exit_code) from problem
        except Exception as problem:
            raise self._said(problem) from problem

    @staticmethod
    def _said(problem: Exception) -> typer.Exit:
        """One line for what nothing below has an answer to."""
        if isinstance(problem, MemoryError) or any(words in str(problem) for words in _NO_MEMORY):
            problem = MlavlError(
                "takes more memory than there is", hint="Smaller batches or shorter routines take less."
            )
        if isinstance(problem, OSError) and problem.errno in _FULL:
            cause, what = f"can't be written ({problem.strerror})", problem.filename or "the results"
            problem = MlavlError(cause, path=what, hint="Make room, or write elsewhere.")
        console.error(problem)
        _give_up_what_is_unwritten()
        return typer.Exit(1)


def _give_up_what_is_unwritten() -> None:
    """Where stdout takes no more, Python would try again as it ends, and complain with a traceback's words."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wrong_usage(problem: typer.TyperException) -> typer.Exit:
    """Says on one line, as all errors are said, what typer would draw a box around."""
    ctx = getattr(problem, "ctx", None)
    if ctx is None or type(problem).__name__ == "NoArgsIsHelpError":
        typer.echo(problem.format_message(), err=True)
    else:
        cause = " ".join(problem.format_message().replace("Value error, ", "").split())
        console.error(UsageError(cause, hint=f"See {ctx.command_path} --help."))
    return typer.Exit(problem.exit_code)


app = typer.Typer(
    cls=MlavlGroup,
    context_settings={"help_option_names": ["--help", "-h"]},  # of all commands
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
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


_WITH_ARGUMENTS: list[Callable[..., None]] = [
    score,
    extract_features,
    labels,
    train,
    evaluate,
    compare,
    history,
    synthesize,
]
for command in _WITH_ARGUMENTS:
    app.command(no_args_is_help=True)(command)
app.command()(benchmark)
app.command()(doctor)
app.add_typer(weights.app, name="weights")
app.add_typer(prompts.app, name="prompts")


def main() -> None:
    """The console script."""
    settle()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that no terminal can show must not end a run
            stream.reconfigure(errors="backslashreplace")
    try:
        watch_for_the_end()
        app()
    except KeyboardInterrupt:  # before a command has begun
        raise SystemExit(INTERRUPTED) from None
    finally:
        all_is_done()
