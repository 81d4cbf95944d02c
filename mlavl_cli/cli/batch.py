"""Many inputs, some of them bad: go on, say one line for each that fails, and exit with 1."""

from collections.abc import Callable

import typer

from mlavl_cli.cli import console
from mlavl_cli.errors import DeviceError, MlavlError, WeightsError
from mlavl_cli.files import Input, expand_inputs


def expand(arguments: list[str]) -> tuple[list[Input], int]:
    """Inputs, and how many arguments were none (each said on stderr)."""
    inputs, errors = expand_inputs(arguments)
    for problem in errors:
        console.error(problem)
    return inputs, len(errors)


def for_each(inputs: list[Input], work: Callable[[Input, object], None], failed: int, fail_fast: bool) -> None:
    """Calls `work(input, progress callback)` on each input.

    What is wrong with one file is said and the next one taken; weights or a device that can't be had end the run.

    Raises:
        typer.Exit: code 1, when at least one input failed (`failed` of them before).
    """
    with console.file_progress(len(inputs)) as progress:
        for source in inputs:
            if failed and fail_fast:
                break
            try:
                work(source, progress.start(source.path.name))
            except (WeightsError, DeviceError, BrokenPipeError):
                raise
            except MlavlError as problem:
                console.error(problem)
                failed += 1
            except Exception as problem:  # a bug of ours must not cost the other ten thousand files
                console.error(
                    RuntimeError(f"{source.path}: {type(problem).__name__}: {problem}").with_traceback(
                        problem.__traceback__
                    )
                )
                failed += 1
    if failed:
        raise typer.Exit(1)
