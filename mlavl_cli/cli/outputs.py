"""Where the scores of `mlavl score` go: sinks, each of which takes a score as soon as it is there."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO, cast

from mlavl_cli.cli import console
from mlavl_cli.cli.batch import StdoutError, results_only, writing_results
from mlavl_cli.cli.ending import before_the_end, undisturbed
from mlavl_cli.errors import MlavlError, UsageError, refusing
from mlavl_cli.files import atomic_write, is_written_through, refuse_others, refuse_outside
from mlavl_cli.growing import growing_write
from mlavl_cli.inputs import Input, refuse_taken_name
from mlavl_cli.output.formats import FORMATS, Writer, format_class
from mlavl_cli.output.plot import Sheet

if TYPE_CHECKING:
    from mlavl_cli.media.cutting import Cutting
    from mlavl_cli.output.csv import ClipsCsvWriter
    from mlavl_cli.output.report.write import Report
    from mlavl_cli.scoring.result import RoutineScore

KEPT = ("index.html", "history.html", "history.jsonl")  # of a folder of pages
Sink = Callable[[Input, "RoutineScore"], object]


@dataclass
class Sinks:
    """Takes results one by one, and inputs that gave none.

    Attributes:
        writer: of the records, one an input.
        kept: the result file, where there is one: what it held is not given up for failures alone.
        others: where else results go.
        lost: told of inputs that gave no result, besides the writer.
        recorded: inputs whose record is written.
    """

    writer: Writer
    kept: Path | None
    others: list[Sink]
    lost: Callable[[Path, Exception], object] | None = None
    recorded: set[Path] = field(default_factory=set)
    _held: list[tuple[Path, Exception]] = field(default_factory=list)

    def add(self, source: Input, result: "RoutineScore") -> None:
        """Gives a result to every sink: where one can't be written the others are all the same.

        Raises:
            StdoutError, MlavlError: the first that couldn't.
        """
        problems: list[Exception] = []
        for sink in (self._write, *self.others):
            try:
                sink(source, result)
            except (StdoutError, MlavlError) as error:
                problems.append(error)
        if problems:
            raise problems[0]

    def fail(self, path: Path, problem: Exception) -> None:
        """Records an input that gave no result.

        Raises:
            StdoutError: it can't be written.
        """
        if path in self.recorded:  # what failed was another sink
            return
        if self.lost:
            self.lost(path, problem)
        if self.kept and self.kept.exists() and not self.recorded:
            self._held.append((path, problem))
            return
        self._record(path, problem)

    def _record(self, path: Path, problem: Exception) -> None:
        with writing_results():
            self.writer.fail(str(path), problem)
        self.recorded.add(path)

    def _write(self, source: Input, result: "RoutineScore") -> None:
        self.kept = None
        for path, problem in self._held:
            self._record(path, problem)
        self._held.clear()
        with writing_results():
            self.writer.add(result)
        self.recorded.add(source.path)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What was asked for, as on the command line.

    Raises:
        UsageError: no such format, or options that don't go together.
    """

    form: str | None
    output: Path | None
    clips_csv: Path | None
    report: Path | None
    embed: bool
    vtt: Path | None
    plot: Path | None
    many: bool  # whether several videos were asked for

    def __post_init__(self) -> None:
        try:
            format_class(self.format)
        except UsageError as error:
            raise UsageError(error.message, hint=f"{error.hint} See mlavl score --help.") from error
        if self.embed and not self.report:
            raise UsageError("--report-embed-video is of no use without --report", hint="Add --report FOLDER.")

    @property
    def format(self) -> str:
        """As asked for, as --output ends, or a table."""
        ending = self.output.suffix.lower().lstrip(".") if self.output else ""
        return self.form or (ending if ending in FORMATS else "table")

    @property
    def as_they_come(self) -> bool:
        """Whether no input needs to be known before the first is scored."""
        return not (self.output or self.clips_csv or self.plot or self.embed)

    def check(self, inputs: list[Input]) -> None:
        """Before any work.

        Raises:
            UsageError: results would take the place of a video or of each other, or --plot is to draw several.
        """
        taken = {os.path.realpath(source.path): "is one of the videos" for source in inputs}
        targets = (self.output, self.clips_csv, self.plot)
        for path in filter(None, (self.report, self.vtt, *targets)):
            with refusing(UsageError, "can't be used", path, "Name another."):
                refuse_others(path)
        for folder in filter(None, (self.report, self.vtt)):
            own = (f"{source.name}{ending}" for source in inputs for ending in (".html", ".vtt"))
            taken |= {os.path.realpath(folder / name): "is used twice" for name in (*own, *KEPT)}
        refuse_taken(taken, targets)
        if self.plot and len(inputs) > 1:
            raise UsageError("--plot draws one video", hint="Use --report for many.")

    @contextmanager
    def opened(self, inputs: list[Input], targets: list[str], cutting: "Cutting") -> Iterator[Sinks]:
        """The sinks; files appear whole, after an error with what was done; json lines grow from the first on."""
        sheet = Sheet(self.plot) if self.plot else None
        pages = None
        if self.report:  # only then is its import worth its time
            from mlavl_cli.output.report.write import Report

            pages = Report(self.report, self.embed, cutting)
            pages.check(inputs)
        with ExitStack() as stack:
            recorded: set[Path] = set()
            stdout = stack.enter_context(results_only())
            opening = growing_write if self.format == "jsonl" else partial(atomic_write, mode="w", named=True)
            stream = (
                stack.enter_context(_result_file(self.output, opening(self.output), recorded))
                if self.output
                else stdout
            )
            writer = format_class(self.format)(stream, targets, self.many)
            stack.callback(writer.close)
            before_the_end(lambda: stack.close() if recorded else None)
            others: list[Sink] = []
            if self.clips_csv:
                from mlavl_cli.output.csv import ClipsCsvWriter

                opened = atomic_write(self.clips_csv, "w", named=True)
                written: set[Path] = set()
                rows = ClipsCsvWriter(stack.enter_context(_result_file(self.clips_csv, opened, written)))
                others.append(partial(_write_clips, rows, written))
            if self.vtt:
                others.append(self._write_timeline)
            if sheet:
                others.append(lambda source, result: sheet.timeline(result))
            if pages:
                stack.callback(_close, pages)
                others.append(pages.add)
            kept = None if self.output is None or is_written_through(self.output) else self.output
            yield Sinks(writer, kept, others, pages.fail if pages else None, recorded)

    def _write_timeline(self, source: Input, result: "RoutineScore") -> None:
        from mlavl_cli.output.webvtt import write_webvtt

        assert self.vtt
        timeline = self.vtt / f"{source.name}.vtt"
        refuse_outside(timeline, self.vtt)
        write_webvtt(timeline, result)


def _close(pages: "Report") -> None:
    try:
        pages.close()
    finally:
        if pages.entries:
            console.told(f"pages: {pages.folder / KEPT[0]}")


def refuse_taken(taken: dict[str, str], targets: Iterable[Path | None]) -> None:
    """Results never take the place of what is read, or of each other.

    Args:
        taken: what each resolved path is that can't be written.
        targets: where results go.

    Raises:
        UsageError: one of them is taken, or named like what is never written over.
    """
    for target in filter(None, targets):
        if cause := taken.get(os.path.realpath(target)):
            raise UsageError(f"{cause}, results can't be written there", path=target, hint="Choose another name.")
        refuse_taken_name(target)
        taken[os.path.realpath(target)] = "is used twice"


def _write_clips(rows: "ClipsCsvWriter", written: set[Path], source: Input, result: "RoutineScore") -> None:
    with writing_results():
        rows.add(result)
    written.add(source.path)


@contextmanager
def _result_file(path: Path, manager: AbstractContextManager[IO], written: set[Path]) -> Iterator[TextIO]:
    """A file that is begun at once, so that a folder that can't be written is known before the work.

    After Ctrl-C or an error it holds the results so far; without any, what stood under its name is left alone.
    """
    file = manager.__enter__()
    try:
        yield cast(TextIO, file)
    except BaseException as error:
        if written:
            with undisturbed():
                manager.__exit__(None, None, None)
            if isinstance(error, KeyboardInterrupt):
                console.told(f"interrupted: {path} holds the {len(written)} inputs that were done")
        elif manager.__exit__(type(error), error, error.__traceback__):
            return
        raise
    with undisturbed():
        manager.__exit__(None, None, None)
