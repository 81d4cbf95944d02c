"""ACTION-NET (Zeng et al., ACM MM 2020), its dynamic stream: the stills of its static stream aren't clip features."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.heads.base import ClipReading, HeadOutput
from mlavl_cli.heads.dims import MOST_CLIPS, HeadDims
from mlavl_cli.heads.layers import over_clips
from mlavl_cli.heads.visual import VisualHead


@dataclass(frozen=True)
class ActionNetDims(HeadDims):
    """The public code's dropout."""

    dropout: float = 0.5


@dataclass(frozen=True, kw_only=True)
class ActionNetOutput(HeadOutput):
    """`attention`: (B, T)."""

    attention: torch.Tensor


class _Context(nn.Module):
    """Clips, and clips in the context of their neighbours, weighted by attention."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.embedding = nn.Sequential(
            nn.Linear(inputs, inputs // 2), nn.ReLU(), nn.Linear(inputs // 2, width), nn.ReLU()
        )
        self.gcn1, self.gcn2 = nn.Linear(width, width), nn.Linear(width, width)
        self.att = nn.Sequential(nn.Linear(2 * width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1))

    def forward(self, clips: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, inputs) -> (B, 2 width) and attention (B, T)."""
        near = nearness(clips, mask)
        clips = self.embedding(clips)
        context = clips
        for graph in (self.gcn1, self.gcn2):
            context = graph(near @ context).relu()
        both = torch.cat([clips, context], dim=-1)
        attention = over_clips(self.att(both).squeeze(-1), mask)
        return (attention[:, None] @ both)[:, 0], attention


class ActionNet(VisualHead):
    """Two graph layers over time whose edges fade with distance, attention over clips, a sigmoid."""

    name = "action-net"
    longest = MOST_CLIPS
    Dims = ActionNetDims

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        width = dims.width
        self.d_ct = _Context(self.inputs, width)
        self.fc = nn.Sequential(
            nn.Linear(2 * width, width // 2), nn.ReLU(), nn.Dropout(dims.dropout), nn.Linear(width // 2, 1)
        )
        for parameter in (*self.d_ct.parameters(), *self.fc.parameters()):
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> ActionNetOutput:
        routine, attention = self.d_ct(clips, mask)
        return ActionNetOutput(score=self.fc(routine).sigmoid().squeeze(-1), attention=attention)

    def per_clip(self, output: ActionNetOutput, mask: torch.Tensor | None = None) -> ClipReading:
        return ClipReading(None, None, output.attention)

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        return {"visual_dim": shapes["d_ct.embedding.0.weight"][1], "width": shapes["d_ct.gcn1.weight"][0]}


def nearness(clips: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(T, T), or (B, T, T) with a mask: exp(-|i - j|) between real clips, divided by the roots of both degrees."""
    places = torch.arange(clips.shape[1], device=clips.device, dtype=clips.dtype)
    near = (-(places[:, None] - places).abs()).exp()
    if mask is not None:
        near = near * mask[:, :, None] * mask[:, None, :]
    root = near.sum(-1).clamp(min=1e-6).rsqrt()
    return near * root[..., :, None] * root[..., None, :]
