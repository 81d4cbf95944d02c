"""MAG2, Multidimensional Action Graph Guidance (paper, eq. 8-9), in closed form.

T clip nodes and M action nodes; clips are joined with all clips, actions with all actions, and every action points to
every clip; no node to itself. On such complete graphs the mean over a node's neighbours is a difference of sums, so no
edge list is needed and the cost is linear in T + M.
"""

import math

import torch
from torch import nn

from mlavl_cli.heads.dims import Graph

Nodes = tuple[torch.Tensor, torch.Tensor]  # clips (B, T, d), actions (B, M, d), or (1, M, d) where all are alike


class SageLayer(nn.Module):
    """GraphSAGE with mean aggregation, as the official code has it: lin_l(mean of neighbours) + lin_r(itself)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.lin_l = nn.Linear(inputs, outputs)
        self.lin_r = nn.Linear(inputs, outputs, bias=False)

    def forward(self, clips: torch.Tensor, actions: torch.Tensor, real: torch.Tensor) -> Nodes:
        others, count = _other_clips(clips, real)  # (B, T, inputs), (B, 1, 1)
        neighbours = (others + actions.sum(1, keepdim=True)) / (count + actions.shape[1])
        return (
            self.lin_l(neighbours) + self.lin_r(clips),
            self.lin_l(_other_actions(actions)) + self.lin_r(actions),
        )


class GcnLayer(nn.Module):
    """The paper's eq. 9: one weight for the neighbours in a node's own graph, one for those in the other graph.

    Each term is a mean, which is what the degree normalisation comes to on a complete graph. As the equation has no
    self loops, a clip's own token reaches its output only by being missing from the mean.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.within = nn.Linear(inputs, outputs)
        self.cross = nn.Linear(inputs, outputs, bias=False)

    def forward(self, clips: torch.Tensor, actions: torch.Tensor, real: torch.Tensor) -> Nodes:
        others, count = _other_clips(clips, real)
        return (
            self.within(others / count.clamp(min=1)) + self.cross(actions.mean(1, keepdim=True)),
            self.within(_other_actions(actions)),
        )


class EvenLayer(nn.Module):
    """GraphSAGE whose clips weigh the same against the actions in a routine of any length.

    In the official layer a clip's neighbours are T - 1 clips and M actions under one mean, so that the share of the
    clips grows with T: with M = 42 from 7 % at T = 4 to 77 % at T = 138, and every reading with it. Here each has a
    mean of its own, and their shares are learned, from those of the official layer at T = 24 and M = 42. This project's
    own; for heads that see whole routines.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.lin_l = nn.Linear(inputs, outputs)
        self.lin_r = nn.Linear(inputs, outputs, bias=False)
        self.clips_against_actions = nn.Parameter(torch.tensor([math.log(23 / 42)]))  # log-odds of the shares

    def forward(self, clips: torch.Tensor, actions: torch.Tensor, real: torch.Tensor) -> Nodes:
        others, count = _other_clips(clips, real)
        share = self.clips_against_actions.sigmoid()
        neighbours = share * others / count.clamp(min=1) + (1 - share) * actions.mean(1, keepdim=True)
        return (
            self.lin_l(neighbours) + self.lin_r(clips),
            self.lin_l(_other_actions(actions)) + self.lin_r(actions),
        )


_LAYERS = {"sage": SageLayer, "gcn": GcnLayer, "even": EvenLayer}


class MAG2(nn.Module):
    """Two graph layers d -> d/2 -> d that let clips gather from each other and from the actions.

    Plugs into any model with clip tokens (paper, table 4):

    >>> guide = MAG2(width=256)
    >>> guide(torch.randn(2, 60, 256), torch.randn(42, 256)).shape
    torch.Size([2, 60, 256])

    Args:
        width: d, of clip and action tokens.
        graph: "sage" (the official code's layer), "gcn" (the paper's eq. 9) or "even" (the same at any length).
        dropout: between the layers.
    """

    def __init__(self, width: int = 256, graph: Graph = "sage", dropout: float = 0.3):
        super().__init__()
        layer = _LAYERS[graph]
        self.conv1, self.conv2 = layer(width, width // 2), layer(width // 2, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, clips: torch.Tensor, actions: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Clips (B, T, d), actions (M, d), mask (B, T) -> clips (B, T, d)."""
        real = clips.new_ones(*clips.shape[:2], 1) if mask is None else mask.unsqueeze(-1).to(clips.dtype)
        clips, actions = self.conv1(clips, actions[None], real)
        if self.training:  # each routine drops other parts of the actions
            actions = actions.expand(len(clips), -1, -1)
        clips, actions = self.dropout(clips.relu()), self.dropout(actions.relu())
        return self.conv2(clips, actions, real)[0]  # only the clip nodes go on


def _other_clips(clips: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each clip the sum of the other real clips (B, T, d), and how many they are (B, 1, 1)."""
    kept = clips * real
    return kept.sum(1, keepdim=True) - kept, real.sum(1, keepdim=True) - 1


def _other_actions(actions: torch.Tensor) -> torch.Tensor:
    """For each action the mean of the others; zeros for a lone one."""
    return (actions.sum(1, keepdim=True) - actions) / max(actions.shape[1] - 1, 1)
