"""Methods that score by how much better a routine is than exemplars of the training split (CoRe, TPT, T2CR)."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import nn

from mlavl_cli.heads.base import Batch, HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.visual import VisualHead

EXEMPLARS = 10
HALF = 8  # groups of differences above zero, and as many below
_MOST_LABELS = 4096  # whose pairs are all looked at; of more, as many, evenly spread


@dataclass(frozen=True, kw_only=True)
class PairOutput(HeadOutput):
    """`views`: what is compared of each routine, (B, ...)."""

    views: torch.Tensor


class PairHead(VisualHead):
    """Exemplars are kept as what is compared of them, with their labels, in the head and its checkpoint.

    In training each routine is paired with another of its batch, which a shuffled batch makes a random one.
    """

    exemplar_count = EXEMPLARS
    private = (*VisualHead.private, "exemplar")
    exemplars: torch.Tensor
    exemplar_labels: torch.Tensor

    def keep(self, *shape: int) -> None:
        """Room for exemplars of this shape; to be called by a subclass's constructor."""
        self.register_buffer("exemplars", torch.zeros(EXEMPLARS, *shape))
        self.register_buffer("exemplar_labels", torch.full((EXEMPLARS,), 0.5))

    @torch.no_grad()
    def remember(self, batch: Batch) -> None:
        """Keeps the routines of a batch to compare with, again from the first where there are few."""
        was = self.training
        self.eval()
        rows = torch.arange(EXEMPLARS, device=batch.label.device) % len(batch.label)
        if self.official and batch.mask is not None:  # padding changes them, and whom they are compared with has none
            counts = batch.mask.sum(1).tolist()
            views = torch.cat([self._views(one[None, :n]) for one, n in zip(batch.visual, counts, strict=True)])
        else:
            views = self._views(batch.visual, batch.mask)
        self.exemplars, self.exemplar_labels = views[rows], batch.label[rows]
        self.train(was)

    def _views(self, visual: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        output = self(visual, mask=mask)
        assert isinstance(output, PairOutput)
        return output.views

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> PairOutput:
        mine = self.view(clips, mask)
        return PairOutput(score=self.against_exemplars(mine), views=mine)

    def against_exemplars(self, mine: torch.Tensor) -> torch.Tensor:
        """(B, ...) -> score (B,): the mean over exemplars of their labels and the differences."""
        found = [
            self.difference(mine, one.expand_as(mine), label.expand(len(mine))) + label
            for one, label in zip(self.exemplars, self.exemplar_labels, strict=True)
        ]
        return torch.stack(found).mean(0)

    @abstractmethod
    def view(self, clips: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """What is compared of each routine: clips (B, T, inputs) -> (B, ...)."""

    @abstractmethod
    def difference(self, query: torch.Tensor, exemplar: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """By how much queries (B, ...) are better than exemplars (B, ...) with labels (B,): (B,), normalised."""


def partners(batch: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """For each of so many routines another one, (batch,)."""
    step = int(torch.randint(1, max(batch, 2), (), generator=generator))
    return (torch.arange(batch) + step) % batch


class GroupedHead(PairHead):
    """A difference as one of 16 groups and a place within it (CoRe, TPT).

    The groups' edges are quantiles of all differences of the training split; public checkpoints don't hold them.
    """

    private = (*PairHead.private, "edges")
    edges: torch.Tensor

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.register_buffer("edges", torch.linspace(0, 1, HALF + 1))

    def prepare(self, labels: torch.Tensor) -> None:
        self.edges = group_edges(labels).to(self.edges)

    @abstractmethod
    def compare(
        self, query: torch.Tensor, exemplar: torch.Tensor, label: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of the groups (B, 16), and a place in each (B, 16)."""

    def difference(self, query: torch.Tensor, exemplar: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        log_p, place = self.compare(query, exemplar, label)
        left, width = self.groups()
        group = log_p.argmax(-1)
        return left[group] + width[group] * place.gather(1, group[:, None]).squeeze(1)

    def groups(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Left edges and widths of the groups, (16,) each, from the worst difference to the best."""
        edges = torch.cat([-self.edges.flip(0), self.edges[1:]])
        return edges[:-1], edges.diff()

    def group_terms(
        self, views: torch.Tensor, label: torch.Tensor, generator: torch.Generator | None
    ) -> dict[str, torch.Tensor]:
        """Of each order of the pairs: the likelihood of the true group, and the squared error of the place in it.

        The errors are averaged within each group and summed over the groups, the orders are added.
        """
        other = partners(len(label), generator).to(label.device)
        there = self._order(views, views[other], label, label[other])
        back = self._order(views[other], views, label[other], label)
        return {"group": there[0] + back[0], "place": there[1] + back[1]}

    def _order(
        self, query: torch.Tensor, exemplar: torch.Tensor, label: torch.Tensor, exemplar_label: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        log_p, place = self.compare(query, exemplar, exemplar_label)
        group, wanted = in_group(label - exemplar_label, self.edges)
        error = (place.gather(1, group[:, None]).squeeze(1) - wanted) ** 2
        counts = torch.zeros(2 * HALF, device=error.device).index_add(0, group, torch.ones_like(error))
        sums = torch.zeros(2 * HALF, device=error.device).index_add(0, group, error)
        return nn.functional.nll_loss(log_p, group), (sums / counts.clamp(min=1)).sum()


def group_edges(labels: torch.Tensor) -> torch.Tensor:
    """Labels (n,) in [0, 1] -> (HALF + 1,) edges of the groups above zero: quantiles of the differences, 0 to 1."""
    if len(labels) > _MOST_LABELS:
        labels = labels.sort()[0][torch.linspace(0, len(labels) - 1, _MOST_LABELS).long()]
    rows, columns = torch.triu_indices(len(labels), len(labels), 1)
    differences = (labels[rows] - labels[columns]).abs().sort()[0]
    places = [int(i / HALF * (len(differences) - 1)) for i in range(HALF + 1)]
    edges = differences[torch.tensor(places)]
    edges[0], edges[-1] = 0, 1
    return edges


def in_group(delta: torch.Tensor, edges: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences (n,) in [-1, 1] -> the group of each, 0 to 15, and its place in it.

    A group above zero holds its left edge, one below zero its right one. In a group of no width the place is the
    distance from the edge.
    """
    step = torch.searchsorted(edges, delta.abs().contiguous(), right=True).clamp(max=HALF) - 1  # [left, right) each way
    group = torch.where(delta >= 0, HALF + step, HALF - 1 - step)
    left = torch.where(delta >= 0, edges[step], -edges[step + 1])
    width = edges[step + 1] - edges[step]
    return group, torch.where(width > 0, (delta - left) / width.where(width > 0, 1), delta - left)
