"""DPG, Dual-branch Prompt-guided Grading (paper, eq. 13-15), and what table 5 has in its place."""

from typing import Literal, NamedTuple

import torch
from torch import nn

from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import looked_at, mean_clip, padding, transformer_decoder

BranchName = Literal["v", "av"]


class Branch(NamedTuple):
    """One branch's word on B routines: patterns (B, grades, d) and p (B, grades), None without DPG; score (B,)."""

    patterns: torch.Tensor | None
    p: torch.Tensor | None
    score: torch.Tensor


class GradeRegressor(nn.Module):
    """Patterns -> a distribution over grades and the score it stands for (eq. 14).

    Grade n's logit is row n of a linear map applied to pattern n alone; grades are worth 0 to 1 in equal steps.
    """

    def __init__(self, dims: HeadDims, grades: int):
        super().__init__()
        hidden = nn.Sequential(nn.Linear(dims.width, dims.width), nn.ReLU(), nn.Dropout(dims.dropout))
        self.hidden = hidden if dims.regressor == "mlp" else nn.Identity()
        self.rows = nn.Linear(dims.width, grades)
        self.register_buffer("worth", torch.linspace(0, 1, grades), persistent=False)

    def forward(self, patterns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Patterns (B, grades, d) -> p (B, grades), which sums to 1, and score (B,) in [0, 1]."""
        logits = (self.hidden(patterns) * self.rows.weight).sum(-1) + self.rows.bias
        p = logits.sigmoid()
        p = p / p.sum(-1, keepdim=True)
        return p, p @ self.worth


class _TwoBranches(nn.Module):
    """What both ways of grading share: how the branches' scores come together."""

    def __init__(self, dims: HeadDims):
        super().__init__()
        if dims.has_audio:
            self.w = nn.Parameter(torch.tensor([0.5]))  # of the audio-visual score; the paper's alpha is 1 - w

    def combine(self, score_av: torch.Tensor | None, score_v: torch.Tensor) -> torch.Tensor:
        """Both branches' scores (B,) -> the score (B,) (eq. 15); without sound the visual one alone."""
        return score_v if score_av is None else self.w * score_av + (1 - self.w) * score_v


class DPG(_TwoBranches):
    """The PGT (prompt-guided transformer) asks the clips about each grade; both branches share it.

    The audio-visual branch has 2N grades (each without, then with fitting music) and looks at fused clips, the visual
    branch has N and looks at visual clips.
    """

    def __init__(self, dims: HeadDims):
        super().__init__(dims)
        self.pgt = transformer_decoder(dims, dims.grading_layers)
        self.regressor_v = GradeRegressor(dims, dims.grades)
        if dims.has_audio:
            self.regressor_av = GradeRegressor(dims, 2 * dims.grades)

    def branch(
        self, name: BranchName, queries: torch.Tensor, clips: torch.Tensor, mask: torch.Tensor | None = None
    ) -> Branch:
        """Grade prompts (grades, d), or (B, grades, d), and the branch's clips (B, T, d) -> its grades and score."""
        patterns = self.patterns(queries, clips, mask)
        return Branch(patterns, *getattr(self, f"regressor_{name}")(patterns))

    def patterns(self, queries: torch.Tensor, clips: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Grade prompts (grades, d) and clips (B, T, d) -> grade patterns (B, grades, d) (eq. 13)."""
        queries = queries.expand(len(clips), -1, -1)
        return self.pgt(queries, clips, memory_key_padding_mask=padding(mask))

    def attention(
        self, queries: torch.Tensor, clips: torch.Tensor, p: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """How much each clip was looked at, (B, T), summing to 1: the PGT's last layer, its grades weighted by p."""
        return looked_at(self.pgt.layers, queries, clips, p, mask)


class MeanGrading(_TwoBranches):
    """Table 5's row without DPG: the mean clip, one linear map, no grades."""

    def __init__(self, dims: HeadDims):
        super().__init__(dims)
        self.regressor_v = nn.Linear(dims.width, 1)
        if dims.has_audio:
            self.regressor_av = nn.Linear(dims.width, 1)

    def branch(
        self, name: BranchName, queries: torch.Tensor, clips: torch.Tensor, mask: torch.Tensor | None = None
    ) -> Branch:
        """The branch's clips (B, T, d) -> its score; the queries are not asked."""
        mean = mean_clip(clips, mask)
        return Branch(None, None, getattr(self, f"regressor_{name}")(mean).sigmoid().squeeze(-1))
