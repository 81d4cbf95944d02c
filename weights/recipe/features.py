"""Features and scores of simulated routines of 9 to 365 seconds, as manifests that `mlavl train` reads.

    python weights/recipe/features.py BACKBONES OUT [--workers N]

BACKBONES is what second.py made. The routines go through the very backbones that score, but not through an mp4; those
to train on twice if they are short, cut into clips at other moments. What is there isn't made again. `first.csv` holds
what heads begin with, `manifest.csv` has many short routines more.
"""

import argparse
import csv
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from clips import FRAMES, STRIDE, Routine, drawn, pictures_of, spectrograms_of
from tower import PICTURE

from mlavl_cli.bundle import find_bundle
from mlavl_cli.device import place
from mlavl_cli.features.extract import PAPER_CUTTING, Backbones, load_backbones, provenance
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.store import write_features
from mlavl_cli.files import atomic_write
from mlavl_cli.media.cutting import FRAMES_PER_CLIP
from mlavl_cli.media.decode import VideoInfo
from mlavl_cli.simulate.collection import TARGETS, routine_id
from mlavl_cli.simulate.style import TRAINING, VALIDATION
from mlavl_cli.simulate.write import Recipe, simulate

SHORTEST_S, LONGEST_S = 9.0, 365.0  # 7 to 285 clips of 25 frames/s
FIRSTS = (0, FRAMES // 2)  # pictures at which the training routines begin: twice as many clips
SHORT_S = 60.0
TWICE_S = 120.0  # longer routines have clips enough, and cost the most to learn from
BATCH = 64  # clips


def recipes(seed: int, count: int, styles: tuple[str, ...], longest_s: float = LONGEST_S) -> list[Recipe]:
    """Every duration is as likely as its double: shares of a golden section, so that each style gets all of them."""
    share = np.arange(count) * (5**0.5 - 1) / 2 % 1
    seconds = (SHORTEST_S * (longest_s / SHORTEST_S) ** share).round(2).tolist()
    return [Recipe(seed, i, styles[i % len(styles)], (s, s)) for i, s in enumerate(seconds)]


SPLITS = {
    "train": recipes(3000, 900, TRAINING),
    "more": recipes(3100, 1600, TRAINING, SHORT_S),  # a short routine shows few elements, so it takes more of them
    "val": recipes(4000, 120, VALIDATION),
    "calibration": recipes(5000, 360, VALIDATION),
}


def features_of(id: str, routine: Routine, backbones: Backbones, first: int = 0) -> RoutineFeatures:
    """All whole clips of a routine from its picture `first` on."""
    starts = list(range(first, routine.starts, FRAMES))
    visual, audio = [], []
    for at in range(0, len(starts), BATCH):
        some = starts[at : at + BATCH]
        clips = [routine] * len(some)
        visual.append(backbones.visual.encode(pictures_of(clips, some)))
        audio.append(backbones.audio.encode(spectrograms_of(clips, some, np.zeros(len(some)), backbones.audio)))
    edges = (first * STRIDE + np.arange(len(starts) + 1) * FRAMES_PER_CLIP) / routine.fps
    return RoutineFeatures(
        visual=torch.cat(visual).numpy(),
        audio=torch.cat(audio).numpy(),
        start_s=edges[:-1],
        end_s=edges[1:],
        video=VideoInfo(f"{id}.mp4", routine.truth["seconds"], routine.fps, *routine.truth["recipe"]["size"], True),
        provenance=provenance(backbones.identity, PAPER_CUTTING, backbones.placement.precision),
    )


def make(folder: Path, bundle: Path, recipe: Recipe, firsts: tuple[int, ...]) -> list[dict[str, object]]:
    """One routine's files, and their rows in the manifest."""
    torch.set_num_threads(1)
    backbones, id = loaded(bundle), routine_id(recipe)
    paths = {first: folder / f"{id}-from-{first}.safetensors" for first in firsts}
    if all(path.exists() for path in paths.values()):
        truth = simulate(recipe).truth
    else:
        routine = drawn(recipe, PICTURE, backbones.audio)
        truth = routine.truth
        for first, path in paths.items():
            write_features(path, features_of(id, routine, backbones, first))
    return [{"path": path.name} | {t: truth["scores"][t] for t in TARGETS} for path in paths.values()]


_LOADED: dict[Path, Backbones] = {}


def loaded(bundle: Path) -> Backbones:
    if bundle not in _LOADED:
        _LOADED[bundle] = load_backbones(find_bundle(bundle), place("cpu", "auto"))
    return _LOADED[bundle]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("backbones", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--workers", type=int, default=os.cpu_count())
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with ProcessPoolExecutor(given.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for split, chosen in SPLITS.items():
            jobs = [
                pool.submit(
                    make, given.out, given.backbones, recipe,
                    FIRSTS if split in ("train", "more") and recipe.seconds[1] <= TWICE_S else FIRSTS[:1],
                )
                for recipe in chosen
            ]  # fmt: skip
            for number, job in enumerate(jobs, 1):
                rows += [{**row, "split": split} for row in job.result()]
                if number % 50 == 0:
                    print(split, number, flush=True)
    for name, left_out in (("first.csv", "more"), ("manifest.csv", None)):
        with atomic_write(given.out / name, "w") as file:
            out = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            out.writeheader()
            for row in rows:
                if row["split"] != left_out:
                    out.writerow(row | ({"split": "train"} if row["split"] == "more" else {}))


if __name__ == "__main__":
    main()
