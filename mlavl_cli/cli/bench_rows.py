"""A table of many methods: their figures over seeds, beside those that the paper prints."""

from typing import TYPE_CHECKING, Any

import numpy as np

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
        raise DataError(f"{data.name}: none of these methods can be trained on it")
    rows = of_table(table, data)
    if form != "table":
        print_rows(rows, form)
        return
    for target in table.true:
        title = f"{data.name} {target}, split test, epochs chosen on a validation split"
        print_rows([_narrow(row) for row in rows if row["target"] == target], form, title, tight=True)


def of_table(table: "Table", data: "Dataset") -> list[Row]:
    """A row for each method and target, those of literature alone behind them.

    SRCC and MSE are of the test split by the epoch that was best on the validation split: mean and standard deviation
    over seeds; behind them those of the best epoch on the test split. "against" is the difference in SRCC to MLAVL, or
    to the first method, with an interval of a paired bootstrap; an asterisk where it doesn't hold 0.
    """
    from mlavl_cli.datasets.literature import others

    rows = []
    for target in table.true:
        names = list(dict.fromkeys(cell.variant for cell in table.cells if cell.target == target))
        first = "mlavl" if "mlavl" in names else names[0] if names else ""
        rows += [_of_method(name, target, first, table, data) for name in names]
        for one in others(data.name, {name for name in names if _as_published(name, data)}, target):
            srcc, mse = one.figures[target]
            rows.append(_row(target, f"{one.label}, as printed", {"paper's SRCC": srcc, "paper's MSE": mse}))
    return rows


def _as_published(name: str, data: "Dataset") -> bool:
    """Whether it reads here what it read in the literature."""
    if name == "mlp-mixer":  # FS1000's features have K tokens, those of the other public sets one
        return _has_tokens(data) or data.name != "FS1000"
    return name != "pamfn" or _has_flow(data)


def _has_tokens(data: "Dataset") -> bool:
    return any(routine.tokens for split in data.splits.values() for routine in split)


def _has_flow(data: "Dataset") -> bool:
    return all(routine.flow is not None for split in data.splits.values() for routine in split)


def _narrow(row: Row) -> Row:
    """What fits in 80 columns: means with their spread, an asterisk at a SRCC that is more than chance from MLAVL's."""

    def with_spread(what: str, digits: int, mark: str = "") -> str:
        mean, spread = row[what], row[f"{what} sd"]
        return "" if mean is None else f"{mean:.{digits}f}" + (f"±{spread:.{digits}f}" if spread else "") + mark

    def short(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    return {
        "method": row["method"], "M": short(row["M parameters"], 2), "ms": short(row["ms"], 1),
        "SRCC": with_spread("SRCC", 3, "*" if (row["against"] or "").endswith("*") else ""),
        "MSE": with_spread("MSE", 2), "on test": short(row["SRCC best on test"], 3),
        "paper": short(row["paper's SRCC"], 3),
    }  # fmt: skip


def _row(target: str, method: str, values: dict[str, Any]) -> Row:
    columns = (
        "target", "method", "seeds", "M parameters", "GFLOPs", "ms", "SRCC", "SRCC sd", "MSE", "MSE sd", "R-l2 x100",
        "SRCC best on test", "MSE best on test", "against", "paper's SRCC", "paper's MSE",
    )  # fmt: skip
    return {**dict.fromkeys(columns), "target": target, "method": method, **values}


def _of_method(name: str, target: str, first: str, table: "Table", data: "Dataset") -> Row:
    from mlavl_cli.datasets.literature import printed

    cells = _cells(table, name, target)
    known = printed(data.name, name, target) if _as_published(name, data) else None
    srcc, mse = known.figures[target] if known else (None, None)
    if known is None and name == "mlavl":
        srcc, mse = data.published.get(target, (None, None))
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
        "against": "" if name == first else _against(cells, _cells(table, first, target), table.true[target]),
        "paper's SRCC": srcc,
        "paper's MSE": mse,
    }
    return _row(target, _label(name, data), values)


def _label(name: str, data: "Dataset") -> str:
    if name.startswith("action-net"):
        return f"{name} (dynamic)"
    if not _has_tokens(data):
        name = _ONE_TOKEN.get(name, name)
    return name if _has_flow(data) else _FLOW.get(name, name)


def _cells(table: "Table", name: str, target: str) -> "list[Cell]":
    return [cell for cell in table.cells if (cell.variant, cell.target) == (name, target)]


def _mean(cells: "list[Cell]", what: str) -> float:
    return float(np.mean([getattr(cell, what) for cell in cells]))


def _spread(cells: "list[Cell]", what: str) -> float | None:
    """The standard deviation over seeds, None for one."""
    return float(np.std([getattr(cell, what) for cell in cells], ddof=1)) if len(cells) > 1 else None


def _against(cells: "list[Cell]", others: "list[Cell]", true: np.ndarray) -> str:
    from mlavl_cli.training.metrics import paired_difference

    one, other = (np.array([cell.predicted for cell in some]) for some in (cells, others))
    difference, low, high = paired_difference(one, other, true)
    return f"{difference:+.3f} ({low:+.3f} to {high:+.3f}){'' if low <= 0 <= high else ' *'}"
