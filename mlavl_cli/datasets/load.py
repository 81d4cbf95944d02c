"""The datasets by name."""

from dataclasses import replace
from pathlib import Path

from mlavl_cli.bundle import Bundle
from mlavl_cli.datasets.dataset import Dataset
from mlavl_cli.datasets.layouts import FOLDERS, TABLES
from mlavl_cli.datasets.manifest import load_manifest
from mlavl_cli.device import Placement
from mlavl_cli.errors import DataError, UsageError
from mlavl_cli.features.extractor import ExtractionOptions, load_extractor
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.inputs import Input
from mlavl_cli.score_range import Range
from mlavl_cli.tables import look_up

# Twelve elements earn a simulated routine at most some 125 points, five components 50.
SIMULATED_RANGES = {"TES": (0.0, 130.0), "PCS": (0.0, 50.0)}


def load_dataset(
    kind: str,
    path: Path,
    placement: Placement,
    backbones: str | Bundle = "mini",
    sport: str = "skating",
    ranges: dict[str, Range] | None = None,
    features: Path | None = None,
    precision: str = "auto",
) -> Dataset:
    """A public dataset's folder, or a manifest of the user's own.

    Args:
        kind: one of the names in layouts.py.
        path: the folder, or the csv of a manifest.
        placement: where videos of a manifest are extracted.
        backbones, sport, ranges: of a manifest; the public datasets know theirs.
        features: where a manifest's features are kept; None: `features` beside the csv.
        precision: of a manifest's features.

    Raises:
        UsageError: no such kind.
        DataError: anything in it is missing or doesn't fit.
    """
    if kind not in (*FOLDERS, *TABLES):
        raise UsageError(f"no such kind of dataset: {kind!r:.40}", hint=f"There are {', '.join((*FOLDERS, *TABLES))}.")
    if not path.exists():
        raise DataError("no such dataset", path=path, hint="Give the dataset's folder, or the csv of a manifest.")
    if kind in FOLDERS:
        return look_up(FOLDERS, kind, "kind of dataset")(path)
    ranges = ranges or {}
    if kind == "simulated":
        path, ranges = path / "manifest.csv", {**SIMULATED_RANGES, **ranges}
    store = features or path.parent / "features"
    extractor = load_extractor(
        backbones, precision=precision, options=ExtractionOptions(store=store), placement=placement
    )
    name = backbones.name if isinstance(backbones, Bundle) else backbones

    def features_of(source: Input) -> RoutineFeatures:
        return extractor.stored_or_else(source) or extractor.one(source)

    found = load_manifest(path, sport, name, ranges, features_of)
    return replace(found, name="simulated routines") if kind == "simulated" else found
