"""Features and scores of the routines that pretrain.py drew, as a manifest that `mlavl train` reads.

    python weights/recipe/features.py OUT [--cache CACHE]

OUT is what pretrain.py made. The routines go through the very backbones that score, but not through an mp4; those to
train on four times, cut into clips at other moments.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from clips import FRAMES, STRIDE, Routine, draw, pictures_of, spectrograms_of
from pretrain import TRAIN, VAL
from tower import PICTURE

from mlavl_cli.bundle import find_bundle
from mlavl_cli.device import place
from mlavl_cli.features.extract import PAPER_CUTTING, Backbones, load_backbones, provenance
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.store import write_features
from mlavl_cli.files import atomic_write
from mlavl_cli.media.clips import FRAMES_PER_CLIP
from mlavl_cli.media.decode import VideoInfo
from mlavl_cli.training.simulate.collection import TARGETS, routine_id

FIRSTS = range(0, FRAMES, FRAMES // 4)  # pictures at which the training routines begin: four times as many clips


def features_of(id: str, routine: Routine, backbones: Backbones, first: int = 0) -> RoutineFeatures:
    """All whole clips of a routine from its picture `first` on."""
    starts = list(range(first, routine.starts, FRAMES))
    clips = [routine] * len(starts)
    spectrograms = spectrograms_of(clips, starts, np.zeros(len(starts)), backbones.audio)
    edges = (first * STRIDE + np.arange(len(starts) + 1) * FRAMES_PER_CLIP) / routine.fps
    return RoutineFeatures(
        visual=backbones.visual.encode(pictures_of(clips, starts)).numpy(),
        audio=backbones.audio.encode(spectrograms).numpy(),
        start_s=edges[:-1],
        end_s=edges[1:],
        video=VideoInfo(f"{id}.mp4", routine.truth["seconds"], routine.fps, *routine.truth["recipe"]["size"], True),
        provenance=provenance(backbones.identity, PAPER_CUTTING, backbones.placement.precision),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("out", type=Path)
    options.add_argument("--cache", type=Path)
    given = options.parse_args()
    backbones = load_backbones(find_bundle(given.out), place("cpu", "auto"))
    folder = given.out / "routines"
    rows = []
    for split, recipes in (("train", TRAIN), ("val", VAL)):
        for recipe in recipes:
            routine = draw(recipe, given.cache or given.out / "cache", PICTURE, backbones.audio)
            for first in FIRSTS if split == "train" else (0,):
                name = f"{routine_id(recipe)}-from-{first}.safetensors"
                write_features(folder / name, features_of(routine_id(recipe), routine, backbones, first))
                rows.append({"path": name, "split": split} | {t: routine.truth["scores"][t] for t in TARGETS})
    with atomic_write(folder / "manifest.csv", "w") as file:
        out = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        out.writeheader()
        out.writerows(rows)


if __name__ == "__main__":
    main()
