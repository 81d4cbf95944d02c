"""S2CE, the Shared-Specific Context Encoder (paper, eq. 7)."""

import torch
from torch import nn

from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import padding, transformer_encoder


class S2CE(nn.Module):
    """One encoder for both modalities; each keeps its own tokens beside the shared context."""

    def __init__(self, dims: HeadDims):
        super().__init__()
        self.encoder = transformer_encoder(dims, dims.encoder_layers)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T, d) -> (B, T, d)."""
        return tokens + self.encoder(tokens, src_key_padding_mask=padding(mask))  # eq. 7
