"""A branch of PAMFN (pamfn.py): one modality at ever coarser scales of time."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import mean_clip, pointwise

STAGES = 3
_LEAST = 4  # clips, which are halved twice


@dataclass(frozen=True)
class Level:
    """A stream at one of the time scales: x (B, T', width), zeros where `mask` (B, T') says padding; None: all real."""

    x: torch.Tensor
    mask: torch.Tensor | None

    def through(self, layers: Any) -> "Level":
        """Convolutions over time with a norm behind each, which keep the length; padding is zeros to each of them."""
        x = self.x
        for layer in layers:
            if isinstance(layer, nn.Conv1d):
                x = layer(x.transpose(1, 2)).transpose(1, 2)
            else:
                x = pointwise(layer, x, self.mask) if isinstance(layer, nn.BatchNorm1d) else layer(x)
            if self.mask is not None:
                x = x * self.mask.unsqueeze(-1)
        return Level(x, self.mask)

    def halved(self) -> "Level":
        """The mean of every two steps; an odd last one is dropped, a lone one is kept."""
        x = nn.functional.avg_pool1d(self.x.transpose(1, 2), 2).transpose(1, 2)
        if self.mask is None:
            return Level(x, None)
        lengths = self.mask.sum(1)
        x = torch.where(lengths[:, None, None] == 1, 2 * x, x)  # a lone one was averaged with padding, which is zeros
        mask = torch.arange(x.shape[1], device=x.device) < (lengths // 2).clamp(min=1)[:, None]
        return Level(x * mask.unsqueeze(-1), mask)

    def whole(self) -> "Level":
        """The mean over time, as one step."""
        return Level(mean_clip(self.x, self.mask).unsqueeze(1), None)

    def plus(self, other: "Level") -> "Level":
        return Level(self.x + other.x, self.mask)


def convs(inputs: int, middle: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, middle, kernel, padding=kernel // 2), nn.BatchNorm1d(middle), nn.ReLU(),
        nn.Conv1d(middle, outputs, kernel, padding=kernel // 2), nn.BatchNorm1d(outputs), nn.ReLU(),
    )  # fmt: skip


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Sequential(nn.Conv1d(width, width, 3, padding=1), nn.BatchNorm1d(width), nn.GELU()) for _ in range(2)
        )

    def forward(self, level: Level) -> Level:
        return level.plus(level.through(self.conv1).through(self.conv2))


class Branch(nn.Module):
    """One modality: four levels of ever coarser time, and a score of its own."""

    def __init__(self, inputs: int, dims: HeadDims):
        super().__init__()
        self.embedding = convs(inputs, 2 * dims.width, dims.width, 1)
        self.dropout = nn.Dropout(dims.dropout)
        for number in range(1, STAGES + 1):
            setattr(self, f"stage{number}", _Residual(dims.width))
        self.fc = nn.Sequential(nn.Dropout(0.5), nn.Conv1d(dims.width, 1, 1))

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None) -> tuple[list[Level], torch.Tensor]:
        """(B, T, D) -> the levels, and the score (B,)."""
        first = Level(features, mask).through(self.embedding)
        levels = [Level(self.dropout(first.x), mask)]
        for number in range(1, STAGES + 1):
            deeper = getattr(self, f"stage{number}")(levels[-1])
            levels.append(deeper.whole() if number == STAGES else deeper.halved())
        return levels, self.fc(levels[-1].x.transpose(1, 2)).sigmoid()[:, 0, 0]


def at_least(features: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Filled with zeros to as many clips as are halved; they count as padding."""
    spare = _LEAST - features.shape[1]
    if spare <= 0:
        return features, mask
    real = features.new_ones(features.shape[:2], dtype=torch.bool) if mask is None else mask
    return nn.functional.pad(features, (0, 0, 0, spare)), nn.functional.pad(real, (0, spare))
