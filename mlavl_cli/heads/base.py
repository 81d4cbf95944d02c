"""What every method of the field is to the rest of mlavl: features of clips in, a normalised score out.

A method is a subclass of `Head` in a file of its own and a line in `HEADS` (methods.py). Whatever stands there can be
trained, saved, evaluated and scored with.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import torch
from torch import nn

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.dims import HeadDims


@dataclass(frozen=True)
class Batch:
    """Visual (B, T, D_v), audio (B, T, D_a) or None, mask (B, T) or None (all real), label (B,) in [0, 1].

    Visual is (B, T, K, D_v) for a method that mixes K tokens a clip. `flow`: (B, T, D_f) features of optical flow, for
    the methods that take them; None where there are none.
    """

    visual: torch.Tensor
    audio: torch.Tensor | None
    mask: torch.Tensor | None
    label: torch.Tensor
    flow: torch.Tensor | None = None

    def real_clips(self) -> torch.Tensor:
        """(B, T) bool."""
        return self.visual.new_ones(self.visual.shape[:2], dtype=torch.bool) if self.mask is None else self.mask

    def to(self, device: torch.device) -> "Batch":
        def moved(tensor: torch.Tensor | None) -> Any:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return Batch(**{name: moved(tensor) for name, tensor in vars(self).items()})


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

    None where a method doesn't say. Without DPG MLAVL gives every clip the same attention.
    """

    consistency: torch.Tensor | None
    quality: torch.Tensor | None
    attention: torch.Tensor


class Head(nn.Module, ABC):
    """One target (TES, PCS, ...) by one method.

    Class attributes:
        name: in `HEADS`, in checkpoints and on the command line.
        Dims: its sizes and their defaults, a `HeadDims`.
        visual_only: whether the method never hears.
        takes_flow: whether features of optical flow are a stream of it.
        takes_tokens: whether it reads the K visual tokens of a clip where features have them, and not their mean.
        longest: clips of the longest routine that it reads where no window cuts it, because it compares all clips with
            all; None: any.
        exemplar_count: how many training routines it keeps to compare with (`remember`).
        prompt_kind: which prompts' features it is built with: all, the visual actions alone, or none.
        fits: whether it is fitted at once (`fit`) and not in epochs.
        private: beginnings of the names of tensors that the public code doesn't save.

    Args:
        dims: sizes and switches, from which the head can be built again.
        text_features: (P, D_t), the prompts as the text tower encodes them, for methods that use them; None leaves them
            to a state dict.
    """

    name: str
    Dims: type[HeadDims] = HeadDims
    visual_only = True
    takes_flow = False
    takes_tokens = False
    longest: int | None = None
    exemplar_count = 0
    prompt_kind: Literal["all", "actions", "none"] = "none"
    fits = False
    private: tuple[str, ...] = ("guide.",)

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__()
        self.dims = dims

    @property
    def official(self) -> bool:
        """Whether it does what the method's public code does, where that differs from a careful reading."""
        return self.dims.behaviour == "official"

    @classmethod
    def pads(cls, dims: HeadDims) -> bool:
        """Whether zeros behind a routine that is shorter than a fixed window count as clips, as in all public code."""
        return dims.behaviour == "official"

    @abstractmethod
    def forward(
        self, visual: torch.Tensor, audio: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> HeadOutput:
        """Visual (B, T, D_v) and audio (B, T, D_a) features -> HeadOutput; padded clips change nothing."""

    def of(self, batch: Batch) -> HeadOutput:
        """`forward` on what this method takes of a batch."""
        return self(batch.visual, batch.audio, batch.mask)

    def prepare(self, labels: torch.Tensor) -> None:
        """Takes the labels (n,) of all training routines, before the first epoch, for methods that need them."""

    def fit(self, batch: Batch) -> None:
        """Learns from the mean clips of all training routines at once, (n, 1, D), in a method that `fits`."""
        raise NotImplementedError(f"{self.name} learns in epochs")

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        """The fields of `Dims` that the tensors of a public checkpoint show (heads/published.py).

        Raises:
            KeyError, IndexError: tensors are missing, or of another shape.
        """
        raise NotImplementedError(f"no checkpoints of {cls.name} are known")

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
        """Takes training routines to compare with: `exemplar_count` of them, spread over the scores, every epoch."""

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
