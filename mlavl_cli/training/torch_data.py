"""Padded batches of features with masks, for loops of one's own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset as TorchDataset

from mlavl_cli.datasets.dataset import Dataset


class RoutineDataset(TorchDataset[dict[str, Any]]):
    """The routines of a split that have a score, as `torch.utils.data.DataLoader` takes them, with `collate`.

    Each item has `id`, `visual` (T, D_v), `audio` (T, D_a) or None, and `score` in points.

    >>> from torch.utils.data import DataLoader                                             # doctest: +SKIP
    >>> data = load_dataset("fs1000", Path("data/fs1000"), place("cpu"))                    # doctest: +SKIP
    >>> loader = DataLoader(RoutineDataset(data, "TES"), 16, shuffle=True, collate_fn=collate)  # doctest: +SKIP

    Args:
        data: as `load_dataset` gives it.
        target: TES, PCS, ...
        split: train, val, calibration or test.

    Raises:
        DataError: no such target, or fewer than two routines that have it.
    """

    def __init__(self, data: Dataset, target: str, split: str = "train"):
        self.target, self.routines = target, data.of_target(target, split)

    def __len__(self) -> int:
        return len(self.routines)

    def __getitem__(self, index: int) -> dict[str, Any]:
        one = self.routines[index]
        return {
            "id": one.id,
            "visual": torch.from_numpy(one.visual),
            "audio": None if one.audio is None else torch.from_numpy(one.audio),
            "score": one.scores[self.target],
        }


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Items of a `RoutineDataset` -> one batch: zeros stand behind shorter routines.

    Returns:
        `id` (B,), `visual` (B, T, D_v), `audio` (B, T, D_a) or None where one of them has no sound, `mask` (B, T),
        True where a clip is, and `score` (B,).
    """
    sounds = [one["audio"] for one in items if one["audio"] is not None]
    visual = pad_sequence([one["visual"] for one in items], batch_first=True)
    lengths = torch.tensor([len(one["visual"]) for one in items])
    return {
        "id": [one["id"] for one in items],
        "visual": visual,
        "audio": pad_sequence(sounds, batch_first=True) if len(sounds) == len(items) else None,
        "mask": torch.arange(visual.shape[1]) < lengths[:, None],
        "score": torch.tensor([one["score"] for one in items], dtype=torch.float32),
    }
