"""What weights/mini knows of its training videos: statistics and features of real mp4 files, and where its domain ends.

    python weights/recipe/domain.py BUNDLE VIDEOS

VIDEOS is a folder of `mlavl synthesize`: its training split is what the references are fitted on, its val split, of
styles that training never saw and of other sizes, sets the limits. Features are kept in VIDEOS/features.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path

from mlavl_cli.bundle import find_bundle, write_bundle
from mlavl_cli.features.extractor import ExtractionOptions, load_extractor
from mlavl_cli.inputs import Input
from mlavl_cli.scoring.domain import fit_detector, save_detector


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=Path)
    options.add_argument("videos", type=Path)
    given = options.parse_args()
    extractor = load_extractor(given.bundle, options=ExtractionOptions(store=given.videos / "features"))
    with (given.videos / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in ("train", "val")]
    sources = [Input(given.videos / row["path"], Path(row["path"])) for row in rows]
    tables = {"train": [], "val": []}
    for row, outcome in zip(rows, extractor.run(sources), strict=True):
        tables[row["split"]].append(outcome.unwrap().tables())
    path = given.bundle / "domain.safetensors"
    save_detector(path, fit_detector(tables["train"], tables["val"]))
    write_bundle(replace(find_bundle(given.bundle), domain=path))


if __name__ == "__main__":
    main()
