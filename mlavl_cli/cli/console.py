"""stderr: errors, warnings and progress. Results go to stdout, and nothing else does."""

import gc
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlavl_cli.cli.ending import not_swallowed
from mlavl_cli.errors import MlavlError, explained, one_line

_LONGEST = 4000  # letters of a line on stderr

if TYPE_CHECKING:
    from mlavl_cli.media.decode import VideoInfo

SPEAK_S = 60.0  # between two words of progress where there is no terminal

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
    """One line; with --verbose also where it came from. `path` is the file on which a bug showed itself.

    Raises:
        KeyboardInterrupt: it is the end that the process was told, in other words.
    """
    not_swallowed(problem)
    where = "" if isinstance(problem, MlavlError) or path is None else f"{path}: "
    line = _bounded(one_line(f"{where}{problem if isinstance(problem, MlavlError) else explained(problem)}"))
    if verbose:
        for text in traceback.format_exception(problem):
            for part in text.splitlines():
                typer.echo(one_line(part), err=True)
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(line, err=True)


def warning(text: str) -> None:
    if not quiet:
        typer.secho("warning: ", fg="yellow", err=True, nl=False)
        typer.echo(_bounded(one_line(text)), err=True)


def _bounded(line: str) -> str:
    """A file can name things in words of megabytes."""
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


def told(text: str) -> None:
    """What happens before it takes long."""
    if not quiet:
        typer.echo(one_line(text), err=True)


def note(text: str) -> None:
    """Something only --verbose wants to know."""
    if verbose:
        typer.echo(one_line(text), err=True)


class FileProgress:
    """Progress over many videos: how many are done, which one is under way and how far, clips/s, time left.

    Without a terminal a line says so from time to time.
    """

    def __init__(self, bar: Any):
        self._bar, self._files, self._done, self._clips = bar, 0, 0, 0
        self._began = self._spoke = time.monotonic()
        self._task = bar.add_task("", total=None, clips="", left="") if bar else None

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

    def file_done(self) -> None:
        """One more, whether it was extracted, read from a store, or failed."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, description=f"{self._done}/{self._files}", left=self._left())
        self._speak()

    def on_clips(self, count: int, time_s: float, info: "VideoInfo") -> None:
        """So many more of one video, which is extracted up to there."""
        self._clips += count
        self._speak()
        if self._bar is None:
            return
        name = one_line(Path(info.path).name)
        self._bar.update(
            self._task,
            description=f"{self._done}/{self._files} {name}",
            completed=time_s,
            total=info.duration_s or None,
            clips=f"{self._rate():.1f} clips/s",
            left=self._left(),
        )

    def _rate(self) -> float:
        return self._clips / max(time.monotonic() - self._began, 1e-3)

    def _left(self) -> str:
        """An estimate, from the first file on."""
        if not 0 < self._done < self._files:
            return ""
        seconds = (time.monotonic() - self._began) / self._done * (self._files - self._done)
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"

    def _speak(self) -> None:
        now = time.monotonic()
        if self._bar is not None or sys.stderr.isatty() or now - self._spoke < SPEAK_S:
            return
        self._spoke = now
        parts = [f"{self._done} of {self._files} videos done", f"{self._rate():.1f} clips/s", self._left()]
        told(", ".join(filter(None, parts)))


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Says on a terminal what takes some seconds before the first result.

    Meanwhile Python looks for no cycles: nearly all that is imported and loaded stays, and searching it takes a sixth
    of a short command's time.
    """
    gc.disable()
    try:
        if quiet or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console

        with Console(stderr=True).status(f"loading {what}"):
            yield
    finally:
        _leave_out_what_is_there()
        gc.enable()


@cache
def _leave_out_what_is_there() -> None:
    """Of later searches for cycles; once in the life of a process."""
    gc.freeze()


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
    rest = () if "left" in fields else (TimeRemainingColumn(),)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *shown, *rest)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress


@contextmanager
def file_progress() -> Iterator[FileProgress]:
    """Progress over many videos."""
    with bar("clips", "left") as shown:
        yield FileProgress(shown)
