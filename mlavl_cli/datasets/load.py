"""The datasets by name."""

from dataclasses import replace
from pathlib import Path

from mlavl_cli.bundle import Bundle, find_bundle
from mlavl_cli.datasets.dataset import Dataset
from mlavl_cli.datasets.layouts import FOLDERS, TABLES
from mlavl_cli.datasets.manifest import load_manifest
from mlavl_cli.datasets.rows import GROUP
from mlavl_cli.datasets.videos import VideoFeatures, VideoOptions, store_beside
from mlavl_cli.device import Placement
from mlavl_cli.errors import DataError, UsageError
from mlavl_cli.score_range import Range
from mlavl_cli.tables import look_up

BY_DEFAULT = VideoOptions()
# Twelve elements earn a simulated routine at most some 125 points, five components 50.
SIMULATED_RANGES = {"TES": (0.0, 130.0), "PCS": (0.0, 50.0)}


def load_dataset(
    kind: str,
    path: str | Path,
    placement: Placement,
    backbones: str | Bundle | None = None,
    sport: str = "skating",
    ranges: dict[str, Range] | None = None,
    videos: VideoOptions = BY_DEFAULT,
    group: str = GROUP,
) -> Dataset:
    """A public dataset's folder, or a manifest of the user's own.

    Args:
        kind: one of the names in layouts.py.
        path: the folder, or the csv of a manifest.
        placement: where videos of a manifest are extracted.
        backbones: of a manifest's features: a bundle or its name; None: whichever made what is there, else mini's.
        sport, ranges: of a manifest; the public datasets know theirs.
        videos: how a manifest's videos become features.
        group: the column of a manifest that says which routines stay in one split where splits are drawn.

    Raises:
        UsageError: no such kind.
        DataError: anything in it is missing or doesn't fit.
    """
    path = Path(path)
    if kind not in (*FOLDERS, *TABLES):
        raise UsageError(f"no such kind of dataset: {kind!r:.40}", hint=f"There are {', '.join((*FOLDERS, *TABLES))}.")
    if not path.exists():
        raise DataError("no such dataset", path=path, hint="Give the dataset's folder, or the csv of a manifest.")
    if kind in FOLDERS:
        return look_up(FOLDERS, kind, "kind of dataset")(path)
    ranges = ranges or {}
    if kind == "simulated":
        path, ranges = path / "manifest.csv", {**SIMULATED_RANGES, **ranges}
    bundle, store = find_bundle(backbones) if backbones else None, videos.store or store_beside(path.parent)
    source = VideoFeatures(bundle, store, placement, videos)
    found = load_manifest(path, sport, ranges, source, group)
    return replace(found, name="simulated routines") if kind == "simulated" else found
