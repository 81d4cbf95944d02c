"""Many inputs, some of them bad: go on, say one line for each that fails, and exit with 1."""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO, TypeVar

import typer

from mlavl_cli.cli import console
from mlavl_cli.errors import UsageError
from mlavl_cli.inputs import Found, Input, expand_inputs

T = TypeVar("T")


class Batch:
    """The inputs of a command, and how many were none or failed; what is wrong with one is said on stderr at once.

    Args:
        arguments: as on the command line.
        shard: (2, 8): only every 8th input from the 2nd.
        as_they_come: work on what stdin has named so far, instead of waiting for the end of the list.
        recorded: results are to have a record of inputs that failed, also where none is good.

    Attributes:
        known: the inputs that are known before any work: all of them, or the first that came.
        failed: how many inputs failed so far.

    Raises:
        typer.Exit: there is nothing to do.
    """

    def __init__(
        self,
        arguments: list[str],
        shard: tuple[int, int] = (1, 1),
        as_they_come: bool = False,
        recorded: bool = False,
    ):
        number, of = shard
        self.failed, self._none = 0, True
        self._lost: list[tuple[Path, Exception]] = []  # before there is a place to record them
        self._record: Callable[[Path, Exception], object] = lambda *lost: self._lost.append(lost)
        self._groups = self._expanded(expand_inputs(arguments, as_they_come), number - 1, of)
        self.known = next(self._groups, [])
        if not self.known and (self._none or not recorded):  # a shard without inputs has results: none
            if self._none:
                console.error(UsageError("no input", hint="Name videos or folders, or list them on stdin."))
            raise typer.Exit(1 if self.failed or self._none else 0)

    def groups(self) -> Iterator[list[Input]]:
        """All inputs, as many together as were known at once."""
        if self.known:
            yield self.known
        yield from self._groups

    def _expanded(self, found: Iterator[Found], first: int, of: int) -> Iterator[list[Input]]:
        count = 0
        for inputs, errors in found:
            for problem in errors:
                if first == 0:  # of several shards one says so
                    self.lose(Path(problem.path or ""), problem)
            self._none = self._none and not inputs and not errors
            share = inputs[(first - count) % of :: of]
            count += len(inputs)
            if share:
                yield share

    def record_lost(self, record: Callable[[Path, Exception], object]) -> None:
        """Calls `record` with the path and the problem of each input that gives no result, earlier ones at once."""
        self._record = record
        for path, problem in self._lost:
            record(path, problem)

    def lose(self, path: Path, problem: Exception) -> None:
        """Says what is wrong with an input that gives no result, and has it recorded."""
        self.fail(problem, path)
        self._record(path, problem)

    def fail(self, problem: Exception, path: Path | None = None) -> None:
        """Says what is wrong with an input, or with a part of its results."""
        self.failed += 1
        console.error(problem, path)


def for_each(
    batch: Batch, results: Iterable[tuple[Input, T | Exception]], work: Callable[[Input, T], None], fail_fast: bool
) -> None:
    """Calls `work` on each good result and says what was wrong with the others, or with what became of it.

    Raises:
        StdoutError: from `work`: no other result would fare better.
        typer.Exit: code 1, when at least one input failed.
    """
    # An error keeps this frame: results that nobody reads would hold their decoders, for whose end Python waits.
    with closing(_each(results if not (batch.failed and fail_fast) else ())) as found:
        for source, result in found:
            problem: Exception | None = None
            if isinstance(result, Exception):
                problem = result
            else:
                try:
                    work(source, result)
                except (StdoutError, typer.Exit):
                    raise
                except Exception as error:
                    problem = error
            if problem:
                # A bug of ours must not cost the other ten thousand files.
                batch.lose(source.path, problem)
            if batch.failed and fail_fast:
                break
    if batch.failed:
        raise typer.Exit(1)


def _each(results: Iterable[T]) -> Generator[T, None, None]:
    """The results, which are closed with it."""
    try:
        yield from results
    finally:
        if isinstance(results, Generator):
            results.close()


class StdoutError(Exception):
    """Results can't be written where they belong; its cause is the OSError."""


@contextmanager
def writing_results() -> Iterator[None]:
    """Tells what goes wrong with the results from what goes wrong with one input."""
    try:
        yield
    except OSError as error:
        raise StdoutError from error


@contextmanager
def results_only() -> Iterator[TextIO]:
    """stdout for our results; what libraries print meanwhile goes to stderr."""
    stream = sys.stdout
    with redirect_stdout(sys.stderr):
        yield stream


def expected(batch: Batch, progress: console.FileProgress) -> Iterator[list[Input]]:
    """The inputs of a batch, as many together as were known at once, announced to its progress."""
    for group in batch.groups():
        progress.expect(len(group))
        yield group


def counted(results: Iterable[T], progress: console.FileProgress) -> Iterator[T]:
    """The results, each counted once it has been dealt with."""
    for result in _each(results):
        yield result
        progress.file_done()
