"""USDL (Tang et al., 2020), written from the paper's idea and not from its code."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.heads.base import Batch, HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.visual import VisualHead, mean_clip


@dataclass(frozen=True, kw_only=True)
class USDLOutput(HeadOutput):
    """`log_p`: (B, STEPS), the log-probability of each step."""

    log_p: torch.Tensor


class USDL(VisualHead):
    """The score as a distribution over 101 steps, learned as a narrow normal distribution around the label."""

    name = "usdl"
    STEPS, SPREAD = 101, 0.05
    worth: torch.Tensor

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.steps = nn.Sequential(
            nn.Linear(dims.width, dims.width), nn.ReLU(), nn.Dropout(dims.dropout), nn.Linear(dims.width, self.STEPS)
        )
        self.register_buffer("worth", torch.linspace(0, 1, self.STEPS), persistent=False)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> USDLOutput:
        log_p = self.steps(mean_clip(clips, mask)).log_softmax(-1)
        return USDLOutput(score=log_p.exp() @ self.worth, log_p=log_p)

    def loss(
        self, output: USDLOutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        wanted = (-0.5 * ((self.worth - batch.label[:, None]) / self.SPREAD) ** 2).softmax(-1)
        return {"distribution": nn.functional.kl_div(output.log_p, wanted, reduction="batchmean")}
