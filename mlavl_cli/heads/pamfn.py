"""PAMFN (Zeng & Zheng, TIP 2024): a branch for each modality, and a fusion of them stage by stage."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from mlavl_cli.errors import DataError, FeatureError, WeightsError
from mlavl_cli.heads.base import Batch, HeadOutput
from mlavl_cli.heads.layers import pointwise
from mlavl_cli.heads.multimodal import MultimodalDims, MultimodalHead
from mlavl_cli.heads.noise import draws
from mlavl_cli.heads.pamfn_branch import STAGES, Branch, Level, at_least, convs

_MOST_CANDIDATES = 32


@dataclass(frozen=True)
class PAMFNDims(MultimodalDims):
    """`candidates`: K mixtures of each stage, 6 on Fis-V and 10 on RG; `reduction`: of the readout's width."""

    candidates: int = 6
    reduction: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates > _MOST_CANDIDATES:
            raise WeightsError(f"{self.candidates} mixtures, more than {_MOST_CANDIDATES}, are no size of PAMFN")


@dataclass(frozen=True, kw_only=True)
class PAMFNOutput(HeadOutput):
    """`branches`: each modality's own score, (modalities, B)."""

    branches: torch.Tensor


_FEATURE_DROPOUT = 0.5  # of what the fusion reads of the branches
_STEEPEST = 20.0  # by which one that isn't allowed may exceed the allowed ones, for the gradient


class _Least(nn.Module):
    """Attention, at each step by itself, to what is least like the query."""

    def __init__(self, width: int):
        super().__init__()
        self.linear_layers = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.dropout = nn.Dropout(0.1)

    def forward(self, query: torch.Tensor, items: torch.Tensor, allowed: torch.Tensor | None = None) -> torch.Tensor:
        """Query (B, T', d), items (n, B, T', d), of which (n, B, T') are allowed -> (B, T', d)."""
        q, k, v = (linear(x) for linear, x in zip(self.linear_layers, (query, items, items), strict=True))
        logits = -(q * k).sum(-1) / q.shape[-1] ** 0.5  # (n, B, T')
        if allowed is None:
            weights = logits.softmax(0)
        else:  # as a softmax over the allowed ones, but with a gradient to what is allowed
            highest = logits.masked_fill(allowed < 0.5, -torch.inf).amax(0).detach()
            shares = (logits - highest).clamp(max=_STEEPEST).exp() * allowed
            weights = shares / shares.sum(0)
        return (self.dropout(weights).unsqueeze(-1) * v).sum(0)


class _Modalities(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fusion_s = _Least(width)
        self.proj = nn.Sequential(nn.Conv1d(width, width, 1))


class _Candidates(nn.Module):
    def __init__(self, dims: PAMFNDims, modalities: int):
        super().__init__()
        width, count = dims.width, dims.candidates
        self.proj1 = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width, width, 1), nn.BatchNorm1d(width), nn.ReLU(), nn.Conv1d(width, count, 1))
            for _ in range(modalities)
        )
        self.ffn = nn.ModuleList(convs(width, width, width, 3) for _ in range(count))
        self.fusion_f = _Least(width)
        self.proj2 = nn.Sequential(nn.Conv1d(2 * width, width, 1))
        self.policy = nn.Sequential(nn.Conv1d(modalities * width, count, 1))

    def mixed(self, streams: list[Level], last: bool) -> torch.Tensor:
        """K mixtures of the modalities, coarser in time by one level: (K, B, T', d)."""
        mask = streams[0].mask
        weights = torch.stack([pointwise(m, s.x, mask) for m, s in zip(self.proj1, streams, strict=True)]).softmax(0)
        values = torch.stack([one.x for one in streams])
        found = []
        for number, feed in enumerate(self.ffn):
            mixture = Level((weights[..., number : number + 1] * values).sum(0), mask)
            mixture = mixture.plus(mixture.through(feed))
            found.append((mixture.whole() if last else mixture.halved()).x)
        return torch.stack(found)

    def chances(self, streams: list[Level], last: bool) -> torch.Tensor:
        """(B, T', K) logits of which candidate is the last one that is used, coarser in time by one level."""
        mask = streams[0].mask
        joined = pointwise(self.policy, torch.cat([one.x for one in streams], dim=-1), mask)
        return (Level(joined, mask).whole() if last else Level(joined, mask).halved()).x


class _Stage(nn.Module):
    def __init__(self, dims: PAMFNDims, modalities: int):
        super().__init__()
        width = dims.width
        self.conv = convs(3 * width, width, width, 3)
        self.short_cut = nn.Sequential(nn.Conv1d(3 * width, width, 1), nn.BatchNorm1d(width), nn.ReLU())
        self.s_fusion, self.f_fusion = _Modalities(width), _Candidates(dims, modalities)

    def forward(self, c: Level, fine: list[Level], coarse: list[Level], allowed: torch.Tensor, last: bool) -> Level:
        c = c.through(self.conv).plus(c.through(self.short_cut))
        items = torch.stack([one.x for one in coarse])
        s = self.s_fusion.fusion_s(pointwise(self.s_fusion.proj, c.x, None), items)
        query = -pointwise(self.f_fusion.proj2, torch.cat([c.x, s], dim=-1), None)
        cross = self.f_fusion.fusion_f(query, self.f_fusion.mixed(fine, last), allowed)
        joined = torch.cat([c.x, s, cross], dim=-1)
        return Level(joined if c.mask is None else joined * c.mask.unsqueeze(-1), c.mask)


class PAMFN(MultimodalHead):
    """Branches r (pictures), f (optical flow) and a (sound), three stages of fusion, and a sigmoid.

    Without flow features it is another model, of two branches ("PAMFN-AV"). The branches learn from scores of their
    own at the same time as the fusion, which reads them without changing them; the public code trains them before.
    Official: a policy's choice has noise, and the score is the mean over `DRAWS` seeded draws; the fusion changes the
    audio branch.
    """

    name = "pamfn"
    Dims = PAMFNDims
    dims: PAMFNDims
    letters: ClassVar = {"r": "visual", "f": "flow", "a": "audio"}
    c: torch.Tensor

    def __init__(self, dims: PAMFNDims, text_features: torch.Tensor | None = None):
        super().__init__(dims)
        for letter, width in self.widths.items():
            setattr(self, f"model_{letter}", Branch(width, dims))
        self.register_buffer("c", torch.zeros(3 * dims.width))
        self.tau = nn.Parameter(torch.tensor([10.0]))
        for number in range(1, STAGES + 1):
            setattr(self, f"stage{number}", _Stage(dims, len(self.modalities)))
        self.drop = nn.Dropout(_FEATURE_DROPOUT)
        narrow = dims.width // dims.reduction
        self.fc = nn.Sequential(
            nn.Dropout(0.0), nn.Conv1d(3 * dims.width, narrow, 1), nn.BatchNorm1d(narrow), nn.ReLU(), nn.Dropout(0.5),
            nn.Conv1d(narrow, 1, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(
        self,
        visual: torch.Tensor,
        audio: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        flow: torch.Tensor | None = None,
    ) -> PAMFNOutput:
        """Visual (B, T, D_v), audio (B, T, D_a), flow (B, T, D_f) -> PAMFNOutput.

        Raises:
            FeatureError: a modality that the head was built with is missing.
            DataError: a training batch of a single routine.
        """
        if self.training and len(visual) < 2:
            raise DataError("the pamfn head learns from batches of two routines and more", hint="Raise --batch-size.")
        mask = None if self.official else mask
        streams = self.streams(visual, audio, flow)
        if missing := [letter for letter in self.modalities if letter not in streams]:
            what = {"f": "optical flow", "a": "sound"}[missing[0]]
            raise FeatureError(f"no {what}: the pamfn head can't do without", hint="Try mcmoe.")
        levels, scores = [], []
        for letter, rows in streams.items():
            features, real = at_least(rows, mask)
            branch, score = getattr(self, f"model_{letter}")(features, real)
            if letter != "a" or not self.official:
                branch = [Level(level.x.detach(), level.mask) for level in branch]
            levels.append([Level(self.drop(level.x), level.mask) for level in branch])
            scores.append(score)
        shape = (STAGES, 1, max(visual.shape[1], STAGES), self.dims.candidates)
        if self.training:
            noise = torch.randn(shape[0], len(visual), *shape[2:], device=visual.device)
            score = self.fused(levels, _gumbel(noise))
        elif self.official:
            score = torch.stack([self.fused(levels, _gumbel(noise)) for noise in draws(visual, *shape)]).mean(0)
        else:
            score = self.fused(levels, visual.new_zeros(shape))
        return PAMFNOutput(score=score, branches=torch.stack(scores))

    def fused(self, levels: list[list[Level]], noise: torch.Tensor) -> torch.Tensor:
        """Levels of each branch, noise of the policies (stages, B or 1, T, K), its first steps -> score (B,)."""
        shape, mask = levels[0][1].x.shape, levels[0][1].mask
        c = Level(self.c.expand(*shape[:2], -1), mask)
        for number in range(1, STAGES + 1):
            stage = getattr(self, f"stage{number}")
            fine, coarse = ([branch[at] for branch in levels] for at in (number - 1, number))
            last = number == STAGES
            chances = stage.f_fusion.chances(fine, last)
            allowed = used(chances, noise[number - 1, :, : chances.shape[1]], self.tau).permute(2, 0, 1)
            c = stage(c, fine, coarse, allowed, last)
            if number < STAGES:
                c = c.halved() if number == 1 else c.whole()
        return self.fc(c.x.transpose(1, 2))[:, 0, 0]

    def loss(
        self, output: PAMFNOutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        mse = nn.functional.mse_loss
        own = [mse(score, batch.label) for score in output.branches]
        return {"mse": mse(output.score, batch.label), "branches": torch.stack(own).sum()}

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        def inputs(letter: str) -> int:
            return shapes.get(f"model_{letter}.embedding.0.weight", (0, 0))[1]

        width = shapes["c"][0] // 3
        return {
            "visual_dim": inputs("r"), "flow_dim": inputs("f"), "audio_dim": inputs("a"), "width": width,
            "candidates": shapes["stage1.f_fusion.policy.0.weight"][0], "reduction": width // shapes["fc.1.weight"][0],
        }  # fmt: skip


def used(logits: torch.Tensor, noise: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
    """(B, T', K): 1 for candidates up to the chosen one, with the gradient of a soft choice (straight-through)."""
    soft = ((logits + noise) / tau).softmax(-1)
    hard = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
    upto = [choice.flip(-1).cumsum(-1).flip(-1) for choice in (hard, soft)]
    return upto[0] + (upto[1] - upto[1].detach())


def _gumbel(normal: torch.Tensor) -> torch.Tensor:
    return -(-torch.special.ndtr(normal).clamp(1e-7, 1 - 1e-7).log()).log()
