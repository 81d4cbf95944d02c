"""stderr: errors, warnings and progress. Results go to stdout, and nothing else does."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlavl_cli.errors import MlavlError, explained, one_line

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


def error(problem: Exception, path: Path | None = None) -> None:
    """One line; with --verbose also where it came from. `path` is the file on which a bug showed itself."""
    where = "" if isinstance(problem, MlavlError) or path is None else f"{path}: "
    line = one_line(f"{where}{problem if isinstance(problem, MlavlError) else explained(problem)}")
    if verbose:
        for text in traceback.format_exception(problem):
            for part in text.splitlines():
                typer.echo(one_line(part), err=True)
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(line, err=True)


def warning(text: str) -> None:
    if not quiet:
        typer.secho("warning: ", fg="yellow", err=True, nl=False)
        typer.echo(one_line(text), err=True)


def told(text: str) -> None:
    """What happens before it takes long."""
    if not quiet:
        typer.echo(one_line(text), err=True)


def note(text: str) -> None:
    """Something only --verbose wants to know."""
    if verbose:
        typer.echo(one_line(text), err=True)


class FileProgress:
    """Progress over many videos: how many, which one and how far, clips/s, time left; `on_clips` takes each batch."""

    def __init__(self, bar: Any):
        self._bar, self._files, self._started, self._clips = bar, 0, 0, 0
        self._task = bar.add_task("", total=None, clips="") if bar else None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """While a result is printed on the same terminal, the bar is out of its way."""
        if self._bar is None or sys.__stdout__ is None or not sys.__stdout__.isatty():
            yield
            return
        self._bar.stop()
        yield
        self._bar.start()

    def expect(self, files: int) -> None:
        """So many more than were known."""
        self._files += files

    def next_file(self) -> None:
        self._started += 1

    def on_clips(self, count: int, time_s: float, info: "VideoInfo") -> None:
        if self._bar is None:
            return
        self._clips += count
        elapsed = self._bar.tasks[0].elapsed or 0
        name = one_line(Path(info.path).name)
        self._bar.update(
            self._task,
            description=f"{min(self._started, self._files)}/{self._files} {name}",
            completed=time_s,
            total=info.duration_s or None,
            clips=f"{self._clips / elapsed:.1f} clips/s" if elapsed else "",
        )


@contextmanager
def bar(*fields: str) -> Iterator[Any]:
    """A bar of rich's on stderr, on a terminal and without --quiet; otherwise None.

    Args:
        fields: of its tasks, shown behind the bar.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    shown = [TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in fields]
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *shown, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress


@contextmanager
def file_progress() -> Iterator[FileProgress]:
    """Progress over many videos."""
    with bar("clips") as shown:
        yield FileProgress(shown)
