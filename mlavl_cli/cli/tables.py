"""Rows of results as a table, csv, json, Markdown or LaTeX, on stdout."""

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from html import escape
from pathlib import Path
from typing import Any, Literal

from mlavl_cli.errors import one_line
from mlavl_cli.files import atomic_write, csv_text

Row = dict[str, Any]
_WIDEST = 500  # letters of a cell in a terminal


TableFormat = Literal["table", "csv", "json", "markdown", "latex"]


def form_of(asked: TableFormat | None, output: Path | None) -> TableFormat:
    """As asked for, as the output's name ends, or a table."""
    if asked:
        return asked
    forms: dict[str, TableFormat] = {".csv": "csv", ".json": "json", ".md": "markdown", ".tex": "latex"}
    return forms.get(output.suffix.lower(), "table") if output else "table"


@contextmanager
def stdout_to(path: Path | None) -> Iterator[None]:
    """What is printed goes to a file that appears whole, if one is named.

    Raises:
        MlavlError: it can't be written.
    """
    if path is None:
        yield
        return
    with atomic_write(path, "w", named=True) as file, redirect_stdout(file):
        yield


def print_rows(rows: list[Row], form: TableFormat, title: str = "", tight: bool = False) -> None:
    """Prints rows that have the same keys, if there are any; None is an empty cell, NaN is null in json.

    An interval is "low to high" for people, a list in json, and two columns in csv. A tight table has no lines between
    its columns.
    """
    if not rows and form != "json":
        return
    if form == "json":
        clean = [{key: _number_or_none(value) for key, value in row.items()} for row in rows]
        sys.stdout.write(json.dumps(clean, indent=2, allow_nan=False) + "\n")
    elif form == "csv":
        rows = _apart(rows)
        out = csv.writer(sys.stdout, lineterminator="\n")
        out.writerow(map(_cell, rows[0]))
        out.writerows(map(_cell, row.values()) for row in rows)
    elif form == "markdown":
        lines = [rows[0].keys(), ["---"] * len(rows[0]), *(row.values() for row in rows)]
        sys.stdout.writelines("| " + " | ".join(_markdown(cell) for cell in line) + " |\n" for line in lines)
    elif form == "latex":
        sys.stdout.write(_latex(rows))
    else:
        from rich.box import HEAVY_HEAD, SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        box = SIMPLE_HEAD if tight else HEAVY_HEAD
        table = Table(title=Text(one_line(title)), title_justify="left", box=box, pad_edge=not tight)
        for key, value in rows[0].items():
            table.add_column(Text(one_line(key)), justify="left" if isinstance(value, str) else "right")
        for row in rows:
            table.add_row(*(Text(_cut(_plain(value))) for value in row.values()))
        Console(highlight=False).print(table)


def _number_or_none(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_number_or_none(end) for end in value]
    return None if value != value else value


def _apart(rows: list[Row]) -> list[Row]:
    """Rows in which an interval is two columns."""
    ends = {key for row in rows for key, value in row.items() if isinstance(value, tuple)}
    found = []
    for row in rows:
        cells: Row = {}
        for key, value in row.items():
            low, high = value if isinstance(value, tuple) else (None, None)
            cells |= {f"{key} low": low, f"{key} high": high} if key in ends else {key: value}
        found.append(cells)
    return found


def _markdown(cell: Any) -> str:
    """Text in a table of Markdown, in which a viewer sees no markup."""
    return escape(_plain(cell), quote=False).replace("|", "\\|").replace("](", "]\\(")


_LATEX = str.maketrans(
    {sign: "\\" + sign for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


def _latex(rows: list[Row]) -> str:
    """A tabular, with rules by booktabs."""

    columns = "".join("l" if isinstance(value, str) else "r" for value in rows[0].values())
    cells = [list(rows[0]), *(list(row.values()) for row in rows)]
    lines = [" & ".join(_plain(cell).translate(_LATEX) for cell in line) + r" \\" for line in cells]
    lines = ["{}" + line if line.startswith(("[", "*")) else line for line in lines]  # no argument of the row above
    body = [r"\begin{tabular}{" + columns + "}", r"\toprule", lines[0], r"\midrule", *lines[1:]]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _plain(value: Any) -> str:
    return "" if value is None else one_line(_short(value))


def _cut(text: str) -> str:
    """As much as a terminal's table can show."""
    return text if len(text) <= _WIDEST else " ".join(text.split())[:_WIDEST]


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else csv_text(value) if isinstance(value, str) else value


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return " to ".join(map(_short, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)
