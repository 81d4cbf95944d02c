"""CoRe (Yu et al., 2021), written from the paper's idea and not from its code."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.heads.base import Batch, HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.visual import VisualHead, mean_clip


@dataclass(frozen=True, kw_only=True)
class CoReOutput(HeadOutput):
    """`mean`: (B, d), the mean clip, which is compared."""

    mean: torch.Tensor


class CoRe(VisualHead):
    """How much better than an exemplar: first in which of 8 ranges the difference lies, then where in it.

    Trained on all pairs of a batch; in testing the mean over exemplars that `remember` was given.
    """

    name = "core"
    remembers = True
    GROUPS, EXEMPLARS = 8, 10

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.compare = nn.Sequential(
            nn.Linear(2 * dims.width + 1, dims.width), nn.ReLU(), nn.Dropout(dims.dropout),
            nn.Linear(dims.width, 2 * self.GROUPS),
        )  # fmt: skip
        self.register_buffer("exemplars", torch.zeros(self.EXEMPLARS, dims.width))
        self.register_buffer("exemplar_labels", torch.full((self.EXEMPLARS,), 0.5))

    @torch.no_grad()
    def remember(self, batch: Batch) -> None:
        """Keeps the first routines of a batch to compare with, again from the first where there are few."""
        was = self.training
        self.eval()
        rows = torch.arange(self.EXEMPLARS, device=batch.label.device) % len(batch.label)
        self.exemplars = mean_clip(self.clips(batch.visual, batch.mask), batch.mask)[rows]
        self.exemplar_labels = batch.label[rows]
        self.train(was)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> CoReOutput:
        mine = mean_clip(clips, mask)
        differences = self._difference(self._pairs(mine, self.exemplars, self.exemplar_labels))
        return CoReOutput(score=(self.exemplar_labels + differences).mean(1), mean=mine)

    def _pairs(self, mine: torch.Tensor, others: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, d), (E, d), (E,) -> what the comparison says of each pair, (B, E, 2 GROUPS)."""
        shape = (len(mine), len(others), -1)
        pair = [mine[:, None].expand(shape), others.expand(shape), labels[:, None].expand(len(mine), -1, 1)]
        return self.compare(torch.cat(pair, dim=-1))

    def _difference(self, said: torch.Tensor) -> torch.Tensor:
        """(..., 2 GROUPS) -> the expected difference in [-1, 1]."""
        group, within = said.chunk(2, dim=-1)
        starts = torch.linspace(-1, 1, self.GROUPS + 1, device=said.device)[:-1]
        return (group.softmax(-1) * (starts + within.sigmoid() * 2 / self.GROUPS)).sum(-1)

    def loss(
        self, output: CoReOutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        label = batch.label
        said = self._pairs(output.mean, output.mean, label)  # (B, B, 2 GROUPS)
        difference = label[:, None] - label
        group = ((difference + 1) / 2 * self.GROUPS).long().clamp(0, self.GROUPS - 1)
        return {
            "group": nn.functional.cross_entropy(said[..., : self.GROUPS].flatten(0, 1), group.flatten()),
            "difference": 10 * nn.functional.mse_loss(self._difference(said), difference),
        }
