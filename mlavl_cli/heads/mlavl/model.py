"""MLAVL: the paper's figure 2, from left to right."""

from dataclasses import dataclass

import torch
from torch import nn

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import InOrder, TokenProjection
from mlavl_cli.heads.mlavl.avcf import AVCF
from mlavl_cli.heads.mlavl.dpg import DPG, MeanGrading
from mlavl_cli.heads.mlavl.length import Length
from mlavl_cli.heads.mlavl.mag2 import MAG2
from mlavl_cli.heads.mlavl.s2ce import S2CE


@dataclass(frozen=True)
class HeadOutput:
    """What a head says about B routines. Audio-visual parts are None without sound, grades without DPG.

    Attributes:
        score, score_v, score_av: (B,) normalised; both branches and what they come to.
        p_v, p_av: (B, N) and (B, 2N) grades, each row summing to 1.
        patterns_v, patterns_av: (B, N, d) and (B, 2N, d), for the losses.
        visual, fused: (B, T, d) what the branches looked at.
        text: the prompts as tokens by group, (rows, d).
    """

    score: torch.Tensor
    score_v: torch.Tensor
    score_av: torch.Tensor | None
    p_v: torch.Tensor | None
    p_av: torch.Tensor | None
    patterns_v: torch.Tensor | None
    patterns_av: torch.Tensor | None
    visual: torch.Tensor
    fused: torch.Tensor | None
    text: dict[str, torch.Tensor]


class MLAVL(nn.Module):
    """The head of one target (TES, PCS, ...).

    Args:
        dims: its sizes, and which boxes of the figure it has (table 5).
        text_features: (P, D_t), the prompts as the text tower encodes them; None leaves them to a state dict.

    Raises:
        WeightsError: text features of another shape.
    """

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__()
        self.dims = dims
        self.proj_visual = TokenProjection(dims.visual_dim, dims.width)
        if dims.order:
            self.in_order = InOrder(dims)
        if dims.hears:
            self.proj_audio = TokenProjection(dims.audio_dim, dims.width)
        if dims.language:
            self.proj_text = TokenProjection(dims.text_dim, dims.width)
            self.register_buffer("text_features", _checked(text_features, (dims.prompts, dims.text_dim)))
        else:
            rows = {name: rows.stop - rows.start for name, rows in dims.prompt_rows.items() if "grades" in name}
            self.learned = nn.ParameterDict({name: torch.randn(n, dims.width) for name, n in rows.items()})
        if dims.s2ce:
            self.s2ce = S2CE(dims)
        if dims.mag2:
            self.mag2_visual = MAG2(dims.width, dims.graph, dims.dropout)
            if dims.hears:
                self.mag2_audio = MAG2(dims.width, dims.graph, dims.dropout)
        if dims.avcf and dims.hears:
            self.avcf = AVCF(dims)
        if dims.length:
            self.length = Length(dims.width)
        self.dpg = DPG(dims) if dims.dpg else MeanGrading(dims)

    def forward(
        self, visual: torch.Tensor, audio: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> HeadOutput:
        """Visual (B, T, D_v) and audio (B, T, D_a) features -> HeadOutput; without audio by the visual branch."""
        text = self.prompts()
        visual = self.encode_visual(visual, text, mask)
        fused = None
        if audio is not None and self.dims.hears:
            fused = self.fuse(visual, self.encode_audio(audio, text, mask), mask)
        return self.grade(visual, fused, text, mask)

    def prompts(self) -> dict[str, torch.Tensor]:
        """The prompts as tokens (rows, d), by group; without language the learned grade queries."""
        if not self.dims.language:
            return dict(self.learned.items())
        tokens = self.proj_text(self.text_features[None])[0]
        return {group: tokens[rows] for group, rows in self.dims.prompt_rows.items()}

    def encode_visual(
        self, features: torch.Tensor, text: dict[str, torch.Tensor], mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, T, D_v) -> visual clips (B, T, d), in their context and guided by the visual actions."""
        tokens = self.proj_visual(features, mask)
        if self.dims.order:
            tokens = self.in_order(tokens, mask)
        if self.dims.s2ce:
            tokens = self.s2ce(tokens, mask)
        return self.mag2_visual(tokens, text["visual_actions"], mask) if self.dims.mag2 else tokens

    def encode_audio(
        self, features: torch.Tensor, text: dict[str, torch.Tensor], mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, T, D_a) -> audio clips (B, T, d), in their context and guided by the audio actions."""
        tokens = self.proj_audio(features, mask)
        if self.dims.s2ce:
            tokens = self.s2ce(tokens, mask)
        return self.mag2_audio(tokens, text["audio_actions"], mask) if self.dims.mag2 else tokens

    def fuse(self, visual: torch.Tensor, audio: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Visual and audio clips (B, T, d) -> fused clips (B, T, d); without AVCF their mean."""
        return self.avcf(visual, audio, mask) if self.dims.avcf else (visual + audio) / 2

    def grade(
        self,
        visual: torch.Tensor,
        fused: torch.Tensor | None,
        text: dict[str, torch.Tensor],
        mask: torch.Tensor | None = None,
    ) -> HeadOutput:
        """Clips of both branches -> their grades and the score."""
        patterns_v, p_v, score_v = self.dpg.branch("v", self.asked(text["v_grades"], visual, mask), visual, mask)
        patterns_av = p_av = score_av = None
        if fused is not None:
            asked = self.asked(text["av_grades"], fused, mask)
            patterns_av, p_av, score_av = self.dpg.branch("av", asked, fused, mask)
        score = self.dpg.combine(score_av, score_v)
        return HeadOutput(score, score_v, score_av, p_v, p_av, patterns_v, patterns_av, visual, fused, text)

    def asked(self, grades: torch.Tensor, clips: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Grade prompts (grades, d) as these clips (B, T, d) are asked about them: the same, or (B, grades, d) by T."""
        if not self.dims.length:
            return grades
        counts = clips.new_full((len(clips),), clips.shape[1]) if mask is None else mask.sum(1)
        return self.length(grades, counts)


def _checked(text_features: torch.Tensor | None, shape: tuple[int, int]) -> torch.Tensor:
    if text_features is None:
        return torch.zeros(shape)
    if tuple(text_features.shape) != shape:
        raise WeightsError(f"text features have shape {tuple(text_features.shape)}; this head needs {shape}")
    return text_features.float()
