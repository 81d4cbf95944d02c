"""What MLAVL says about a batch."""

from dataclasses import dataclass

import torch

from mlavl_cli.heads.base import HeadOutput


@dataclass(frozen=True, kw_only=True)
class MLAVLOutput(HeadOutput):
    """Both branches, and what the losses and the timeline are read from. Audio-visual parts are None without sound.

    Attributes:
        patterns_v, patterns_av: (B, N, d) and (B, 2N, d) grade patterns, for the losses; None without DPG.
        visual, fused: (B, T, d) what the branches looked at.
        text: the prompts as tokens by group, (rows, d).
    """

    patterns_v: torch.Tensor | None
    patterns_av: torch.Tensor | None
    visual: torch.Tensor
    fused: torch.Tensor | None
    text: dict[str, torch.Tensor]
