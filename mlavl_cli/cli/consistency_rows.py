"""Evaluation on simulated routines as rows, for `mlavl evaluate simulated`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlavl_cli.cli.tables import Row

if TYPE_CHECKING:
    from mlavl_cli.bundle import Bundle

_BY_TARGET = {
    "srcc": "SRCC",
    "mse": "MSE",
    "bias": "mean error, % of range",
    "covered": "true scores inside their interval",
}


def evaluated(
    bundle: "Bundle", folder: Path, ids: list[str], features: Path | None, device: str
) -> dict[str, dict[str, Any]]:
    """What `examine` finds, by group of routines, as plain values."""
    from mlavl_cli.datasets.videos import store_beside
    from mlavl_cli.features.extractor import ExtractionOptions
    from mlavl_cli.scoring.scorer import load_scorer
    from mlavl_cli.training.consistency_eval import examine, groups

    scorer = load_scorer(bundle, device, options=ExtractionOptions(store=features or store_beside(folder)))
    return {name: asdict(group) for name, group in groups(examine(scorer, folder, ids)).items()}


def as_rows(scores: list[Row], by_group: dict[str, dict[str, Any]]) -> list[Row]:
    """One figure a row: correlations of the scores with their intervals, then each group of routines."""
    rows = [_row("all", "SRCC", row["target"], row["n"], row["SRCC"], row.get("SRCC 95 %")) for row in scores]
    for group, found in by_group.items():
        n, clips, following = found["routines"], found["clips"], found["following"]
        for key, measure in _BY_TARGET.items():
            if (group, key) != ("all", "srcc"):
                rows += [_row(group, measure, target, n, value) for target, value in found[key].items()]
        falsified = (("swapped", "another routine's"), ("shifted", "own, 0.5 s late"))
        for name, false in falsified if found["auc"] else ():
            measure = f"AUC, true music against {false}"
            rows.append(_row(group, measure, "clips that follow it", following, found["auc"][name]))
            rows.append(_row(group, measure, "all clips", clips, found["auc"][f"{name}_all"]))
        if found["spearman"] is not None:
            rows.append(_row(group, "Spearman of consistency and truth", "all clips", clips, found["spearman"]))
        fall = "fall of the score by another's music, % of range"
        rows += [_row(group, fall, target, n, value) for target, value in found["drop"].items()]
        rows.append(_row(group, "routines said to be out of domain", "share", n, found["flagged"]))
        moved = "moved by skating it two and four times in a row, % of range"
        rows += [_row(group, moved, target, n, value) for target, value in found["moved"].items()]
    return rows


def _row(
    group: str, measure: str, of: str, n: int | None, value: float, interval: tuple[float, float] | None = None
) -> Row:
    return {"routines": group, "measure": measure, "of": of, "n": n, "value": value, "95 %": interval}
