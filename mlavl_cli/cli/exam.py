"""The simulator's exam as rows, for `mlavl evaluate simulated`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlavl_cli.cli.tables import Row


def sit(weights: str, folder: Path, ids: list[str], features: Path | None, device: str) -> dict[str, Any]:
    """What `examine` finds, as plain values."""
    from mlavl_cli.scores.scorer import load_scorer
    from mlavl_cli.training.simulate.exam import examine

    scorer = load_scorer(weights, device, features=features or folder / "features")
    return asdict(examine(scorer, folder, ids))


def as_rows(scores: list[Row], exam: dict[str, Any]) -> list[Row]:
    """One figure a row: correlations of the scores, then consistency, then what false music does to the scores."""
    rows = [_row("SRCC", row["target"], row["n"], row["SRCC"], row.get("SRCC 95 %")) for row in scores]
    clips, following = exam["clips"], exam["following"]
    for name, false in (("swapped", "another routine's"), ("shifted", "own, 0.5 s late")):
        rows.append(_row(f"AUC, true music against {false}", "clips that follow it", following, exam["auc"][name]))
        rows.append(_row(f"AUC, true music against {false}", "all clips", clips, exam["auc"][f"{name}_all"]))
    rows.append(_row("Spearman of consistency and truth", "all clips", clips, exam["spearman"]))
    fall = "fall of the score by another's music, % of range"
    rows += [_row(fall, target, exam["routines"], value) for target, value in exam["drop"].items()]
    return rows


def _row(measure: str, of: str, n: int | None, value: float, interval: str | None = None) -> Row:
    return {"measure": measure, "of": of, "n": n, "value": value, "95 %": interval}
