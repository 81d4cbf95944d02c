"""MCMoE (AAAI 2026): experts of each modality, softly routed, and generators for modalities that are missing."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from mlavl_cli.errors import DataError
from mlavl_cli.heads.base import Batch, ClipReading
from mlavl_cli.heads.dims import MOST_CLIPS
from mlavl_cli.heads.gdlt import LikertOutput, grade_triplets, likert
from mlavl_cli.heads.layers import (
    looked_at,
    padding,
    pointwise,
    sinusoid,
    token_layers,
    transformer_decoder,
    transformer_encoder,
)
from mlavl_cli.heads.multimodal import MultimodalDims, MultimodalHead

_SLOTS = 136  # routines of a batch that the public code knows a place for


@dataclass(frozen=True)
class MCMoEDims(MultimodalDims):
    """The public code's: two heads of attention, three layers each, four grades."""

    heads: int = 2
    grades: int = 4
    encoder_layers: int = 3
    grading_layers: int = 3
    alpha: float = 1.0  # weight of the triplets


@dataclass(frozen=True, kw_only=True)
class MCMoEOutput(LikertOutput):
    """In training, of each modality that is there, (B, T, d): what a generator `made` in its place and what it truly
    was, `true`; its own expert's answer to that, `own`, and the `routed` answer. `mask` (B, T).
    """

    made: tuple[torch.Tensor, ...]
    true: tuple[torch.Tensor, ...]
    own: tuple[torch.Tensor, ...]
    routed: tuple[torch.Tensor, ...]
    mask: torch.Tensor | None


class _Generator(nn.Module):
    """A missing stream from the clips of those that are there. Its queries are zeros, so it is constant over time."""

    def __init__(self, width: int):
        super().__init__()
        self.cross_attn = nn.ModuleList(nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(2))
        self.gate = nn.Sequential(nn.Linear(2 * width, width), nn.Sigmoid())

    def forward(self, clips: int, context: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        """Context (B, n T, d), of which `hidden` (B, n T) is padding -> (B, T, d)."""
        x = context.new_zeros(len(context), clips, context.shape[-1])
        for attend in self.cross_attn:
            x = attend(x, context, context, key_padding_mask=hidden, need_weights=False)[0]
        real = context.new_ones(context.shape[:2]) if hidden is None else (~hidden).to(context.dtype)
        mean = (context * real.unsqueeze(-1)).sum(1) / real.sum(1, keepdim=True)
        return x * self.gate(torch.cat([x.mean(1), mean], dim=-1)).unsqueeze(1)


class _Router(nn.Module):
    def __init__(self, width: int, experts: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, width // 2), nn.Linear(width // 2, experts)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """(B, T, d) -> (B, T, experts), summing to 1."""
        return self.fc2(nn.functional.gelu(self.fc1(clips))).softmax(-1)


def _expert(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(width, width // 2, 3, padding=1), nn.BatchNorm1d(width // 2), nn.GELU(),
        nn.Conv1d(width // 2, width, 1), nn.BatchNorm1d(width),
    )  # fmt: skip


class MCMoE(MultimodalHead):
    """Streams v (pictures), a (sound) and f (optical flow), any of which but the pictures may be missing.

    In training one of the incomplete choices is drawn for each batch. Official: a place by the slot in the batch is
    added to the grades' queries; careful: that of the first slot, as when routines are scored one by one.
    """

    name = "mcmoe"
    longest = MOST_CLIPS
    Dims = MCMoEDims
    dims: MCMoEDims
    letters: ClassVar = {"v": "visual", "a": "audio", "f": "flow"}
    worth: torch.Tensor
    slots: torch.Tensor

    def __init__(self, dims: MCMoEDims, text_features: torch.Tensor | None = None):
        super().__init__(dims)
        width, count = dims.width, len(self.modalities)
        self.in_proj = nn.ModuleDict({m: token_layers(inputs, width) for m, inputs in self.widths.items()})
        self.experts = nn.ModuleDict({m: _expert(width) for m in self.modalities})
        self.generators = nn.ModuleDict({m: _Generator(width) for m in self.modalities})
        self.router_mix = _Router(width, count)
        self.transformer = nn.ModuleDict({
            "encoder": transformer_encoder(dims, dims.encoder_layers),
            "decoder": transformer_decoder(dims, dims.grading_layers),
        })  # fmt: skip
        self.fusion = nn.Sequential(
            nn.Conv1d(count * width, 2 * width, 1), nn.BatchNorm1d(2 * width), nn.ReLU(),
            nn.Conv1d(2 * width, width, 1), nn.BatchNorm1d(width),
        )  # fmt: skip
        self.prototype = nn.Embedding(dims.grades, width)
        self.regressor = nn.Linear(width, dims.grades)
        self.register_buffer("worth", torch.linspace(0, 1, dims.grades), persistent=False)
        self.register_buffer("slots", sinusoid(_SLOTS, width), persistent=False)

    def forward(
        self,
        visual: torch.Tensor,
        audio: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        flow: torch.Tensor | None = None,
    ) -> MCMoEOutput:
        """Visual (B, T, D_v), audio (B, T, D_a), flow (B, T, D_f), the last two or None -> MCMoEOutput."""
        mask = None if self.official else mask
        streams = {
            m: self.transformer["encoder"](pointwise(self.in_proj[m], rows, mask), src_key_padding_mask=padding(mask))
            for m, rows in self.streams(visual, audio, flow).items()
        }
        kept = self._drawn(list(streams)) if self.training else list(streams)
        return self.mix(streams, kept, visual.shape[1], mask)

    def mix(
        self, streams: dict[str, torch.Tensor], kept: list[str], clips: int, mask: torch.Tensor | None
    ) -> MCMoEOutput:
        """Encoded streams (B, T, d), of which those kept are used and the others made anew -> score and the rest."""
        context = torch.cat([streams[m] for m in kept], dim=1)
        hidden = None if mask is None else ~mask.repeat(1, len(kept))
        filled = {m: streams[m] if m in kept else self.generators[m](clips, context, hidden) for m in self.modalities}
        answered, routed, own, true, made = [], [], [], [], []
        for m in self.modalities:
            answers = torch.stack([self._answer(self.experts[e], filled[m], mask) for e in self.modalities], dim=-1)
            answered.append((answers * self.router_mix(filled[m]).unsqueeze(2)).sum(-1))
            if self.training and m in streams:
                routed.append(answered[-1])
                own.append(self._answer(self.experts[m], streams[m], mask))
                true.append(streams[m])
                made.append(filled[m])
        fused = pointwise(self.fusion, torch.cat(answered, dim=-1), mask)
        if self.official and len(fused) > _SLOTS:
            raise DataError(f"official mcmoe takes at most {_SLOTS} routines a batch", hint="Lower --batch-size.")
        slots = self.slots[: len(fused)] if self.official else self.slots[:1]
        queries = self.prototype.weight + slots.unsqueeze(1).expand(len(fused), -1, -1)
        patterns = self.transformer["decoder"](queries, fused, memory_key_padding_mask=padding(mask))
        p = likert(self.regressor, patterns)
        return MCMoEOutput(
            score=p @ self.worth, patterns=patterns, clips=fused, p=p, made=tuple(made), true=tuple(true),
            own=tuple(own), routed=tuple(routed), mask=mask,
        )  # fmt: skip

    def _answer(self, expert: nn.Module, stream: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        assert isinstance(expert, nn.Sequential)
        real = stream if mask is None else stream * mask.unsqueeze(-1)
        return pointwise(expert[1:], expert[0](real.transpose(1, 2)).transpose(1, 2), mask)

    def _drawn(self, there: list[str]) -> list[str]:
        """One of the incomplete choices of what is there; a lone stream is kept."""
        if len(there) == 1:
            return there
        choice = int(torch.randint(1, 2 ** len(there) - 1, ()))
        return [m for number, m in enumerate(there) if choice >> number & 1]

    def loss(
        self, output: MCMoEOutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """10 times the squared error, triplets of the grades, what was made against what was there, and that a
        modality's own expert and the routed answer agree.
        """
        mse = nn.functional.mse_loss
        pick = (lambda x: x) if output.mask is None else (lambda x: x[output.mask])
        made = [
            mse(pick(a), pick(b) if self.official else pick(b).detach())  # what is true shouldn't follow what is made
            for a, b in zip(output.made, output.true, strict=True)
            if a is not b
        ]
        agree = [
            nn.functional.kl_div(pick(b).log_softmax(-1), pick(a).softmax(-1), reduction="none").mean()
            for a, b in zip(output.own, output.routed, strict=True)
        ]
        zero = output.score.new_zeros(())
        return {
            "mse": 10 * mse(output.score, batch.label),
            "triplet": self.dims.alpha * grade_triplets(output.patterns),
            "made": sum(made, zero),
            "agree": sum(agree, zero),
        }

    def per_clip(self, output: MCMoEOutput, mask: torch.Tensor | None = None) -> ClipReading:
        """What the grades look at in the decoder's last layer, weighted by p."""
        queries = self.prototype.weight + self.slots[0]
        decoder = self.transformer["decoder"]
        return ClipReading(None, None, looked_at(decoder.layers, queries, output.clips, output.p, output.mask))

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        def inputs(letter: str) -> int:
            return shapes.get(f"in_proj.{letter}.0.weight", (0, 0))[1]

        def depth(part: str) -> int:
            return len({name.split(".")[3] for name in shapes if name.startswith(f"transformer.{part}.layers.")})

        grades, width = shapes["prototype.weight"]
        return {
            "visual_dim": inputs("v"), "audio_dim": inputs("a"), "flow_dim": inputs("f"), "width": width,
            "grades": grades, "encoder_layers": depth("encoder"), "grading_layers": depth("decoder"),
        }  # fmt: skip
