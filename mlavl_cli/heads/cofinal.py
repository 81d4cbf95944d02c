"""CoFInAl (Zhou et al., IJCAI 2024): GDLT for the coarse part of a score, a simplex frame for its decimals."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.base import Batch
from mlavl_cli.heads.dims import HeadDims, may_be_none
from mlavl_cli.heads.gdlt import GDLT, GDLTDims, LikertOutput, grade_triplets, likert
from mlavl_cli.heads.mlavl.losses import hardest_triplet

FINE = 100  # steps within a hundredth of the range
# What the grades are worth, and what they are worth to the branch that learns one minus the score, by the public code's
# number of the choice.
_WORTH = {2: ((0.1, 0.2, 0.8, 1.0), (1.0, 1.0, -1.0, -1.0)), 3: ((-1.0, -0.8, 0.8, 1.0), (1.0, 0.8, -0.8, -1.0))}


@dataclass(frozen=True)
class CoFInAlDims(GDLTDims):
    """The public code's choices by their numbers.

    `activate`: what grades are worth; 0 and 1: equal steps, from 0 and from the first step on. `align` 1: triplets by
    grade, 2: each pattern by itself.
    """

    activate: int = may_be_none(3)
    align: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activate > 3 or self.align > 2 or (self.activate in _WORTH and self.grades != 4):
            raise WeightsError("what CoFInAl's four grades are worth is chosen by 0 to 3, its triplets by 1 or 2")


@dataclass(frozen=True, kw_only=True)
class CoFInAlOutput(LikertOutput):
    """`coarse` and `reverse` (B,), of which the second learns one minus the first; `fine` (B, FINE), of length 1."""

    coarse: torch.Tensor
    reverse: torch.Tensor
    fine: torch.Tensor


class CoFInAl(GDLT):
    """Two Likert readouts of the same patterns, and a step within their hundredth: the nearest corner of a simplex."""

    name = "cofinal"
    Dims = CoFInAlDims
    dims: CoFInAlDims
    etf_vec1: torch.Tensor
    worth_reversed: torch.Tensor

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        width, grades = dims.width, dims.grades
        self.regressor_revert = nn.Linear(width, grades)
        self.regi = nn.ModuleList([nn.MultiheadAttention(width, 4)])
        self.regressori = nn.Sequential(
            nn.Sequential(nn.Flatten(1), nn.Linear(grades * width, width), nn.Linear(width, FINE))
        )
        first = self.dims.activate == 1
        steps = tuple((grade + first) / max(grades - 1 + first, 1) for grade in range(grades))
        worth, reverse = _WORTH.get(self.dims.activate, (steps, steps[::-1]))
        self.register_buffer("worth", torch.tensor(worth), persistent=False)
        self.register_buffer("worth_reversed", torch.tensor(reverse), persistent=False)
        self.register_buffer("etf_vec1", simplex_frame(FINE))

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> CoFInAlOutput:
        clips, patterns = self.patterns(clips, mask)
        p = likert(self.regressor, patterns)
        coarse, reverse = p @ self.worth, likert(self.regressor_revert, patterns) @ self.worth_reversed
        # The public code attends over the routines of a batch; over a routine's grades is what is meant.
        rows = patterns if self.official else patterns.transpose(0, 1)
        attended = self.regi[0](rows, rows, rows, need_weights=False)[0]
        fine = self.regressori(attended if self.official else attended.transpose(0, 1))
        fine = nn.functional.normalize(fine, dim=-1)
        step = (fine @ self.etf_vec1).argmax(-1)
        score = (coarse + 1 - reverse) / 2 + step / FINE**2
        return CoFInAlOutput(
            score=score, patterns=patterns, clips=clips, p=p, coarse=coarse, reverse=reverse, fine=fine
        )

    def loss(
        self, output: CoFInAlOutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        coarse, step = in_steps(batch.label)
        mse, patterns = nn.functional.mse_loss, output.patterns
        if self.dims.align == 1:
            triplet = grade_triplets(patterns)
        else:
            rows = patterns.flatten(0, 1)
            triplet = hardest_triplet(rows, torch.arange(len(rows), device=rows.device), margin=1.0)
        return {
            "coarse": mse(output.coarse, coarse),
            "reverse": mse(output.reverse, 1 - coarse),
            "fine": (output.fine - self.etf_vec1.T[step]).abs().mean(),
            "triplet": self.dims.alpha * triplet,
        }


def in_steps(label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (B,) in [0, 1] -> their hundredths, rounded down, and the step within one, 0 to 99."""
    steps = (label.double() * FINE**2 + 1e-3).floor().long().clamp(min=0)  # in 32 bits 0.57 is 5699.9999 steps
    return (steps // FINE).to(label.dtype) / FINE, steps % FINE


def simplex_frame(corners: int) -> torch.Tensor:
    """(corners, corners): columns of length 1, any two of which have the same cosine, -1 / (corners - 1).

    A random rotation of the centred unit vectors (equiangular tight frame); a checkpoint holds its own.
    """
    rotation = torch.linalg.qr(torch.rand(corners, corners))[0]
    centred = torch.eye(corners) - 1 / corners
    return rotation @ centred * (corners / (corners - 1)) ** 0.5
