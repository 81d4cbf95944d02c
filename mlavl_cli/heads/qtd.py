"""QTD (Dong et al., BMVC 2024): as many queries as clips; each gives a score and a weight, which explain the sum."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.base import Batch, ClipReading, HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import over_clips, padding, sinusoid
from mlavl_cli.heads.noise import draws
from mlavl_cli.heads.visual import VisualHead


@dataclass(frozen=True)
class QTDDims(HeadDims):
    """T queries; `query_spread` is of the official code's random queries, 5 on Fis-V, 2 on RG, 0.5 on LOGO; `noise` of
    what it adds to predictions in training, 0 on LOGO.
    """

    clips: int = 136
    heads: int = 4
    dropout: float = 0.7
    feed: int = 1024  # between the linear maps of a layer
    query_spread: float = 5.0
    noise: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.visual_dim % (2 * self.heads) and not (self.mag2 and self.plug == "project"):
            raise WeightsError(f"QTD's {self.heads} heads can't share features {self.visual_dim} wide")


@dataclass(frozen=True, kw_only=True)
class QTDOutput(HeadOutput):
    """`clip_score` and `clip_weight` (B, Q); of each layer the rows (B, Q, D) after self- and after cross-attention.

    `mask` (B, Q): queries of real clips; None: all. `given`: clips of the routine, of which Q are the central ones.
    """

    clip_score: torch.Tensor
    clip_weight: torch.Tensor
    rows: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    mask: torch.Tensor | None
    given: int = 0


class _Layer(nn.Module):
    def __init__(self, width: int, dims: QTDDims):
        super().__init__()
        self.official = dims.behaviour == "official"
        self.self_attn = nn.MultiheadAttention(width, dims.heads, dims.dropout, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, dims.heads, dims.dropout, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, dims.feed), nn.Linear(dims.feed, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(dims.dropout)

    def forward(
        self, x: torch.Tensor, place: torch.Tensor, clips: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        hidden = padding(mask)
        value = self.norm1(x)
        query = value + place
        own = self.self_attn(query, query, value, key_padding_mask=hidden, need_weights=False)[0]
        # The public code leaves x out here, and so its queries.
        x = (own if self.official else x) + self.dropout(own)
        seen = self.multihead_attn(self.norm2(x) + place, clips, clips, key_padding_mask=hidden, need_weights=False)[0]
        x = x + self.dropout(seen)
        return x + self.dropout(self.linear2(self.dropout(self.linear1(self.norm3(x)).relu()))), (own, seen)


class _Decoder(nn.Module):
    def __init__(self, width: int, dims: QTDDims):
        super().__init__()
        self.layers = nn.ModuleList(_Layer(width, dims) for _ in range(2))
        self.norm = nn.LayerNorm(width)


class _Neck(nn.Module):
    place: torch.Tensor

    def __init__(self, width: int, dims: QTDDims):
        super().__init__()
        self.decoder = _Decoder(width, dims)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        self.query_embed = nn.Embedding(dims.clips, width)
        self.register_buffer("place", sinusoid(dims.clips, width), persistent=False)


class _Readout(nn.Module):
    def __init__(self, width: int, dims: HeadDims):
        super().__init__()
        for of in ("mean", "weight"):
            for number, (inputs, outputs) in enumerate(
                ((width, 2 * dims.width), (2 * dims.width, dims.width), (dims.width, 1)), 1
            ):
                setattr(self, f"layer{number}_{of}", nn.Linear(inputs, outputs))

    def read(self, rows: torch.Tensor, of: str) -> torch.Tensor:
        """(B, Q, D) -> (B, Q)."""
        first, second, third = (getattr(self, f"layer{number}_{of}") for number in (1, 2, 3))
        return third(second(first(rows).relu()).relu()).squeeze(-1)


class QTD(VisualHead):
    """A decoder on raw clips whose queries are the clips' places; score = sum of weights times scores.

    Official: queries are random at every call, and the score is the mean of `DRAWS` seeded calls; their places are
    the sines plus the queries of the batch's first routine. Careful: learned queries, sines alone, a residual.
    """

    name = "qtd"
    Dims = QTDDims
    dims: QTDDims

    def __init__(self, dims: QTDDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.neck = _Neck(self.inputs, dims)
        self.head = _Readout(self.inputs, dims)

    def forward(
        self, visual: torch.Tensor, audio: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> QTDOutput:
        output = super().forward(visual, audio, mask)
        assert isinstance(output, QTDOutput)
        return replace(output, given=visual.shape[1])

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> QTDOutput:
        if not self.official:
            queries = self.neck.query_embed.weight.expand(len(clips), -1, -1)
            return self.asked(clips, queries, self.neck.place, mask)
        if self.training:
            return self.drawn(clips, torch.randn(len(clips), *self.neck.place.shape, device=clips.device))
        noises = draws(clips, *self.neck.place.shape)
        outputs = [self.drawn(clips, noise.expand(len(clips), -1, -1)) for noise in noises]
        means: dict[str, Any] = {
            name: torch.stack([getattr(one, name) for one in outputs]).mean(0)
            for name in ("score", "clip_score", "clip_weight")
        }
        return QTDOutput(**means, rows=outputs[0].rows, mask=None)

    def drawn(self, clips: torch.Tensor, noise: torch.Tensor) -> QTDOutput:
        """The official computation with given standard normal noise (B, Q, D)."""
        queries = self.dims.query_spread * noise
        return self.asked(clips, queries, self.neck.place + queries[0], None)

    def asked(
        self, clips: torch.Tensor, queries: torch.Tensor, place: torch.Tensor, mask: torch.Tensor | None
    ) -> QTDOutput:
        """Clips (B, Q, D) asked by queries (B, Q, D) at places (Q, D)."""
        x, rows = queries, []
        for layer in self.neck.decoder.layers:
            x, both = layer(x, place, clips, mask)
            rows.append(both)
        x = self.neck.decoder.norm(x)
        clip_score, weight = self.head.read(x, "mean"), over_clips(self.head.read(x, "weight"), mask)
        score = (weight * clip_score).sum(1)
        return QTDOutput(score=score, clip_score=clip_score, clip_weight=weight, rows=tuple(rows), mask=mask)

    def loss(
        self, output: QTDOutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The squared error, and that clips are alike after cross-attention as they are after self-attention.

        Official: that is a sum over routines and clips, and the predictions get noise; careful: a mean, and none.
        """
        score = output.score
        if self.official:
            score = score + self.dims.noise * torch.randn_like(score)
        alike = [relation_loss(cross, own, output.mask) for own, cross in output.rows]
        total = torch.stack([one.sum() if self.official else one.mean() for one in alike]).sum()
        return {"mse": nn.functional.mse_loss(score, batch.label), "alike": total}

    def per_clip(self, output: QTDOutput, mask: torch.Tensor | None = None) -> ClipReading | None:
        """Scores and weights of the window's clips; clips outside of it weigh nothing, and then no score is shown."""
        given, queries = output.given, self.dims.clips
        weight, score = output.clip_weight[:, :given], output.clip_score[:, :given].clamp(0, 1)
        if given <= queries:
            return ClipReading(None, score, weight / weight.sum(1, keepdim=True))
        before = (given - queries) // 2
        return ClipReading(None, None, nn.functional.pad(weight, (before, given - queries - before)))

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        queries, visual = shapes["neck.query_embed.weight"]
        feed, width = shapes["neck.decoder.layers.0.linear1.weight"][0], shapes["head.layer2_mean.weight"][0]
        return {"visual_dim": visual, "clips": queries, "width": width, "feed": feed}


def relation_loss(cross: torch.Tensor, own: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Rows (B, Q, D) of both -> of each real row the KL divergence of their relations, (real rows,)."""
    width = cross.shape[-1]
    p, q = (over_clips(rows @ rows.transpose(1, 2) / width, mask) for rows in (cross, own))
    both = (p * (p.clamp(min=1e-30).log() - q.clamp(min=1e-30).log())).sum(-1)
    return both.flatten() if mask is None else both[mask]
