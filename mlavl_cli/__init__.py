"""Score figure-skating and rhythmic-gymnastics routines from raw video (MLAVL, CVPR 2025).

>>> import mlavl_cli
>>> scorer = mlavl_cli.load_scorer("mini")          # doctest: +SKIP
>>> scorer.score("routine.mp4").scores["TES"].score  # doctest: +SKIP

Everything below is imported on first use, so that `import mlavl_cli` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "load_scorer": "mlavl_cli.scoring.scorer",
    "Scorer": "mlavl_cli.scoring.scorer",
    "RoutineScore": "mlavl_cli.scoring.result",
    "extract_features": "mlavl_cli.features.extractor",
    "RoutineFeatures": "mlavl_cli.features.routine",
    "MLAVL": "mlavl_cli.heads.mlavl.model",
    "MAG2": "mlavl_cli.heads.mlavl.mag2",
}
__all__ = ["MAG2", "MLAVL", "RoutineFeatures", "RoutineScore", "Scorer", "extract_features", "load_scorer"]

if TYPE_CHECKING:
    from mlavl_cli.features.extractor import extract_features
    from mlavl_cli.features.routine import RoutineFeatures
    from mlavl_cli.heads.mlavl.mag2 import MAG2
    from mlavl_cli.heads.mlavl.model import MLAVL
    from mlavl_cli.scoring.result import RoutineScore
    from mlavl_cli.scoring.scorer import Scorer, load_scorer


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mlavl_cli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
