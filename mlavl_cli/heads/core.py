"""CoRe (Yu et al., ICCV 2021): how much better than an exemplar, found by a tree of ever smaller differences."""

from typing import Any

import torch
from torch import nn

from mlavl_cli.heads.base import Batch
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.exemplars import HALF, GroupedHead, PairOutput
from mlavl_cli.heads.layers import mean_clip

_LEVELS = 4  # of splits into two: 16 leaves, one a group of differences


class CoRe(GroupedHead):
    """The mean clips of both and the exemplar's label go down a binary tree, whose leaves are the groups."""

    name = "core"

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        width, nodes = dims.width, [2**level for level in range(_LEVELS)]
        self.first_layer = nn.Sequential(nn.Linear(2 * self.inputs + 1, width), nn.ReLU())
        self.feature_layers = nn.ModuleList(
            nn.Sequential(nn.Conv1d(n * width, 2 * n * width, 1, groups=n), nn.ReLU()) for n in nodes
        )
        self.clf_layers = nn.ModuleList(nn.Conv1d(n * width, 2 * n, 1, groups=n) for n in nodes)
        self.reg_layer = nn.Conv1d(2 * HALF * width, 2 * HALF, 1, groups=2 * HALF)
        self.keep(self.inputs)

    def view(self, clips: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        return mean_clip(clips, mask)

    def compare(
        self, query: torch.Tensor, exemplar: torch.Tensor, label: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        nodes = self.first_layer(torch.cat([exemplar, query, label[:, None]], dim=-1))[..., None]
        log_p = nodes.new_zeros(len(query), 1)
        for split, grow in zip(self.clf_layers, self.feature_layers, strict=True):
            children = split(nodes).view(len(query), -1, 2).log_softmax(-1)
            log_p = (log_p[..., None] + children).flatten(1)
            nodes = grow(nodes)
        return log_p, self.reg_layer(nodes)[..., 0]

    def loss(
        self, output: PairOutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        return self.group_terms(output.views, batch.label, generator)

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        width, inputs = shapes["first_layer.0.weight"]
        return {"visual_dim": (inputs - 1) // 2, "width": width}
