"""What methods that fuse pictures, sound and optical flow share: the streams that a head was built with, and reads."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.base import Batch, Head, HeadOutput
from mlavl_cli.heads.dims import HeadDims


@dataclass(frozen=True)
class MultimodalDims(HeadDims):
    """Sizes of a head that needs a second modality beside the pictures."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.has_audio and not self.flow_dim:
            raise WeightsError("it fuses modalities: it needs sound or optical flow beside the pictures")


class MultimodalHead(Head):
    """A head with a stream for each modality.

    Class attributes:
        letters: by which the public code names a modality's tensors, and the modality: visual, audio or flow.
    """

    Dims: type[HeadDims] = MultimodalDims
    visual_only = False
    takes_flow = True
    letters: ClassVar[dict[str, str]]

    def __init__(self, dims: HeadDims):
        super().__init__(dims)
        widths = {letter: getattr(dims, f"{kind}_dim") for letter, kind in self.letters.items()}
        self.widths = {letter: width for letter, width in widths.items() if width}

    @property
    def modalities(self) -> list[str]:
        """The letters of what the head was built with."""
        return list(self.widths)

    def of(self, batch: Batch) -> HeadOutput:
        found: HeadOutput = self(batch.visual, batch.audio, batch.mask, batch.flow)
        return found

    def streams(
        self, visual: torch.Tensor, audio: torch.Tensor | None, flow: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """By letter, (B, T, D) each: what is there of what the head was built with."""
        given = {"visual": visual, "audio": audio, "flow": flow}
        found = ((letter, given[self.letters[letter]]) for letter in self.modalities)
        return {letter: rows for letter, rows in found if rows is not None}
