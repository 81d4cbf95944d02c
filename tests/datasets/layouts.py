"""Made-up copies of the public datasets' layouts: random features in which the scores can be found."""

import pickle
from pathlib import Path

import numpy as np
import torch

D = 16  # of all features
ROUTINES = {"train": 14, "test": 8}


def features(rng: np.random.Generator, quality: float, clips: int, width: int = D) -> np.ndarray:
    """(clips, width): noise, and the routine's quality in the first half of the channels."""
    rows = rng.normal(0, 0.2, (clips, width))
    rows[:, : width // 2] += 2 * quality - 1
    return rows.astype(np.float32)


def text_features(path: Path, actions: int = 4, official: bool = False) -> Path:
    """(2M + 3N, D_t), as a numpy file or as the official code saves it."""
    torch.manual_seed(1)
    rows = torch.randn(2 * actions + 18, 12)
    torch.save(rows, path) if official else np.save(path, rows.numpy())
    if not path.exists():  # numpy adds a suffix
        path.with_suffix(path.suffix + ".npy").rename(path)
    return path


def fs1000(root: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name in ("output_feature_fs1000_new", "ast_feature_fs1000_new"):
        (root / name).mkdir(parents=True)
    for split, name in (("train", "train"), ("test", "val")):
        lines = []
        for i in range(ROUTINES[split]):
            id, quality, clips = f"{split}{i}", rng.uniform(), int(rng.integers(3, 9))
            visual = features(rng, quality, clips)
            np.save(root / "output_feature_fs1000_new" / f"{id}.npy", np.stack([visual - 0.1, visual + 0.1], 1))
            np.save(root / "ast_feature_fs1000_new" / f"{id}.npy", features(rng, quality, clips))
            ten = [f"{10 * quality:.3f}"] * 5
            lines.append("\t".join([id, f"{130 * quality:.3f}", f"{2 * 60 * quality:.3f}", *ten, "2"]))
        (root / f"{name}_fs1000_new.txt").write_text("\n".join(lines) + "\n")
    return root


def fisv(root: Path) -> Path:
    rng = np.random.default_rng(1)
    root.mkdir(parents=True)
    visual, audio = {}, {}
    for split in ("train", "test"):
        lines = ["id TES PCS"]
        for i in range(ROUTINES[split]):
            id, quality, clips = f"{split}{i}", rng.uniform(), int(rng.integers(3, 9))
            visual[id], audio[id] = features(rng, quality, clips), features(rng, quality, clips)
            lines.append(f"{id} {45 * quality:.3f} {40 * quality:.3f}")
        (root / f"{split}.txt").write_text("\n".join(lines))
    np.save(root / "FISV_rgb_VST.npy", np.array(visual, dtype=object), allow_pickle=True)
    with (root / "FISV_audio_AST.npy").open("wb") as file:  # some releases are pickles by the name of npy
        pickle.dump(audio, file, protocol=2)
    return root


def rg(root: Path) -> Path:
    rng = np.random.default_rng(2)
    root.mkdir(parents=True)
    lines = {split: ["id difficulty execution total"] for split in ROUTINES}
    for apparatus in ("Ball", "Ribbon"):
        visual, audio = {}, {}
        for split, count in ROUTINES.items():
            for i in range(count):
                id, quality = f"{apparatus}_{split}{i:03d}", rng.uniform()
                visual[id], audio[id] = features(rng, quality, 5), features(rng, quality, 5)
                lines[split].append(f"{id} {10 * quality:.3f} {9 * quality:.3f} {25 * quality:.3f}")
        np.save(root / f"{apparatus}_rgb_VST.npy", np.array(visual, dtype=object), allow_pickle=True)
        np.save(root / f"{apparatus}_audio_AST.npy", np.array(audio, dtype=object), allow_pickle=True)
    for split, rows in lines.items():
        (root / f"{split}.txt").write_text("\n".join(rows))
    return root


def logo(root: Path) -> Path:
    rng = np.random.default_rng(3)
    root.mkdir(parents=True)
    annotations = {}
    for split, count in ROUTINES.items():
        keys = []
        for i in range(count):
            event, id, quality = f"event{i % 2}", f"{split}{i}", rng.uniform()
            keys.append((event, id))
            annotations[event, id] = ["technical", 100 * quality, "x"]
            np.save(root / f"{event}_{id}.npy", features(rng, quality, 6))
        with (root / f"{split}_split3.pkl").open("wb") as file:
            pickle.dump(keys, file)
    with (root / "anno_dict.pkl").open("wb") as file:
        pickle.dump(annotations, file)
    return root


MAKERS = {"fs1000": fs1000, "fisv": fisv, "rg": rg, "logo": logo}
