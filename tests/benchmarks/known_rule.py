"""A made-up dataset in Fis-V's layout whose rule is known: python tests/benchmarks/known_rule.py FOLDER

A tenth of a routine's clips, anywhere in it, hold elements: there a marker stands in the pictures' features, and along
another direction how good the element is. Everywhere else that direction is noise of the same size. TES is the mean
quality of the elements; PCS is half that and half what the sound's features say at the same clips.
"""

import sys
from pathlib import Path

import numpy as np

VISUAL, SOUND = 64, 32
ROUTINES = {"train": 300, "test": 100}
NOISE = 0.5


def routine(rng):
    """-> visual (T, VISUAL), sound (T, SOUND), quality seen and heard, both in [0, 1]."""
    clips = int(rng.integers(30, 51))
    elements = rng.choice(clips, clips // 10, replace=False)
    seen, heard = rng.uniform(size=2)
    visual, sound = rng.normal(0, NOISE, (clips, VISUAL)), rng.normal(0, NOISE, (clips, SOUND))
    visual[:, 1], sound[:, 1] = rng.uniform(-1, 1, (2, clips))
    visual[elements, 0] += 2
    for features, quality in ((visual, seen), (sound, heard)):
        features[elements, 1] = np.clip(2 * quality - 1 + rng.normal(0, 0.3, len(elements)), -1, 1)
    return visual.astype(np.float32), sound.astype(np.float32), seen, heard


def write(root: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    visual, sound = {}, {}
    for split, count in ROUTINES.items():
        lines = []
        for i in range(count):
            id = f"{split}{i}"
            visual[id], sound[id], seen, heard = routine(rng)
            lines.append(f"{id} {45 * seen:.2f} {40 * (seen + heard) / 2:.2f}")
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    for name, rows in (("rgb_VST", visual), ("audio_AST", sound)):
        np.save(root / f"FISV_{name}.npy", np.array(rows, dtype=object), allow_pickle=True)
    np.save(root / "text_features.npy", rng.normal(size=(2 * 8 + 18, 64)).astype(np.float32))
    return root


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
