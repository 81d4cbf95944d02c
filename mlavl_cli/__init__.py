"""Score figure-skating and rhythmic-gymnastics routines from raw video (MLAVL, CVPR 2025).

>>> import mlavl_cli
>>> scorer = mlavl_cli.load_scorer("mini")          # doctest: +SKIP
>>> scorer.score("routine.mp4").scores["TES"].score  # doctest: +SKIP

Everything below is imported on first use, so that `import mlavl_cli` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"

_HOME = {
    "load_scorer": "mlavl_cli.scoring.scorer",
    "Scorer": "mlavl_cli.scoring.scorer",
    "RoutineScore": "mlavl_cli.scoring.result",
    "scores_to_frame": "mlavl_cli.scoring.record",
    "Input": "mlavl_cli.inputs",
    "RoutineDataset": "mlavl_cli.training.torch_data",
    "collate": "mlavl_cli.training.torch_data",
    "VideoOptions": "mlavl_cli.datasets.videos",
    "train_folds": "mlavl_cli.training.folds",
    "extract_features": "mlavl_cli.features.extractor",
    "RoutineFeatures": "mlavl_cli.features.routine",
    "load_dataset": "mlavl_cli.datasets.load",
    "train_bundle": "mlavl_cli.training.bundle",
    "TrainingOptions": "mlavl_cli.training.bundle",
    "evaluate_bundle": "mlavl_cli.training.evaluate",
    "push_bundle": "mlavl_cli.training.push",
    "read_protocols": "mlavl_cli.protocols.labels",
    "HeadDims": "mlavl_cli.heads.dims",
    **dict.fromkeys(
        ("MlavlError", "DataError", "DeviceError", "FeatureError", "MediaError", "UsageError", "WeightsError"),
        "mlavl_cli.errors",
    ),
    "MLAVL": "mlavl_cli.heads.mlavl.model",
    "MAG2": "mlavl_cli.heads.mlavl.mag2",
}
__all__ = [
    "MAG2", "MLAVL", "DataError", "DeviceError", "FeatureError", "HeadDims", "Input", "MediaError", "MlavlError",
    "RoutineDataset", "RoutineFeatures", "RoutineScore", "Scorer", "TrainingOptions", "UsageError", "VideoOptions",
    "WeightsError", "collate", "evaluate_bundle", "extract_features", "load_dataset", "load_scorer", "push_bundle",
    "read_protocols", "scores_to_frame", "train_bundle", "train_folds",
]  # fmt: skip

if TYPE_CHECKING:
    from mlavl_cli.datasets.load import load_dataset
    from mlavl_cli.datasets.videos import VideoOptions
    from mlavl_cli.errors import (
        DataError,
        DeviceError,
        FeatureError,
        MediaError,
        MlavlError,
        UsageError,
        WeightsError,
    )
    from mlavl_cli.features.extractor import extract_features
    from mlavl_cli.features.routine import RoutineFeatures
    from mlavl_cli.heads.dims import HeadDims
    from mlavl_cli.heads.mlavl.mag2 import MAG2
    from mlavl_cli.heads.mlavl.model import MLAVL
    from mlavl_cli.inputs import Input
    from mlavl_cli.protocols.labels import read_protocols
    from mlavl_cli.scoring.record import scores_to_frame
    from mlavl_cli.scoring.result import RoutineScore
    from mlavl_cli.scoring.scorer import Scorer, load_scorer
    from mlavl_cli.training.bundle import TrainingOptions, train_bundle
    from mlavl_cli.training.evaluate import evaluate_bundle
    from mlavl_cli.training.folds import train_folds
    from mlavl_cli.training.push import push_bundle
    from mlavl_cli.training.torch_data import RoutineDataset, collate


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mlavl_cli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
