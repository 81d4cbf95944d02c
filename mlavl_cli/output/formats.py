"""What `mlavl score --format` takes: by name, the class that writes it.

A format is a class with `add(result)`, which prints one RoutineScore at once, `fail(path, problem)` for an input that
gave none, and `close()`. It is made of the stream that it writes to, the targets of all results, and whether several
videos were asked for.
"""

from typing import TYPE_CHECKING, Protocol, TextIO

from mlavl_cli.tables import look_up

if TYPE_CHECKING:
    from mlavl_cli.scoring.result import RoutineScore

FORMATS = {
    "table": "mlavl_cli.output.table:TableWriter",
    "json": "mlavl_cli.output.json:JsonWriter",
    "jsonl": "mlavl_cli.output.json:JsonLinesWriter",
    "csv": "mlavl_cli.output.csv:CsvWriter",
}


class Writer(Protocol):
    def __init__(self, stream: TextIO, targets: list[str], many: bool): ...

    def add(self, result: "RoutineScore") -> None: ...

    def fail(self, path: str, problem: Exception) -> None: ...

    def close(self) -> None: ...


def format_class(name: str) -> type[Writer]:
    """The format of that name.

    Raises:
        UsageError: there is none.
    """
    return look_up(FORMATS, name, "format")
