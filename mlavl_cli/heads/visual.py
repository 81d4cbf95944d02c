"""What the visual methods of the paper's table 4 share: a projection, perhaps MAG2 behind it, then the method."""

from abc import abstractmethod

import torch

from mlavl_cli.heads.base import Head, HeadOutput, text_buffer
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import TokenProjection
from mlavl_cli.heads.mlavl.mag2 import MAG2


class VisualHead(Head):
    """Projection, MAG2 where `dims.mag2` says so, then the method of a subclass.

    Args:
        dims: its sizes.
        text_features: (P, D_t) prompts, of which MAG2 takes the visual actions, or (M, D_t) those alone.
    """

    text_features: torch.Tensor

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims)
        self.proj_visual = TokenProjection(dims.visual_dim, dims.width)
        if dims.mag2:
            self.proj_text = TokenProjection(dims.text_dim, dims.width)
            self.mag2 = MAG2(dims.width, dims.graph, dims.dropout)
            if text_features is not None and len(text_features) == dims.prompts:
                text_features = text_features[dims.prompt_rows["visual_actions"]]
            self.register_buffer("text_features", text_buffer(text_features, dims.actions, dims.text_dim))

    def forward(
        self, visual: torch.Tensor, audio: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> HeadOutput:
        return self.judge(self.clips(visual, mask), mask)

    def clips(self, visual: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, D_v) -> (B, T, d); padding is zeros."""
        tokens = self.proj_visual(visual, mask)
        if self.dims.mag2:
            tokens = self.mag2(tokens, self.proj_text(self.text_features[None])[0], mask)
        return tokens if mask is None else tokens * mask.unsqueeze(-1)

    @abstractmethod
    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> HeadOutput:
        """The method: clips (B, T, d) -> score."""


def mean_clip(clips: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(B, T, d), zeros where padded -> (B, d)."""
    return clips.mean(1) if mask is None else clips.sum(1) / mask.sum(1, keepdim=True)
