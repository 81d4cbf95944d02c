"""GDLT (Xu et al., CVPR 2022): grade prototypes ask the clips, and their answers are read as a Likert scale."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.heads.base import Batch, ClipReading, HeadOutput
from mlavl_cli.heads.dims import MOST_CLIPS, HeadDims
from mlavl_cli.heads.layers import looked_at, padding, transformer_decoder, transformer_encoder
from mlavl_cli.heads.mlavl.losses import hardest_triplet
from mlavl_cli.heads.visual import VisualHead


@dataclass(frozen=True)
class GDLTDims(HeadDims):
    """The public code's: one head of attention, four grades; `grading_layers` are the decoder's."""

    heads: int = 1
    grades: int = 4
    grading_layers: int = 2
    alpha: float = 1.0  # weight of the triplets


@dataclass(frozen=True, kw_only=True)
class LikertOutput(HeadOutput):
    """`patterns` (B, N, d), what each grade found in the `clips` (B, T, d); `p` (B, N), summing to 1."""

    patterns: torch.Tensor
    clips: torch.Tensor
    p: torch.Tensor


class GDLT(VisualHead):
    """Projection, encoder, a decoder whose queries are the grades, and grades worth 0 to 1 in equal steps."""

    name = "gdlt"
    longest = MOST_CLIPS
    Dims = GDLTDims
    projects = True
    dims: GDLTDims
    worth: torch.Tensor

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.transformer = nn.ModuleDict({
            "encoder": transformer_encoder(dims, dims.encoder_layers),
            "decoder": transformer_decoder(dims, dims.grading_layers),
        })  # fmt: skip
        self.prototype = nn.Embedding(dims.grades, dims.width)
        self.regressor = nn.Linear(dims.width, dims.grades)
        self.register_buffer("worth", torch.linspace(0, 1, dims.grades), persistent=False)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> LikertOutput:
        clips, patterns = self.patterns(clips, mask)
        p = likert(self.regressor, patterns)
        return LikertOutput(score=p @ self.worth, patterns=patterns, clips=clips, p=p)

    def patterns(self, clips: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, d) -> clips in their context (B, T, d), and what the grades found in them (B, N, d)."""
        hidden = padding(mask)
        clips = self.transformer["encoder"](clips, src_key_padding_mask=hidden)
        queries = self.prototype.weight.expand(len(clips), -1, -1)
        return clips, self.transformer["decoder"](queries, clips, memory_key_padding_mask=hidden)

    def loss(
        self, output: Any, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The squared error, and hardest triplets of the patterns by their grades."""
        return {
            "mse": nn.functional.mse_loss(output.score, batch.label),
            "triplet": self.dims.alpha * grade_triplets(output.patterns),
        }

    def per_clip(self, output: LikertOutput, mask: torch.Tensor | None = None) -> ClipReading:
        """What the grades look at in the decoder's last layer, weighted by p."""
        mask = None if self.official else mask
        decoder = self.transformer["decoder"]
        return ClipReading(None, None, looked_at(decoder.layers, self.prototype.weight, output.clips, output.p, mask))

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        def depth(part: str) -> int:
            return len({name.split(".")[3] for name in shapes if name.startswith(f"transformer.{part}.layers.")})

        grades, width = shapes["prototype.weight"]
        return {
            "visual_dim": shapes["in_proj.0.weight"][1], "width": width, "grades": grades,
            "encoder_layers": depth("encoder"), "grading_layers": depth("decoder"),
        }  # fmt: skip


def likert(rows: nn.Linear, patterns: torch.Tensor) -> torch.Tensor:
    """Patterns (B, N, d) -> p (B, N), which sums to 1: of each grade the sigmoid of its own row of a linear map."""
    p = ((patterns * rows.weight).sum(-1) + rows.bias).sigmoid()
    return p / p.sum(-1, keepdim=True)


def grade_triplets(patterns: torch.Tensor, margin: float = 1.0) -> torch.Tensor:
    """Hardest triplets over all patterns (B, N, d), where the same grade of other routines is alike."""
    grades = torch.arange(patterns.shape[1], device=patterns.device).repeat(len(patterns))
    return hardest_triplet(patterns.flatten(0, 1), grades, margin)
