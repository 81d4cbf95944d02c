"""One record an input, whether it could be scored or not: a flat row (csv, pandas), and the JSON of a failure.

A column is called as its field in the JSON, parts joined by "_": `consistency.mean` is `consistency_mean`. Targets are
columns of their own, with the ends of their interval behind them.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mlavl_cli.errors import explained
from mlavl_cli.scoring.result import SCHEMA_VERSION, RoutineScore
from mlavl_cli.scoring.shown import pandas_of_extra

if TYPE_CHECKING:
    import pandas


def row_of(score: RoutineScore) -> dict[str, Any]:
    """The row of a score, None where there is nothing to say."""
    points = {target: found.score for target, found in score.scores.items()}
    ends = {
        f"{target}_{end}": value
        for target, found in score.scores.items()
        for end, value in zip(("low", "high"), found.interval or (None, None), strict=True)
    }
    return {
        "path": score.video.path,
        **points,
        "consistency_mean": score.consistency.mean if score.consistency else None,
        "clips": len(score.clips),
        "duration_s": score.video.duration_s,
        "warnings": "; ".join(notice.text for notice in score.warnings),
        "in_domain": score.in_domain,
        **ends,
        "weights": score.weights.name,
        "trained_on": score.weights.trained_on,
        "warning_codes": "; ".join(notice.code for notice in score.warnings),
        "error": None,
    }


def columns_of(targets: Iterable[str]) -> list[str]:
    """The names of a row, in their order; those that are there before a score is."""
    targets = list(targets)
    ends = [f"{target}_{end}" for target in targets for end in ("low", "high")]
    behind = ["weights", "trained_on", "warning_codes", "error"]
    return ["path", *targets, "consistency_mean", "clips", "duration_s", "warnings", "in_domain", *ends, *behind]


def failure_of(path: str, problem: Exception) -> dict[str, Any]:
    """What stands in JSON where an input gave no score: which, and the cause with its fix."""
    return {"schema": SCHEMA_VERSION, "video": {"path": path}, "error": explained(problem)}


def scores_to_frame(scores: Iterable[RoutineScore]) -> "pandas.DataFrame":
    """One row a routine, with the columns of `mlavl score --format csv`.

    Raises:
        UsageError: pandas isn't installed.
    """
    return pandas_of_extra().DataFrame([row_of(one) for one in scores])
