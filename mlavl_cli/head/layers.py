"""What several boxes of the figure are made of: the token projection and the transformer recipes."""

import torch
from torch import nn

from mlavl_cli.head.dims import HeadDims


class TokenProjection(nn.Module):
    """Features of any width -> tokens of width d (spec: section 3): two pointwise convolutions, each normalised."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(features, features // 2, 1),
            nn.BatchNorm1d(features // 2),
            nn.ReLU(),
            nn.Conv1d(features // 2, width, 1),
            nn.BatchNorm1d(width),
        )

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T, D) -> (B, T, d). Padding gets zeros and stays out of the batch statistics."""
        return pointwise(self.layers, features, mask)


def pointwise(layers: nn.Module, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Runs convolutions of width 1 and batch norms over the real tokens alone: (B, T, D) -> (B, T, D')."""
    if mask is None:
        return layers(tokens.transpose(1, 2)).transpose(1, 2)
    real = layers(tokens[mask].T[None])[0].T  # (real tokens, D')
    out = real.new_zeros(*mask.shape, real.shape[-1])
    out[mask] = real
    return out


def transformer_encoder(dims: HeadDims, layers: int) -> nn.TransformerEncoder:
    """Post-norm, ReLU, feed-forward of 3d, a last LayerNorm."""
    layer = nn.TransformerEncoderLayer(dims.width, dims.heads, dims.feed_forward, dims.dropout, batch_first=True)
    return nn.TransformerEncoder(layer, layers, nn.LayerNorm(dims.width), enable_nested_tensor=False)


def transformer_decoder(dims: HeadDims, layers: int) -> nn.TransformerDecoder:
    """The same recipe with cross-attention; shared by AVCF and DPG."""
    layer = nn.TransformerDecoderLayer(dims.width, dims.heads, dims.feed_forward, dims.dropout, batch_first=True)
    return nn.TransformerDecoder(layer, layers, nn.LayerNorm(dims.width))


def padding(mask: torch.Tensor | None) -> torch.Tensor | None:
    """Our masks say what is real, torch's key padding masks what is not."""
    return None if mask is None else ~mask
