"""MS-LSTM (Xu et al., 2019), written from the paper's idea and not from its code."""

import torch
from torch import nn

from mlavl_cli.heads.base import HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.visual import VisualHead


class MSLSTM(VisualHead):
    """A self-attentive LSTM over a few weighted sums of clips, and LSTMs over convolutions of several scales."""

    name = "ms-lstm"
    SCALES, SUMS = (2, 4, 8), 8

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        half = dims.width // 2
        self.weigh = nn.Sequential(nn.Linear(dims.width, half), nn.Tanh(), nn.Linear(half, self.SUMS))
        self.over_sums = nn.LSTM(dims.width, half, batch_first=True)
        self.convs = nn.ModuleList(nn.Conv1d(dims.width, half, s, stride=s // 2, padding=s // 2) for s in self.SCALES)
        self.over_scales = nn.ModuleList(nn.LSTM(half, half, batch_first=True) for _ in self.SCALES)
        self.score = nn.Sequential(nn.Dropout(dims.dropout), nn.Linear(half * (1 + len(self.SCALES)), 1))

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> HeadOutput:
        weights = self.weigh(clips)
        if mask is not None:
            weights = weights.masked_fill(~mask.unsqueeze(-1), -torch.inf)
        sums = weights.softmax(1).transpose(1, 2) @ clips  # (B, SUMS, d)
        ends = [self.over_sums(sums)[1][0][-1]]
        for scale, conv, lstm in zip(self.SCALES, self.convs, self.over_scales, strict=True):
            states = lstm(conv(clips.transpose(1, 2)).relu().transpose(1, 2))[0]
            ends.append(states[:, -1] if mask is None else _at(states, _steps(mask.sum(1), scale) - 1))
        return HeadOutput(score=self.score(torch.cat(ends, dim=-1)).sigmoid().squeeze(-1))


def _steps(clips: torch.Tensor, scale: int) -> torch.Tensor:
    """Outputs of a convolution of that scale over so many clips (B,)."""
    return (clips + 2 * (scale // 2) - scale) // (scale // 2) + 1


def _at(states: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """(B, steps, d) -> (B, d), each routine's at its own step."""
    return states[torch.arange(len(states), device=states.device), step]
