"""stderr: errors, warnings and progress. Results go to stdout, and nothing else does."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from mlavl_cli.errors import MlavlError, one_line

if TYPE_CHECKING:
    from mlavl_cli.media.decode import VideoInfo

verbose = False
quiet = False


def set_verbose(value: bool) -> bool:
    global verbose
    verbose = value
    return value


def set_quiet(value: bool) -> bool:
    global quiet
    quiet = value
    return value


def error(problem: Exception) -> None:
    """One line; with --verbose also where it came from."""
    if isinstance(problem, MlavlError):
        line = str(problem)
    else:
        cause = one_line(f"{type(problem).__name__}: {problem}")
        line = f"internal error ({cause}). Run again with --verbose and report what it prints."
    if verbose:
        traceback.print_exception(problem, file=sys.stderr)
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(line, err=True)


def warning(text: str) -> None:
    if not quiet:
        typer.secho("warning: ", fg="yellow", err=True, nl=False)
        typer.echo(one_line(text), err=True)


def note(text: str) -> None:
    """Something only --verbose wants to know."""
    if verbose:
        typer.echo(one_line(text), err=True)


class FileProgress:
    """Progress over many videos: which one, how far, clips/s and time left. `start` gives each file's callback."""

    def __init__(self, bar, files: int):
        self._bar, self._files, self._done, self._clips = bar, files, 0, 0
        self._task = bar.add_task("", total=None, clips="") if bar else None

    def start(self, name: str) -> "Callable[[int, float, VideoInfo], None] | None":
        if self._bar is None:
            return None
        self._done += 1
        label = f"{self._done}/{self._files} {name}"
        self._clips = 0
        self._bar.reset(self._task, description=label, total=None, clips="")

        def on_clips(count: int, time_s: float, info: "VideoInfo") -> None:
            self._clips += count
            elapsed = self._bar.tasks[0].elapsed or 0
            speed = f"{self._clips / elapsed:.1f} clips/s" if elapsed else ""
            self._bar.update(self._task, completed=time_s, total=info.duration_s or None, clips=speed)

        return on_clips


@contextmanager
def file_progress(files: int) -> Iterator[FileProgress]:
    """A bar on stderr while files are worked on; on a terminal only, and not with --quiet."""
    if quiet or not sys.stderr.isatty():
        yield FileProgress(None, files)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[clips]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        yield FileProgress(bar, files)
