"""What every method of the field is to the rest of mlavl: features of clips in, a normalised score out.

A method is a subclass of `Head` in a file of its own and a line in `HEADS` (methods.py). Whatever stands there can be
trained, saved, evaluated and scored with.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import nn

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.dims import HeadDims


@dataclass(frozen=True)
class Batch:
    """Visual (B, T, D_v), audio (B, T, D_a) or None, mask (B, T) or None (all real), label (B,) in [0, 1]."""

    visual: torch.Tensor
    audio: torch.Tensor | None
    mask: torch.Tensor | None
    label: torch.Tensor

    def real_clips(self) -> torch.Tensor:
        """(B, T) bool."""
        return self.visual.new_ones(self.visual.shape[:2], dtype=torch.bool) if self.mask is None else self.mask

    def to(self, device: torch.device) -> "Batch":
        audio = None if self.audio is None else self.audio.to(device, non_blocking=True)
        mask = None if self.mask is None else self.mask.to(device, non_blocking=True)
        return Batch(self.visual.to(device, non_blocking=True), audio, mask, self.label.to(device, non_blocking=True))


@dataclass(frozen=True, kw_only=True)
class HeadOutput:
    """What a head says about B routines; methods add what their losses need.

    Attributes:
        score: (B,) normalised.
        score_v, score_av: (B,) of the visual and the audio-visual branch, where a method has branches.
        p_v, p_av: (B, N) and (B, 2N) grades, each row summing to 1, where a method has grades.
    """

    score: torch.Tensor
    score_v: torch.Tensor | None = None
    score_av: torch.Tensor | None = None
    p_v: torch.Tensor | None = None
    p_av: torch.Tensor | None = None


@dataclass(frozen=True)
class ClipReading:
    """Of each clip, (B, T): quality and consistency in [0, 1], and attention, which sums to 1.

    Consistency is None without sound or without DPG; without DPG every clip gets the same attention.
    """

    consistency: torch.Tensor | None
    quality: torch.Tensor
    attention: torch.Tensor


class Head(nn.Module, ABC):
    """One target (TES, PCS, ...) by one method.

    Class attributes:
        name: in `HEADS`, in checkpoints and on the command line.
        visual_only: whether the method never hears.
        remembers: whether it keeps training routines to compare with (`remember`).

    Args:
        dims: sizes and switches, from which the head can be built again.
        text_features: (P, D_t), the prompts as the text tower encodes them, for methods that use them; None leaves them
            to a state dict.
    """

    name: str
    visual_only = True
    remembers = False

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__()
        self.dims = dims

    @abstractmethod
    def forward(
        self, visual: torch.Tensor, audio: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> HeadOutput:
        """Visual (B, T, D_v) and audio (B, T, D_a) features -> HeadOutput; padded clips change nothing."""

    def loss(
        self, output: Any, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """What the head learns from, by name: scalars whose sum is minimised. Here the squared error alone.

        Args:
            output: what `forward` made of `batch`.
            batch: with labels in [0, 1].
            weights: the terms' weights, for methods that take them from outside.
            generator: of whatever is drawn.
        """
        return {"mse": nn.functional.mse_loss(output.score, batch.label)}

    def remember(self, batch: Batch) -> None:
        """Training routines to compare with when scoring, given after each epoch to a method that `remembers`."""

    def per_clip(self, output: Any, mask: torch.Tensor | None = None) -> ClipReading | None:
        """The output clip by clip; None: the method has no timeline."""
        return None

    @property
    def judges_consistency(self) -> bool:
        """Whether its clips' readings say how well music and movement fit."""
        return False

    def consistency(
        self, output: Any, music: torch.Tensor, mask: torch.Tensor | None = None, judged: torch.Tensor | None = None
    ) -> torch.Tensor:
        """How well the clips of an output fit any music (B, T, D_a), in [0, 1]: (B, T). `judged` masks the music."""
        raise NotImplementedError(f"{self.name} doesn't judge consistency")

    def alignment(self, batch: Batch) -> torch.Tensor:
        """What brings pictures and music together before consistency is learned (training/align.py), a scalar."""
        raise NotImplementedError(f"{self.name} doesn't judge consistency")

    def prompts_read(self) -> list[torch.Tensor]:
        """The text features that it was made with, if any."""
        return []

    @property
    def visual_weight(self) -> float:
        """What the visual branch counts for beside an audio-visual one, 0 to 1."""
        return 1.0


def added(terms: dict[str, torch.Tensor]) -> torch.Tensor:
    """The sum of a loss's terms."""
    return reduce(torch.add, terms.values())


def text_buffer(text_features: torch.Tensor | None, rows: int, width: int) -> torch.Tensor:
    """Text features (rows, width) as a head keeps them; zeros where a state dict will bring them.

    Raises:
        WeightsError: another shape.
    """
    if text_features is None:
        return torch.zeros(rows, width)
    if tuple(text_features.shape) != (rows, width):
        raise WeightsError(f"text features have shape {tuple(text_features.shape)}; this head needs {(rows, width)}")
    return text_features.float()
