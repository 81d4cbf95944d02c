"""Rows of results as a table, csv or json, on stdout."""

import csv
import json
import sys
from typing import Any, Literal

from mlavl_cli.errors import one_line
from mlavl_cli.files import csv_text

Row = dict[str, Any]


TableFormat = Literal["table", "csv", "json"]


def print_rows(rows: list[Row], form: TableFormat, title: str = "") -> None:
    """Prints rows that have the same keys, if there are any; None is an empty cell, NaN is null in json."""
    if not rows and form != "json":
        return
    if form == "json":
        clean = [{key: None if value != value else value for key, value in row.items()} for row in rows]
        sys.stdout.write(json.dumps(clean, indent=2, allow_nan=False) + "\n")
    elif form == "csv":
        out = csv.writer(sys.stdout, lineterminator="\n")
        out.writerow(map(_cell, rows[0]))
        out.writerows(map(_cell, row.values()) for row in rows)
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(one_line(title)), title_justify="left")
        for key, value in rows[0].items():
            table.add_column(Text(one_line(key)), justify="left" if isinstance(value, str) else "right")
        for row in rows:
            table.add_row(*(Text("" if value is None else one_line(_short(value))) for value in row.values()))
        Console(highlight=False).print(table)


def _cell(value: Any) -> Any:
    return "" if value is None else csv_text(value) if isinstance(value, str) else value


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
