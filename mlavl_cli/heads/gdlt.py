"""GDLT (Xu et al., 2022), written from the paper's idea and not from its code."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.heads.base import Batch, HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import padding, transformer_decoder, transformer_encoder
from mlavl_cli.heads.mlavl.dpg import GradeRegressor
from mlavl_cli.heads.visual import VisualHead


@dataclass(frozen=True, kw_only=True)
class GDLTOutput(HeadOutput):
    """`patterns`: (B, N, d), what each grade found in the clips."""

    patterns: torch.Tensor


class GDLT(VisualHead):
    """Learned grade prototypes ask the clips in a decoder; their answers are weighted from the worst to the best."""

    name = "gdlt"

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.encoder = transformer_encoder(dims, dims.encoder_layers)
        self.decoder = transformer_decoder(dims, dims.fusion_layers)
        self.prototypes = nn.Parameter(torch.randn(dims.grades, dims.width))
        self.regressor = GradeRegressor(dims, dims.grades)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> GDLTOutput:
        hidden = padding(mask)
        clips = self.encoder(clips, src_key_padding_mask=hidden)
        patterns = self.decoder(self.prototypes.expand(len(clips), -1, -1), clips, memory_key_padding_mask=hidden)
        return GDLTOutput(score=self.regressor(patterns)[1], patterns=patterns)

    def loss(
        self, output: GDLTOutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The squared error, and grades kept apart: their patterns should not look alike."""
        unit = nn.functional.normalize(output.patterns, dim=-1)
        alike = (unit @ unit.transpose(1, 2)).clamp(min=0)
        others = 1 - torch.eye(alike.shape[-1], device=alike.device)
        return {"mse": 10 * nn.functional.mse_loss(output.score, batch.label), "apart": (alike * others).mean()}
