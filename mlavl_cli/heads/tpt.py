"""TPT (Bai et al., ECCV 2022): queries parse a routine into parts in order, which are compared with an exemplar's."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.base import Batch
from mlavl_cli.heads.dims import MOST_CLIPS, HeadDims
from mlavl_cli.heads.exemplars import HALF, GroupedHead, PairOutput
from mlavl_cli.heads.layers import over_clips

_MARGIN = 0.8  # of the centres of neighbouring parts, in T / parts: the public code's 3.2 at T = 20
_MOST_PARTS = 64
_SPREAD = 0.05  # weight of the attention's spread around its centre


@dataclass(frozen=True)
class TPTDims(HeadDims):
    """The public command's width, and five parts."""

    width: int = 512
    dropout: float = 0.1
    parts: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parts > _MOST_PARTS:
            raise WeightsError(f"{self.parts} parts, more than {_MOST_PARTS}, are no size of TPT")


@dataclass(frozen=True, kw_only=True)
class TPTOutput(PairOutput):
    """`attention`: of each layer (B, parts, T), over clips of which `lengths` (B,) are real."""

    attention: tuple[torch.Tensor, ...]
    lengths: torch.Tensor


class _Layer(nn.Module):
    """Parts look at clips; in the first layer then at each other."""

    def __init__(self, inputs: int, dims: HeadDims, first: bool):
        super().__init__()
        width = dims.width
        self.temp = nn.Parameter(torch.tensor([0.07]))
        self.key_embed, self.value_embed = nn.Linear(inputs, width), nn.Linear(inputs, width)
        self.query_embed = nn.Linear(width, width)
        self.linear1, self.linear2 = nn.Linear(width, width), nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dims.dropout)
        if first:
            self.self_attn = nn.MultiheadAttention(width, dims.heads, dims.dropout, batch_first=True)
            self.norm3 = nn.LayerNorm(width)

    def forward(
        self, parts: torch.Tensor, names: torch.Tensor, clips: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Parts (B, K, width), their learned names (K, width), clips (B, T, inputs) -> parts, attention (B, K, T)."""
        query = self.query_embed(parts + names)
        logits = query @ self.key_embed(clips).transpose(1, 2) / parts.shape[-1] / self.temp
        attention = over_clips(logits, mask)
        parts = self.norm1(parts + self.dropout(attention @ self.value_embed(clips)))
        parts = self.norm2(parts + self.dropout(self.linear2(self.dropout(self.linear1(parts).relu()))))
        if hasattr(self, "self_attn"):
            query = parts + names
            parts = self.norm3(parts + self.dropout(self.self_attn(query, query, parts, need_weights=False)[0]))
        return parts, attention


class _Decoder(nn.Module):
    def __init__(self, inputs: int, dims: TPTDims):
        super().__init__()
        self.query_embed = nn.Embedding(dims.parts, dims.width)
        self.layers = nn.ModuleList(_Layer(inputs, dims, first) for first in (True, False))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, clips: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        names = self.query_embed.weight
        parts = names.new_zeros(len(clips), *names.shape)
        seen = []
        for layer in self.layers:
            parts, attention = layer(parts, names, clips, mask)
            seen.append(attention)
        return parts, tuple(seen)


class _Pair(nn.Module):
    def __init__(self, dims: HeadDims):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * dims.width, dims.width), nn.ReLU(), nn.Dropout(dims.dropout),
            nn.Linear(dims.width, dims.width),
        )  # fmt: skip


class TPT(GroupedHead):
    """Each part of a routine beside the exemplar's same part; their mean says the group and the place in it."""

    name = "tpt"
    longest = MOST_CLIPS
    Dims = TPTDims
    dims: TPTDims

    def __init__(self, dims: TPTDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        width = dims.width
        self.action_decoder = _Decoder(self.inputs, dims)
        self.pair_encoder = _Pair(dims)
        self.cls = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, 2 * HALF))
        self.reg = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, 2 * HALF))
        self.keep(dims.parts, width)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> TPTOutput:
        parts, attention = self.action_decoder(clips, mask)
        lengths = clips.new_full((len(clips),), clips.shape[1]) if mask is None else mask.sum(1)
        return TPTOutput(score=self.against_exemplars(parts), views=parts, attention=attention, lengths=lengths)

    def view(self, clips: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        return self.action_decoder(clips, mask)[0]

    def compare(
        self, query: torch.Tensor, exemplar: torch.Tensor, label: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pair = self.pair_encoder.mlp(torch.cat([exemplar, query], dim=-1)).mean(1)
        return self.cls(pair).log_softmax(-1), self.reg(pair).sigmoid()

    def loss(
        self, output: TPTOutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The groups' terms, and of each layer that its parts come in order and each in one place."""
        in_order = [ordered(attention, output.lengths) for attention in output.attention]
        terms = {name: torch.stack([one[name] for one in in_order]).sum() for name in ("order", "spread")}
        return self.group_terms(output.views, batch.label, generator) | terms

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        parts, width = shapes["action_decoder.query_embed.weight"]
        return {"visual_dim": shapes["action_decoder.layers.0.key_embed.weight"][1], "width": width, "parts": parts}


def ordered(attention: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
    """Attention of parts (B, K, T) over routines of `lengths` (B,) clips -> its ranking and its sparsity loss.

    The centre of a part is the mean place it looks at, from 1 to T; neighbours' must be a margin apart.
    """
    places = torch.arange(1, attention.shape[-1] + 1, device=attention.device, dtype=attention.dtype)
    centres = attention @ places  # (B, K)
    ends = lengths.to(attention.dtype)
    margin = _MARGIN * ends / attention.shape[1]
    bounds = torch.cat([torch.ones_like(ends)[:, None], centres, ends[:, None]], dim=1)
    hinges = (margin[:, None] - bounds.diff(dim=1)).clamp(min=0)
    spread = ((places - centres[..., None]).abs() * attention).sum(-1)
    return {"order": hinges.sum(1).mean(), "spread": _SPREAD * spread.mean()}
