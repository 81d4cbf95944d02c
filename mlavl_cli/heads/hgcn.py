"""HGCN (Zhou et al., TCSVT 2023): clips to shots, shots to scenes, scenes to motion, by graphs of a fixed T."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.heads.base import HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.noise import draws
from mlavl_cli.heads.visual import VisualHead

SCENES = 7


@dataclass(frozen=True)
class HGCNDims(HeadDims):
    """T of its graphs: 68 on RG, 124 on Fis-V with the paper's windows, 48 on LOGO.

    `motion`: whether scenes have a graph, as in AQA-Benchmark; the authors' code leaves it out by default.
    """

    clips: int = 124
    motion: bool = True


@dataclass(frozen=True, kw_only=True)
class HGCNOutput(HeadOutput):
    """`mean` and `std` (B, SCENES) of what each scene adds; in training the score is drawn from them."""

    mean: torch.Tensor
    std: torch.Tensor


class _Adaptive(nn.Module):
    """Weights of a graph's edges, (B, n, n), each row summing to 1: learned, and by how alike its nodes are."""

    def __init__(self, inputs: int, width: int, nodes: int, initial: torch.Tensor):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))
        self.C = nn.Parameter(initial)
        self.conv_q, self.conv_k = (nn.Conv1d(inputs, width, 1, bias=False) for _ in range(2))

    def learned(self, x: torch.Tensor) -> torch.Tensor:
        """Nodes (B, inputs, n) -> (B, n, n)."""
        query, key = self.conv_q(x), self.conv_k(x)
        return self.alpha * (query.transpose(1, 2) @ key) / query.shape[1] ** 0.5


class _Band(_Adaptive):
    """Added to the edges between clips that are less than 3 apart."""

    def forward(self, x: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        logits = band(x.shape[-1], 3).to(x) + self.learned(x) + self.C
        if real is not None:
            logits = logits.masked_fill(~real[:, None], -torch.inf)
        return logits.softmax(-1)


class _Causal(_Adaptive):
    """Times the edges from later to earlier scenes. The others are zero before the softmax and so still count, as in
    the public code."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (torch.ones_like(self.C).tril() * (self.learned(x) + self.C)).softmax(-1)


class _Aggregation(nn.Module):
    def __init__(self, inputs: int, width: int, outputs: int, clips: int):
        super().__init__()
        self.adp_adj = _Band(inputs, width, clips, torch.eye(clips))
        self.shot_agg = nn.Sequential(nn.Conv1d(inputs, outputs, 1), nn.ReLU())

    def forward(self, x: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        return self.shot_agg(x @ self.adp_adj(x, real))


class _Assignment(_Aggregation):
    def __init__(self, inputs: int, width: int, clips: int):
        super().__init__(inputs, width, SCENES, clips)
        self.S = nn.Parameter(torch.ones(SCENES, clips))
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        return self.S + self.alpha * super().forward(x, real)


class _Shots(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.state_gen = nn.Sequential(nn.Conv1d(inputs, inputs // 4, 1), nn.ReLU())
        self.info_trans = nn.Sequential(nn.Conv1d(inputs, outputs, 1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, D, T) -> (B, outputs, T): each clip with its neighbours, by how its state differs from theirs.

        The weights are the mean over channels of tanh(s_i - s_j), plus 1 for i = j, between neighbours alone; so they
        are taken along the two diagonals, and no (B, D/4, T, T) is built.
        """
        state = self.state_gen(x)
        step = (state[..., :-1] - state[..., 1:]).tanh().mean(1, keepdim=True)  # of i to i + 1
        before, after = x[..., :-1] * step, -x[..., 1:] * step
        pad = nn.functional.pad
        return self.info_trans(x + pad(before, (1, 0)) + pad(after, (0, 1)))


class _Scenes(nn.Module):
    def __init__(self, inputs: int, outputs: int, width: int, clips: int):
        super().__init__()
        self.shot_gcn = _Aggregation(inputs, width, outputs, clips)
        self.trans_gcn = _Assignment(inputs, width, clips)

    def forward(self, x: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """(B, inputs, T) -> (B, outputs, SCENES)."""
        shots = self.shot_gcn(x, real)
        if real is not None:
            shots = shots * real[:, None]
        return shots @ self.trans_gcn(x, real).transpose(1, 2)


class _Motion(nn.Module):
    def __init__(self, inputs: int, outputs: int, graph: bool):
        super().__init__()
        self.adp_A = _Causal(inputs, inputs // 4, SCENES, torch.eye(SCENES)) if graph else None
        self.mot_agg = nn.Sequential(nn.Conv1d(inputs, outputs, 1), nn.ReLU())

    def forward(self, scenes: torch.Tensor) -> torch.Tensor:
        return self.mot_agg(scenes @ self.adp_A(scenes) if self.adp_A else scenes)


class HGCN(VisualHead):
    """Clip refinement, scene construction, motion aggregation; each scene adds a normal distribution to the score.

    Official: with noise, of which the score is the mean over `DRAWS` seeded draws; careful: without.
    """

    name = "hgcn"
    Dims = HGCNDims
    dims: HGCNDims

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        width = dims.width
        self.shot_gen = _Shots(self.inputs, 2 * width)
        self.scene_gen = _Scenes(2 * width, width, width // 2, dims.clips)
        self.mot_agg = _Motion(width, width // 2, self.dims.motion)
        self.fc2_mean, self.fc2_logvar = (nn.Conv1d(width // 2, 1, 1) for _ in range(2))

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> HGCNOutput:
        shots = self.shot_gen(clips.transpose(1, 2))
        if mask is not None:
            shots = shots * mask[:, None]
        motion = self.mot_agg(self.scene_gen(shots, mask))
        mean, std = self.fc2_mean(motion)[:, 0], (self.fc2_logvar(motion)[:, 0] / 2).exp()
        noise = torch.zeros_like(mean)
        if self.training:
            noise = torch.randn_like(mean)
        elif self.official:
            noise = torch.stack(list(draws(mean, 1, SCENES))).mean(0)
        return HGCNOutput(score=(mean + std * noise).sum(1) / self.dims.unit, mean=mean, std=std)

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        double, visual, _ = shapes["shot_gen.info_trans.0.weight"]
        motion = any(name.startswith("mot_agg.adp_A.") for name in shapes)
        clips = shapes["scene_gen.trans_gcn.S"][1]
        return {"visual_dim": visual, "width": double // 2, "clips": clips, "motion": motion}


def band(nodes: int, width: int) -> torch.Tensor:
    """(nodes, nodes), 1 where two are less than `width` apart."""
    places = torch.arange(nodes)
    return ((places[:, None] - places).abs() < width).float()
