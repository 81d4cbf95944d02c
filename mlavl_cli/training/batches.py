"""Routines -> batches of tensors: a window of clips each, or all of them behind a mask (docs/method.md, section 9)."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from mlavl_cli.datasets.dataset import Routine
from mlavl_cli.errors import DataError
from mlavl_cli.heads.base import Batch
from mlavl_cli.heads.layers import mean_clip
from mlavl_cli.heads.window import fit_window
from mlavl_cli.score_range import Range, to_points, to_share

_SORTED = 16
_MOST_NUMBERS = 1 << 26  # features of a batch with its padding; what a model makes of them is several times as much


class Batches:
    """All routines of one split and target as tensors, read once.

    Args:
        routines: with a score of `target`.
        target: whose score is the label.
        score_range: lowest and highest possible score; labels are points on it, 0 to 1.
        batch_size: routines a batch.
        window: at most so many clips of a routine, or None: all.
        pads: whether shorter routines are filled up to the window, and what is filled counts as clips; if not, it is
            masked.
        tokens: whether a method reads the K tokens of a clip where there are some, and not their mean.

    Raises:
        DataError: tokens that don't fit their means, or differ in number; a batch of very many features.
    """

    def __init__(
        self,
        routines: list[Routine],
        target: str,
        score_range: Range,
        batch_size: int,
        window: int | None = None,
        pads: bool = True,
        tokens: bool = False,
    ):
        self.routines, self.batch_size, self.window, self.pads = routines, batch_size, window, pads
        self.target, self.score_range = target, score_range
        seen = _tokens(routines) if tokens else [routine.visual for routine in routines]
        self.visual = [torch.from_numpy(rows) for rows in seen]
        self.audio = [None if routine.audio is None else torch.from_numpy(routine.audio) for routine in routines]
        self.flow = [None if routine.flow is None else torch.from_numpy(routine.flow) for routine in routines]
        self._refuse_large(batch_size)
        self.labels = torch.tensor([to_share(routine.scores[target], score_range) for routine in routines])

    def _refuse_large(self, together: int) -> None:
        tokens = max((rows.shape[1] for rows in self.visual if rows.ndim == 3), default=1)
        most, together = most_together(self.routines, self.window, tokens), min(together, len(self.routines))
        if together > most:
            raise too_large(max(self.routines, key=lambda one: len(one.visual)), together, most)

    def true(self) -> np.ndarray:
        """The scores (n,), in points."""
        return np.array([routine.scores[self.target] for routine in self.routines])

    def points(self, normalised: np.ndarray) -> np.ndarray:
        """Normalised scores (n,) in points."""
        return to_points(normalised.astype(np.float64), self.score_range)

    def shuffled(self, generator: torch.Generator) -> Iterator[Batch]:
        """Training: random order, and a random window of longer routines.

        Routines of all their clips come in batches of about their own length: less of a batch is padding, and music
        that is swapped within it reaches to the end.
        """
        order = torch.randperm(len(self.routines), generator=generator).tolist()
        if self.window is None:
            order = self._alike(order, generator)
        order = self._by_kind(order, generator)
        starts = {}
        for i in order:
            spare = len(self.visual[i]) - self.window if self.window else 0
            starts[i] = int(torch.randint(spare + 1, (), generator=generator)) if spare > 0 else None
        return self._batches(order, starts)

    def _alike(self, order: list[int], generator: torch.Generator) -> list[int]:
        """Sorted by length within `_SORTED` batches at a time, the batches then mixed."""
        batches = []
        for first in range(0, len(order), _SORTED * self.batch_size):
            near = sorted(order[first : first + _SORTED * self.batch_size], key=lambda i: len(self.visual[i]))
            batches += [near[at : at + self.batch_size] for at in range(0, len(near), self.batch_size)]
        return [i for number in torch.randperm(len(batches), generator=generator) for i in batches[number]]

    def in_order(self) -> Iterator[Batch]:
        """Testing: as they come, the central window."""
        return self._batches(list(range(len(self.routines))), {})

    def singly(self) -> Iterator[Batch]:
        """Testing: one routine a batch."""
        return (self._batch([i], {}) for i in range(len(self.routines)))

    def means(self) -> Batch:
        """All routines as one batch, each by its mean clip: padded to the longest, they might take gigabytes."""
        rows = torch.cat([mean_clip(one.visual, one.mask) for one in self.singly()])
        return Batch(rows[:, None], None, None, self.labels)

    def spread(self, count: int) -> Batch:
        """So many routines, from the lowest to the highest label in equal steps of rank; all where there are fewer."""
        self._refuse_large(count)
        order = self.labels.argsort(stable=True)
        places = torch.linspace(0, len(order) - 1, min(count, len(order))).round().long()
        return self._batch(order[places].tolist(), {})

    def _batches(self, order: list[int], starts: dict[int, int | None]) -> Iterator[Batch]:
        """Batches in this order; where some routines lack sound or flow, neighbours of a kind come together."""
        for _, alike in groupby(order, self._kind):
            members = list(alike)
            ends = [*range(self.batch_size, len(members), self.batch_size), len(members)]
            if len(ends) > 1 and self.batch_size > 1 and ends[-1] - ends[-2] == 1:
                del ends[-2]  # a batch norm has nothing to learn from one routine: it goes with those before it
            for first, end in pairwise([0, *ends]):
                yield self._batch(members[first:end], starts)

    def _kind(self, i: int) -> tuple[bool, bool]:
        return self.audio[i] is not None, self.flow[i] is not None

    def _by_kind(self, order: list[int], generator: torch.Generator) -> list[int]:
        """Whole batches of routines with and without sound, mixed; the same order where all are alike."""
        kinds: dict[tuple[bool, bool], list[int]] = {}
        for i in order:
            kinds.setdefault(self._kind(i), []).append(i)
        if len(kinds) == 1:
            return order
        size = self.batch_size
        batches = [found[at : at + size] for found in kinds.values() for at in range(0, len(found), size)]
        return [i for number in torch.randperm(len(batches), generator=generator) for i in batches[number]]

    def _batch(self, members: list[int], starts: dict[int, int | None]) -> Batch:
        visual, audio, flow = (self._windows(rows, members, starts) for rows in (self.visual, self.audio, self.flow))
        assert visual is not None
        lengths = torch.tensor([len(self.visual[i]) for i in members])
        mask = torch.arange(visual.shape[1]) < lengths[:, None]
        padded = self.window and self.pads
        return Batch(visual, audio, None if padded or mask.all() else mask, self.labels[members], flow)

    def _windows(
        self, features: Sequence[torch.Tensor | None], members: list[int], starts: dict[int, int | None]
    ) -> torch.Tensor | None:
        """(B, T, D) or (B, T, K, D), zeros behind shorter routines; None where one of them has no such features."""
        found = [rows for i in members if (rows := features[i]) is not None]
        if len(found) < len(members):
            return None
        return pad_sequence(
            [fit_window(rows, self.window, starts.get(i), self.pads) for rows, i in zip(found, members, strict=True)],
            batch_first=True,
        )


def most_together(routines: list[Routine], window: int | None, tokens: int = 1) -> int:
    """How many routines a batch may hold, all as long as the longest: a short one is padded to it."""
    clips = window or max((len(one.visual) for one in routines), default=1)
    widths = [
        tokens * one.visual.shape[1] + sum(rows.shape[1] for rows in (one.audio, one.flow) if rows is not None)
        for one in routines
    ]
    return max(_MOST_NUMBERS // (clips * max(widths, default=1)), 1)


def too_large(longest: Routine, together: int, most: int) -> DataError:
    """What is wrong with a batch of so many routines, and of how many one may be."""
    cause = f"{longest.id} has {len(longest.visual)} clips; a batch of {together} as long takes too much memory"
    smaller = f"--batch-size {most}, or " if most > 1 else ""
    return DataError(cause, hint=f"Give {smaller}a shorter --window.")


def _tokens(routines: list[Routine]) -> list[np.ndarray]:
    """Each routine's (T, K, D); K = 1 where only means are there."""
    found = []
    for one in routines:
        rows = one.tokens() if one.tokens else one.visual[:, None]
        if rows.ndim != 3 or rows.shape[::2] != one.visual.shape or not np.isfinite(rows).all():
            raise DataError(f"{one.id}: tokens {rows.shape} don't belong to features {one.visual.shape}")
        found.append(rows)
    if len(counts := sorted({rows.shape[1] for rows in found})) > 1:
        raise DataError(f"routines have different numbers of visual tokens a clip: {counts}")
    return found


def features_of(split: Batches, prompts: Sequence[torch.Tensor]) -> str:
    """SHA-256 of a split's features and of the prompts that a model reads."""
    digest = hashlib.sha256()
    for routine in split.routines:
        digest.update(routine.digest.encode())
    for tensor in prompts:
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def content_of(splits: Sequence[Batches | None], prompts: Sequence[torch.Tensor]) -> str:
    """SHA-256 of all that a run learns from and is judged on: features, labels in their order, prompts."""
    found = [(features_of(split, prompts), split.labels.tolist()) for split in splits if split]
    return hashlib.sha256(repr(found).encode()).hexdigest()
