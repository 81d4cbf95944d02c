"""What was trained as rows of a table, beside the paper's figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlavl_cli.cli import console
from mlavl_cli.cli.tables import Row

if TYPE_CHECKING:
    from mlavl_cli.bundle import Bundle
    from mlavl_cli.training.folds import CrossValidated
    from mlavl_cli.training.jobs import Job
    from mlavl_cli.training.train import Trained


def tell(bundle: "Bundle | None", targets: list[str]) -> None:
    """What became of the heads, if they were saved."""
    if not bundle:
        return
    if without := [target for target in targets if target not in bundle.intervals]:
        needs = "crepes (pip install 'mlavl[train]') and 20 routines in a split val or calibration, or in --folds"
        console.note(f"{', '.join(without)}: no interval; it takes {needs}")
    console.told(f"Score with: mlavl score VIDEO --weights {as_folder(bundle.folder)}")


def as_folder(path: Path) -> str:
    """A path that can't be mistaken for the name of bundled weights."""
    return str(path) if len(path.parts) > 1 else f"./{path}"


def of_all(runs: "list[tuple[Job, Trained]]", variants: int) -> list[Row]:
    """A row a job; behind several targets of one method their average."""
    from mlavl_cli.datasets.literature import paper_says

    rows = [_of_job(job, trained.metrics, variants > 1) for job, trained in runs]
    if len(rows) > 1 and variants == 1:
        rows += _average(rows, paper_says(runs[0][0].variant.name, "average", runs[0][0].dataset))
    return rows


def _of_job(job: "Job", metrics: Any, tell_variant: bool) -> Row:
    from mlavl_cli.datasets.literature import paper_says

    srcc, mse = paper_says(job.variant.name, job.target, job.dataset)
    row: Row = {"target": job.target}
    if tell_variant:
        row["variant"], srcc, mse = job.variant.name, job.variant.published, None
    row |= {"n": metrics.n, "SRCC": metrics.told_srcc, "MSE": metrics.mse, "R-l2 x100": metrics.relative_l2}
    row["paper's SRCC"] = srcc
    return row if tell_variant else {**row, "paper's MSE": mse}


def of_folds(found: "list[CrossValidated]") -> list[Row]:
    """A row a target: SRCC as mean and standard deviation over folds, errors over all routines together."""
    rows = []
    for one in found:
        mean, spread = one.srcc
        row: Row = {"target": one.target, "folds": len(one.folds), "n": one.pooled.n}
        row |= {"SRCC": mean if one.pooled.ranked else None, "SRCC sd": None if spread != spread else spread}
        rows.append(row | {"MSE": one.pooled.mse, "R-l2 x100": one.pooled.relative_l2})
    return rows


def _average(rows: list[Row], published: tuple[float | None, float | None]) -> list[Row]:
    """SRCC by Fisher's z, the others by their mean."""
    from mlavl_cli.training.metrics import fisher_mean

    def mean(key: str) -> float:
        return sum(row[key] for row in rows) / len(rows)

    srcc, mse = published
    ranked = [row["SRCC"] for row in rows if row["SRCC"] is not None]
    return [
        {
            "target": "average (z)", "n": rows[0]["n"], "SRCC": fisher_mean(ranked) if ranked else None,
            "MSE": mean("MSE"), "R-l2 x100": mean("R-l2 x100"), "paper's SRCC": srcc, "paper's MSE": mse,
        }
    ]  # fmt: skip
