"""LSTM on clip features: C3D-LSTM (Parmar & Morris, CVPRW 2017) with other features than C3D's."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.heads.base import HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import last_clip
from mlavl_cli.heads.visual import VisualHead


@dataclass(frozen=True)
class LSTMDims(HeadDims):
    """Without attention: any even width."""

    heads: int = 1


class ClipLSTM(VisualHead):
    """One LSTM over the clips, one linear map of its last state. Careful: the state at the last real clip."""

    name = "lstm"
    Dims = LSTMDims

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.rnn = nn.LSTM(self.inputs, dims.width, batch_first=True)
        self.fc_final_score = nn.Linear(dims.width, 1)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> HeadOutput:
        states = last_clip(self.rnn(clips)[0], None if mask is None else mask.sum(1))
        return HeadOutput(score=self.fc_final_score(states).squeeze(-1) / self.dims.unit)

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        return {"visual_dim": shapes["rnn.weight_ih_l0"][1], "width": shapes["fc_final_score.weight"][1]}
