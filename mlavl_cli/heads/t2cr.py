"""T2CR (Ke et al., Information Sciences 2024): a dense and a sparse view of a routine, contrasted and compared."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.base import Batch
from mlavl_cli.heads.dims import HeadDims, may_be_none
from mlavl_cli.heads.exemplars import PairHead, PairOutput, partners
from mlavl_cli.heads.soft_dtw import soft_dtw
from mlavl_cli.heads.t2cr_layers import HEADS, Decoder, Regressor, Views

_TEMPERATURE = 0.1  # of the contrast between both views
_POINTS = 45.0  # of Fis-V's TES: the public code weighs squared errors in points against what is said of the views


@dataclass(frozen=True)
class T2CRDims(HeadDims):
    """T dense clips, every second of which is sparse; `sparse`: another number of them, evenly spread."""

    clips: int = 68
    sparse: int = may_be_none()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clips < 2 or not 0 <= self.sparse <= self.clips or self.width % (4 * HEADS):
            raise WeightsError(f"T2CR needs 2 clips, and a width that divides by {4 * HEADS}")

    @property
    def picked(self) -> torch.Tensor:
        """Which clips are the sparse view's."""
        if not self.sparse:
            return torch.arange(self.clips // 2) * 2
        return torch.linspace(0, self.clips - 1, self.sparse).round().long()


@dataclass(frozen=True, kw_only=True)
class T2CROutput(PairOutput):
    """`views` (B, 2 T, width): the dense tokens, then the sparse ones; `auxiliary` (B, 2) scores of both."""

    auxiliary: torch.Tensor


class T2CR(PairHead):
    """Difference to an exemplar by both views, and a score of its own from the dense one; their mean counts."""

    name = "t2cr"
    Dims = T2CRDims
    dims: T2CRDims

    def __init__(self, dims: T2CRDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        width = dims.width // 4
        self.taa = Views(self.inputs, dims.width, dims.clips, len(dims.picked))
        self.decoder, self.regressor = Decoder(width, dims.clips), Regressor(width)
        self.keep(2 * dims.clips, width)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> T2CROutput:
        mine = self.view(clips, mask)
        own = self.regressor(mine[:, : self.dims.clips]) / self.dims.unit
        views = mine.unflatten(1, (2, -1))
        auxiliary = self.taa.fc_score(views).mean(2).squeeze(-1) / self.dims.unit
        return T2CROutput(score=(self.against_exemplars(mine) + own) / 2, views=mine, auxiliary=auxiliary)

    def view(self, clips: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        views = [self.taa(x) for x in (clips, self.taa.inconv(clips[:, self.dims.picked]))]
        if mask is not None:
            views = [tokens * mask.unsqueeze(-1) for tokens in views]
        return torch.cat(views, dim=1)

    def difference(self, query: torch.Tensor, exemplar: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return self.regressor(self.decoder(query, exemplar)) / self.dims.unit

    def loss(
        self, output: T2CROutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """What is said of pairs in both orders and of each view, and that both views of a routine are alike.

        Official: routines of a pair are alike too (soft-DTW), whatever their scores; careful: they needn't be.
        """
        mse, label, clips = nn.functional.mse_loss, batch.label, self.dims.clips
        mine, other = output.views, partners(len(label), generator).to(label.device)
        dense, sparse = mine[:, :clips], mine[:, clips:]
        both = [self.difference(mine, mine[other], label), self.difference(mine[other], mine, label)]
        gap = label - label[other]
        own = [self.regressor(view) / self.dims.unit for view in (dense, sparse)]
        points = max(self.dims.unit, _POINTS) ** 2
        # What is said of one routine counts twice, for a pair has two.
        terms = {
            "difference": mse(both[0], gap) + mse(both[1], -gap),
            "own": 2 * (mse(own[0], label) + mse(own[1], label)),
            "auxiliary": 4 * mse(output.auxiliary, label[:, None].expand(-1, 2)),
            "views": 2 * (mse(dense, sparse) + views_contrast(dense.mean(1), sparse.mean(1))) / points,
            "self": 2 * 10 * (self.regressor(self.decoder(dense, sparse)) / self.dims.unit).square().mean(),
        }
        if self.official:
            alike = soft_dtw(dense, dense[other]).mean() + soft_dtw(sparse, sparse[other]).mean()
            terms["alike"] = alike / points
        return terms

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        width, visual = shapes["taa.fc1.weight"]
        clips, sparse, _ = shapes["taa.inconv.conv.0.weight"]
        return {"visual_dim": visual, "width": width, "clips": clips, "sparse": 0 if sparse == clips // 2 else sparse}


def views_contrast(dense: torch.Tensor, sparse: torch.Tensor) -> torch.Tensor:
    """Mean tokens of both views, (B, d): how well each dense view finds the sparse one of its routine (InfoNCE)."""
    one, other = (nn.functional.normalize(view, dim=-1) for view in (dense, sparse))
    return nn.functional.cross_entropy(one @ other.T / _TEMPERATURE, torch.arange(len(one), device=one.device))
