"""A table of many methods: their figures over seeds, beside those that the paper prints."""

from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from mlavl_cli.cli import console
from mlavl_cli.cli.tables import Row, TableFormat, print_rows
from mlavl_cli.errors import DataError

if TYPE_CHECKING:
    from mlavl_cli.datasets.dataset import Dataset
    from mlavl_cli.training.bench import Cell, Table

_FLOW = {"pamfn": "pamfn (AV, no flow)", "mcmoe": "mcmoe (no flow)"}
_ONE_TOKEN = {"mlp-mixer": "mlp-mixer (K=1)"}  # of a clip, where its public code mixes some fifteen


def print_table(table: "Table", data: "Dataset", form: TableFormat) -> None:
    """The table on stdout; methods that couldn't be trained on this dataset are named on stderr."""
    for (name, target), error in table.failed.items():
        console.warning(f"{target} {name}: left out, {error}")
    if not table.cells:
        first = next(iter(table.failed.values()))
        raise DataError(f"{data.name}: every method was left out, the first as {first}")
    rows = of_table(table, data)
    if form != "table":
        print_rows(rows, form)
        return
    for target in table.true:
        title = f"{data.name} {target}, split test, epochs chosen on a validation split"
        of_target = [row for row in rows if row["target"] == target]
        print_rows([_narrow(row) for row in of_target], form, title, tight=True)
        if any(map(_differs, of_target)):
            against = next(row["against"] for row in of_target if row["against"])
            typer.echo(f"* more than chance from {against}, over routines")
    typer.echo("csv, json, markdown and latex have all columns")


def of_table(table: "Table", data: "Dataset") -> list[Row]:
    """A row for each method and target, those of literature alone behind them.

    SRCC and MSE are of the test split by the epoch that was best on the validation split: mean and standard deviation
    over seeds; behind them those of the best epoch on the test split, each by its own. "difference" is that in SRCC to
    the method "against", MLAVL or the first one, with an interval of a paired bootstrap.
    """
    from mlavl_cli.datasets.literature import as_published, others

    rows = []
    for target in table.true:
        names = list(dict.fromkeys(cell.variant for cell in table.cells if cell.target == target))
        first = "mlavl" if "mlavl" in names else names[0] if names else ""
        rows += [_of_method(name, target, first, table, data) for name in names]
        for one in others(data.name, {name for name in names if as_published(name, data)}, target):
            srcc, mse = one.figures[target]
            rows.append(_row(target, f"{one.label}, as printed", {"paper's SRCC": srcc, "paper's MSE": mse}))
    return rows


def _narrow(row: Row) -> Row:
    """What fits in 80 columns: means with their spread, an asterisk at a SRCC that is more than chance from MLAVL's."""

    def with_spread(what: str, digits: int, mark: str = "") -> str:
        mean, spread = row[what], row[f"{what} sd"]
        return "" if mean is None else f"{mean:.{digits}f}" + (f"±{spread:.{digits}f}" if spread else "") + mark

    def short(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    return {
        "method": row["method"], "M": short(row["M parameters"], 2), "ms": short(row["ms"], 1),
        "SRCC": with_spread("SRCC", 3, "*" if _differs(row) else ""),
        "MSE": with_spread("MSE", 2), "on test": short(row["SRCC best on test"], 3),
        "paper": short(row["paper's SRCC"], 3),
    }  # fmt: skip


def _differs(row: Row) -> bool:
    low, high = row["difference low"], row["difference high"]
    return low is not None and (low > 0 or high < 0)


def _row(target: str, method: str, values: dict[str, Any]) -> Row:
    columns = (
        "target", "method", "seeds", "M parameters", "GFLOPs", "ms", "SRCC", "SRCC sd", "MSE", "MSE sd", "R-l2 x100",
        "SRCC best on test", "MSE best on test", "against", "difference", "difference low", "difference high",
        "paper's SRCC", "paper's MSE",
    )  # fmt: skip
    return {**dict.fromkeys(columns), "target": target, "method": method, **values}


def _of_method(name: str, target: str, first: str, table: "Table", data: "Dataset") -> Row:
    from mlavl_cli.datasets.literature import paper_says

    cells = _cells(table, name, target)
    srcc, mse = paper_says(name, target, data)
    values = {
        "seeds": len(cells),
        "M parameters": cells[0].parameters / 1e6,
        "GFLOPs": cells[0].flops / 1e9,
        "ms": float(np.median([cell.ms for cell in cells])),
        "SRCC": _mean(cells, "srcc"),
        "SRCC sd": _spread(cells, "srcc"),
        "MSE": _mean(cells, "mse"),
        "MSE sd": _spread(cells, "mse"),
        "R-l2 x100": _mean(cells, "relative_l2"),
        "SRCC best on test": _mean(cells, "best_srcc"),
        "MSE best on test": _mean(cells, "best_mse"),
        **({} if name == first else _against(cells, _cells(table, first, target), table.true[target])),
        "against": "" if name == first else first,
        "paper's SRCC": srcc,
        "paper's MSE": mse,
    }
    return _row(target, _label(name, data), values)


def _label(name: str, data: "Dataset") -> str:
    from mlavl_cli.datasets.literature import has_flow, has_tokens

    if name.startswith("action-net"):
        return f"{name} (dynamic)"
    if not has_tokens(data):
        name = _ONE_TOKEN.get(name, name)
    return name if has_flow(data) else _FLOW.get(name, name)


def _cells(table: "Table", name: str, target: str) -> "list[Cell]":
    return [cell for cell in table.cells if (cell.variant, cell.target) == (name, target)]


def _mean(cells: "list[Cell]", what: str) -> float:
    return float(np.mean([getattr(cell, what) for cell in cells]))


def _spread(cells: "list[Cell]", what: str) -> float | None:
    """The standard deviation over seeds, None for one."""
    return float(np.std([getattr(cell, what) for cell in cells], ddof=1)) if len(cells) > 1 else None


def _against(cells: "list[Cell]", others: "list[Cell]", true: np.ndarray) -> dict[str, float | None]:
    """The difference in SRCC to other cells, with its interval; empty where one of them says the same of all."""
    from mlavl_cli.training.metrics import paired_difference

    one, other = (np.array([cell.predicted for cell in some]) for some in (cells, others))
    found = paired_difference(one, other, true)
    names = ("difference", "difference low", "difference high")
    return dict(zip(names, (None if value != value else value for value in found), strict=True))
