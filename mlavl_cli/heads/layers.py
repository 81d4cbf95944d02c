"""What several boxes of the figure are made of: the token projection, the transformer recipes, and order."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from mlavl_cli.heads.dims import HeadDims

_MOST_COMPARED = 8 * 2048**2  # of 45 minutes 8 heads make a matrix of 134 MB
TransformerT = TypeVar("TransformerT", nn.TransformerEncoder, nn.TransformerDecoder)


class TokenProjection(nn.Module):
    """Features of any width -> tokens of width d (method.md, 3): two pointwise convolutions, each normalised."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.layers = token_layers(features, width)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T, D) -> (B, T, d). Padding gets zeros and stays out of the batch statistics."""
        return pointwise(self.layers, features, mask)


def token_layers(features: int, width: int) -> nn.Sequential:
    """The layers of a token projection, numbered as in the public code of several methods."""
    return nn.Sequential(
        nn.Conv1d(features, features // 2, 1),
        nn.BatchNorm1d(features // 2),
        nn.ReLU(),
        nn.Conv1d(features // 2, width, 1),
        nn.BatchNorm1d(width),
    )


def pointwise(layers: nn.Module, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Runs convolutions of width 1 and batch norms over the real tokens alone: (B, T, D) -> (B, T, D')."""
    if mask is None:
        return layers(tokens.transpose(1, 2)).transpose(1, 2)
    real = layers(tokens[mask].T[None])[0].T  # (real tokens, D')
    out = real.new_zeros(*mask.shape, real.shape[-1])
    out[mask] = real
    return out


def mean_clip(clips: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(B, T, d) -> (B, d), the mean over real clips."""
    if mask is None:
        return clips.mean(1)
    return (clips * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def last_clip(clips: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """(B, T, d) -> (B, d): the last of each routine's clips, of which (B,) are real; None: all."""
    if lengths is None:
        return clips[:, -1]
    return clips[torch.arange(len(clips), device=clips.device), lengths - 1]


def over_clips(logits: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Softmax over the last axis, T clips, of which padding gets nothing; `mask` (B, T) with logits (B, ..., T)."""
    if mask is None:
        return logits.softmax(-1)
    real = mask.view(len(mask), *[1] * (logits.ndim - 2), -1)
    return logits.masked_fill(~real, -torch.inf).softmax(-1)


class TemporalConv(nn.Module):
    """A residual of two convolutions over time, which span `dims.temporal_conv` clips on either side.

    Nothing else in a head knows which clip comes before which: to attention and graphs a routine is a set of clips. How
    evenly its elements are laid out, say, no set can tell. This project's own; the paper has nothing like it.
    """

    def __init__(self, dims: HeadDims):
        super().__init__()
        span = 2 * dims.temporal_conv + 1
        self.first = nn.Conv1d(dims.width, dims.width, span, padding=dims.temporal_conv)
        self.second = nn.Conv1d(dims.width, dims.width, span, padding=dims.temporal_conv)
        self.dropout = nn.Dropout(dims.dropout)

    def forward(self, clips: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T, d) -> (B, T, d). Beyond a routine's ends there is nothing: padding counts as zeros."""
        real = clips.new_ones(()) if mask is None else mask.unsqueeze(1).to(clips.dtype)
        hidden = self.first(clips.transpose(1, 2) * real).relu()
        return clips + self.second(self.dropout(hidden) * real).transpose(1, 2)


def transformer_encoder(dims: HeadDims, layers: int) -> nn.TransformerEncoder:
    """Post-norm, ReLU, feed-forward of 3d, a last LayerNorm."""
    layer = nn.TransformerEncoderLayer(dims.width, dims.heads, dims.feed_forward, dims.dropout, batch_first=True)
    return _drawn(nn.TransformerEncoder(layer, layers, nn.LayerNorm(dims.width), enable_nested_tensor=False))


def transformer_decoder(dims: HeadDims, layers: int) -> nn.TransformerDecoder:
    """The same recipe with cross-attention; shared by AVCF and DPG."""
    layer = nn.TransformerDecoderLayer(dims.width, dims.heads, dims.feed_forward, dims.dropout, batch_first=True)
    return _drawn(nn.TransformerDecoder(layer, layers, nn.LayerNorm(dims.width)))


def looked_at(
    layers: Any, queries: torch.Tensor, clips: torch.Tensor, p: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """How much each clip was looked at, (B, T), summing to 1: a post-norm decoder's last layer, its queries weighted.

    Args:
        layers: of the decoder.
        queries: (grades, d), or (B, grades, d).
        clips: (B, T, d), its memory.
        p: (B, grades), summing to 1.
        mask: (B, T).
    """
    *first, last = layers
    x = queries.expand(len(clips), -1, -1)
    for layer in first:
        x = layer(x, clips, memory_key_padding_mask=padding(mask))
    x = last.norm1(x + last.self_attn(x, x, x, need_weights=False)[0])
    _, weights = last.multihead_attn(x, clips, clips, key_padding_mask=padding(mask))  # (B, grades, T)
    return (p.unsqueeze(1) @ weights).squeeze(1).clamp(max=1)  # a lone clip may round above


@contextmanager
def lean_attention(clips: int, heads: int = 8) -> Iterator[None]:
    """Where routines are very long, keeps torch from comparing all clips in one matrix, as its fast path does."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast and heads * clips**2 <= _MOST_COMPARED)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _drawn(transformer: TransformerT) -> TransformerT:
    """The same with every matrix initialised again, Xavier-uniform, as the official code does.

    torch's own are smaller in part, and copies of one layer: all layers would begin alike.
    """
    for parameter in transformer.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    return transformer


def padding(mask: torch.Tensor | None) -> torch.Tensor | None:
    """Our masks say what is real, torch's key padding masks what is not."""
    return None if mask is None else ~mask


def sinusoid(places: int, width: int) -> torch.Tensor:
    """(places, width): sines in the even columns, cosines in the odd ones, of ever longer waves."""
    angle = torch.arange(places)[:, None] * (torch.arange(0, width, 2) * (-math.log(10000.0) / width)).exp()
    table = torch.zeros(places, width)
    table[:, 0::2], table[:, 1::2] = angle.sin(), angle[:, : width // 2].cos()
    return table
