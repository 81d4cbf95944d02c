"""What was trained as rows of a table, beside the paper's figures."""

from typing import TYPE_CHECKING, Any

from mlavl_cli.cli.tables import Row

if TYPE_CHECKING:
    from mlavl_cli.training.runs import Job


def of_job(job: "Job", metrics: Any, tell_variant: bool) -> Row:
    srcc, mse = job.dataset.published.get(job.target, (None, None))
    row: Row = {"target": job.target}
    if tell_variant:
        row["variant"], srcc, mse = job.variant.name, job.variant.published, None
    row |= {"n": metrics.n, "SRCC": metrics.srcc, "MSE": metrics.mse, "R-l2 x100": metrics.relative_l2}
    row["paper's SRCC"] = srcc
    return row if tell_variant else {**row, "paper's MSE": mse}


def average(rows: list[Row], published: tuple[float, float] | None) -> list[Row]:
    """SRCC by Fisher's z, the others by their mean."""
    from mlavl_cli.training.metrics import fisher_mean

    def mean(key: str) -> float:
        return sum(row[key] for row in rows) / len(rows)

    srcc, mse = published or (None, None)
    return [
        {
            "target": "average (z)", "n": rows[0]["n"], "SRCC": fisher_mean(row["SRCC"] for row in rows),
            "MSE": mean("MSE"), "R-l2 x100": mean("R-l2 x100"), "paper's SRCC": srcc, "paper's MSE": mse,
        }
    ]  # fmt: skip


def plain(metrics: Any) -> dict[str, Any]:
    return {"n": metrics.n, "srcc": metrics.srcc, "mse": metrics.mse, "relative_l2_x100": metrics.relative_l2}
