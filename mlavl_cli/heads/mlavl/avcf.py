"""AVCF, Audio-Visual Cross-modal Fusion (paper, eq. 10-12)."""

import torch
from torch import nn

from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import padding, pointwise, transformer_decoder


class AVCF(nn.Module):
    """Global fusion (every clip listens to the whole music) plus clip-wise fusion (to its own moment)."""

    def __init__(self, dims: HeadDims):
        super().__init__()
        self.decoder = transformer_decoder(dims, dims.fusion_layers)
        self.clip_fusion = nn.Sequential(
            nn.Conv1d(2 * dims.width, dims.width, 1),
            nn.BatchNorm1d(dims.width),
            nn.ReLU(),
            nn.Conv1d(dims.width, dims.width, 1),
            nn.BatchNorm1d(dims.width),
        )

    def forward(self, visual: torch.Tensor, audio: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Visual and audio clips (B, T, d) -> fused clips (B, T, d)."""
        hidden = padding(mask)
        whole = self.decoder(visual, audio, tgt_key_padding_mask=hidden, memory_key_padding_mask=hidden)  # eq. 10
        clipwise = pointwise(self.clip_fusion, torch.cat([visual, audio], dim=-1), mask)  # eq. 11
        return whole + clipwise  # eq. 12
