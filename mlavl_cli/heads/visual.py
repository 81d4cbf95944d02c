"""What the visual methods share: MAG2 before or inside them, a fixed number of clips, and exemplars to compare with."""

from abc import abstractmethod
from typing import Literal

import torch
from torch import nn

from mlavl_cli.heads.base import Head, HeadOutput, text_buffer
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import TokenProjection, pointwise, token_layers
from mlavl_cli.heads.mlavl.mag2 import MAG2

_PLUG_WIDTH = 256


class Guide(nn.Module):
    """MAG2 in front of a method, or right behind its own projection (paper, table 4; where is this project's choice).

    Args:
        dims: of the head.
        width: of the clips that come in; MAG2's own, but for a projection.
        projected: whether a projection stands before MAG2.
        text_features: (M, D_t), the visual actions.
    """

    text_features: torch.Tensor

    def __init__(self, dims: HeadDims, width: int, projected: bool, text_features: torch.Tensor | None = None):
        super().__init__()
        self.proj_visual = TokenProjection(width, _PLUG_WIDTH) if projected else None
        self.width = _PLUG_WIDTH if projected else width
        self.proj_text = TokenProjection(dims.text_dim, self.width)
        self.mag2 = MAG2(self.width, dims.graph, dims.dropout)
        self.register_buffer("text_features", text_buffer(text_features, dims.actions, dims.text_dim))

    def forward(self, clips: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, D) -> (B, T, width)."""
        if self.proj_visual:
            clips = self.proj_visual(clips, mask)
        return self.mag2(clips, self.proj_text(self.text_features[None])[0], mask)


class VisualHead(Head):
    """MAG2 where `dims.mag2` says so, then the method of a subclass.

    Class attributes:
        projects: whether the method has a token projection of its own, behind which MAG2 stands.

    Attributes:
        inputs: how wide the clips are that `judge` gets.
    """

    prompt_kind: Literal["all", "actions", "none"] = "actions"
    projects = False

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims)
        self.inputs = dims.width if self.projects else dims.visual_dim
        if self.projects:
            self.in_proj = token_layers(dims.visual_dim, dims.width)
        if dims.mag2:
            projected = not self.projects and dims.plug == "project"
            self.guide = Guide(dims, self.inputs, projected, text_features)
            self.inputs = self.guide.width

    def forward(
        self, visual: torch.Tensor, audio: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> HeadOutput:
        mask = None if self.official else mask  # no public code masks its padding
        if self.dims.clips:
            visual, mask = central(visual, mask, self.dims.clips)
            mask = None if self.official else mask
        return self.judge(self.clips(visual, mask), mask)

    def clips(self, visual: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, D_v) -> (B, T, inputs); padding is zeros."""
        if self.projects:
            visual = pointwise(self.in_proj, visual, mask)
        if self.dims.mag2:
            visual = self.guide(visual, mask)
        return visual if mask is None else visual * mask.unsqueeze(-1)

    @abstractmethod
    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> HeadOutput:
        """The method: clips (B, T, inputs) -> score."""

    def prompts_read(self) -> list[torch.Tensor]:
        return [self.guide.text_features] if self.dims.mag2 else []


def central(visual: torch.Tensor, mask: torch.Tensor | None, clips: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The central window of so many clips of each routine, zeros behind shorter ones: (B, clips, D) and its mask."""
    if visual.shape[1] == clips:
        return visual, mask
    lengths = visual.new_full((len(visual),), visual.shape[1], dtype=torch.long) if mask is None else mask.sum(1)
    places = torch.arange(clips, device=visual.device) + ((lengths - clips).clamp(min=0) // 2).unsqueeze(1)
    real = places < lengths.unsqueeze(1)
    rows = places.clamp(max=visual.shape[1] - 1).unsqueeze(-1).expand(-1, -1, visual.shape[2])
    return visual.gather(1, rows) * real.unsqueeze(-1), None if real.all() else real
