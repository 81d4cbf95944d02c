"""USDL (Tang et al., CVPR 2020): the score as a distribution over 101 steps of its range."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.heads.base import Batch, HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import mean_clip
from mlavl_cli.heads.visual import VisualHead

STEPS, SPREAD = 101, 5.0  # the spread of a label, in steps


@dataclass(frozen=True, kw_only=True)
class USDLOutput(HeadOutput):
    """`log_p`: (B, STEPS), the log-probability of each step."""

    log_p: torch.Tensor


class _Evaluator(nn.Module):
    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.layer1 = nn.Linear(inputs, width)
        self.layer2 = nn.Linear(width, width // 2)
        self.layer3 = nn.Linear(width // 2, STEPS)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.layer3(self.layer2(self.layer1(clip).relu()).relu())


class USDL(VisualHead):
    """The mean clip through three linear maps; learned as a normal distribution around the label.

    Official: the score is the most probable step, which makes ties; careful: the expectation.
    """

    name = "usdl"
    worth: torch.Tensor

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.evaluator = _Evaluator(self.inputs, dims.width)
        self.register_buffer("worth", torch.linspace(0, 1, STEPS), persistent=False)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> USDLOutput:
        log_p = self.evaluator(mean_clip(clips, mask)).log_softmax(-1)
        score = self.worth[log_p.argmax(-1)] if self.official else log_p.exp() @ self.worth
        return USDLOutput(score=score, log_p=log_p)

    def loss(
        self, output: USDLOutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """KL divergence of the label's distribution; official: its mean over steps too, a 101st of it."""
        divergence = nn.functional.kl_div(output.log_p, around(batch.label), reduction="batchmean")
        return {"distribution": divergence / STEPS if self.official else divergence}

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        width, visual = shapes["evaluator.layer1.weight"]
        return {"visual_dim": visual, "width": width}


def around(label: torch.Tensor) -> torch.Tensor:
    """Labels (B,) in [0, 1] -> (B, STEPS): a normal distribution around each, on the steps alone."""
    steps = torch.arange(STEPS, device=label.device)
    return (-0.5 * ((steps - label[:, None] * (STEPS - 1)) / SPREAD) ** 2).softmax(-1)
