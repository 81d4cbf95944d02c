"""Many inputs, some of them bad: go on, say one line for each that fails, and exit with 1."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO, TypeVar

import typer

from mlavl_cli.cli import console
from mlavl_cli.errors import MlavlError, UsageError
from mlavl_cli.files import Input, expand_inputs

T = TypeVar("T")


def expand(arguments: list[str], shard: str | None = None) -> tuple[list[Input], int]:
    """Inputs, and how many arguments were none (each said on stderr); of them the shard i/n, where one is asked for.

    Raises:
        UsageError: the shard isn't like 2/8.
    """
    number, of = _parse_shard(shard)
    inputs, errors = expand_inputs(arguments)
    if not inputs and not errors:
        errors.append(UsageError("no input", hint="Name videos or folders, or list them on stdin."))
    for problem in errors:
        console.error(problem)
    return inputs[number - 1 :: of], len(errors)


def refuse_clashes(inputs: list[Input]) -> None:
    """Two videos of one name, from two folders given: one would overwrite the other's features or page.

    Raises:
        UsageError: naming both.
    """
    seen: dict[Path, Path] = {}
    for source in inputs:
        if source.name in seen:
            cause = f"would share an output file with {seen[source.name]}"
            raise UsageError(cause, path=source.path, hint="Give their common folder, or do them apart.")
        seen[source.name] = source.path


def _parse_shard(text: str | None) -> tuple[int, int]:
    try:
        number, of = map(int, (text or "1/1").split("/"))
    except ValueError as error:
        raise UsageError(f"--shard {text} isn't like 2/8") from error
    if not 1 <= number <= of:
        raise UsageError(f"--shard {text}: the first number goes from 1 to the second")
    return number, of


def for_each(
    results: Iterator[tuple[Input, T | Exception]], work: Callable[[Input, T], None], failed: int, fail_fast: bool
) -> None:
    """Calls `work` on each good result and says what was wrong with the others, or with what became of it.

    Raises:
        typer.Exit: code 1, when at least one input failed (`failed` of them before).
    """
    for source, result in results if not (failed and fail_fast) else ():
        problem = result if isinstance(result, Exception) else None
        if problem is None:
            try:
                work(source, result)
            except (OSError, typer.Exit):  # stdout is closed or full: no other file would fare better
                raise
            except Exception as error:
                problem = error
        if problem:
            failed += 1
            # A bug of ours must not cost the other ten thousand files.
            console.error(problem, None if isinstance(problem, MlavlError) else source.path)
            if fail_fast:
                break
    if failed:
        raise typer.Exit(1)


@contextmanager
def results_only() -> Iterator[TextIO]:
    """stdout for our results; what libraries print meanwhile goes to stderr."""
    stream = sys.stdout
    with redirect_stdout(sys.stderr):
        yield stream


def tracked(sources: Iterable[Input], progress: console.FileProgress) -> Iterator[Input]:
    """The sources, each counted as it is taken up."""
    for source in sources:
        progress.next_file()
        yield source
