"""What a head learns from (paper, eq. 16-18), and this project's consistency objective (docs/method.md, section 14)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from mlavl_cli.heads.base import Batch
from mlavl_cli.heads.mlavl.output import MLAVLOutput

FalseMusic = Literal["swapped", "shifted"]
FALSE: tuple[FalseMusic, ...] = ("swapped", "shifted")
Triplets = Literal["all", "patterns"]
JUDGED_CLIPS = 4
CONTRAST_TEMPERATURE = 0.2  # of the alignment; 0.05 to 0.2 made no difference


@dataclass(frozen=True)
class LossWeights:
    """The official code's weights; 0 leaves a term out.

    `temperature` divides the cross-entropy's similarities: the official code has none (1), the paper one.
    `triplets` says whether grade patterns alone are pulled apart, as eq. 16 is written over them, or the four groups of
    prompts too, as the official code does.
    """

    mse: float = 10.0
    triplet: float = 1.0
    cross_entropy: float = 0.01
    consistency: float = 0.0  # lambda_c, of the consistency objective and of the alignment it needs; 0 is the paper
    margin: float = 1.0
    temperature: float = 1.0
    smoothing: float = 0.1
    triplets: Triplets = "all"


def triplet_loss(output: MLAVLOutput, margin: float = 1.0, over: Triplets = "all") -> torch.Tensor:
    """Hardest triplets (eq. 16), summed over the sets: patterns of both branches, and each group of prompts."""
    sets = []
    for patterns in (output.patterns_av, output.patterns_v):
        if patterns is not None:
            grades = torch.arange(patterns.shape[1], device=patterns.device).repeat(len(patterns))
            sets.append((patterns.flatten(0, 1), grades))
    if over == "all":
        sets += [(rows, torch.arange(len(rows), device=rows.device)) for rows in output.text.values()]
    return reduce(torch.add, (hardest_triplet(rows, labels, margin) for rows, labels in sets))


def hardest_triplet(rows: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """Rows (n, d) with labels (n,): mean of [furthest of its label - nearest of another + margin]+, by cosine distance.

    A row whose label no other row has is its own positive, at distance 0.
    """
    unit = nn.functional.normalize(rows, dim=-1)
    distance = 1 - unit @ unit.T
    same = labels[:, None] == labels
    positive = distance.masked_fill(~same, -torch.inf).amax(1)
    negative = distance.masked_fill(same, torch.inf).amin(1)
    return (positive - negative + margin).clamp(min=0).mean()


def grade_cross_entropy(output: MLAVLOutput, temperature: float = 1.0, smoothing: float = 0.1) -> torch.Tensor:
    """Each pattern must be most like the prompt of its own grade (eq. 17), summed over the branches."""
    total = output.score.new_zeros(())
    branches = ((output.patterns_v, "v_grades"), (output.patterns_av, "av_grades"))
    for patterns, prompts in ((patterns, output.text[name]) for patterns, name in branches if patterns is not None):
        unit = nn.functional.normalize(patterns, dim=-1)
        logits = unit @ nn.functional.normalize(prompts, dim=-1).T / temperature  # (B, grades, grades)
        labels = torch.arange(len(prompts), device=logits.device).repeat(len(patterns))
        total = total + nn.functional.cross_entropy(logits.flatten(0, 1), labels, label_smoothing=smoothing)
    return total


def contrast(visual: torch.Tensor, audio: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """How well each clip's pictures find their music among the routine's clips, and its music the pictures (InfoNCE).

    Only the same routine's clips are distinguished: another's might be known by its hall and its recording.

    Args:
        visual, audio: (B, T, d).
        mask: (B, T), what is real; None: all.

    Returns:
        The mean over real clips, in nats; log T is guessing.
    """
    logits = F.normalize(visual, dim=-1) @ F.normalize(audio, dim=-1).transpose(1, 2) / CONTRAST_TEMPERATURE
    real = logits.new_ones(logits.shape[:2], dtype=torch.bool) if mask is None else mask
    logits = logits.masked_fill(~(real[:, :, None] & real[:, None, :]), torch.finfo(logits.dtype).min)
    own = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)[real]
    return (F.cross_entropy(logits[real], own) + F.cross_entropy(logits.transpose(1, 2)[real], own)) / 2


@contextmanager
def settled_batch_norms(head: nn.Module) -> Iterator[None]:
    norms = [module for module in head.modules() if isinstance(module, nn.BatchNorm1d) and module.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


def false_music(
    batch: Batch, kind: FalseMusic, generator: torch.Generator | None = None, by: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Audio features (B, T, D_a) that don't belong to the pictures, and the mask of where they can be judged.

    Swapped: of another routine of the batch, where both have clips. Shifted: the routine's own, moved in a circle by
    `by` clips, or by as many as the generator draws; a routine of one clip can't be shifted and is masked.
    """
    audio = batch.audio
    assert audio is not None
    batch_size, clips = audio.shape[:2]
    real = batch.real_clips()
    if kind == "swapped":
        step = by or int(torch.randint(1, max(batch_size, 2), (), generator=generator))
        mask = real & real.roll(step, 0) if batch_size > 1 else torch.zeros_like(real)
        return audio.roll(step, 0), mask
    lengths = real.sum(1, keepdim=True)
    if by is None:
        drawn = torch.rand(batch_size, 1, generator=generator).to(lengths.device)
        steps = 1 + (drawn * (lengths - 1)).long().clamp(max=(lengths - 2).clamp(min=0))
    else:
        steps = torch.full_like(lengths, by)
    positions = torch.arange(clips, device=lengths.device).expand(batch_size, -1)
    moved = torch.where(real, (positions + steps) % lengths, positions)
    mask = real & (steps % lengths != 0)
    return audio.gather(1, moved.unsqueeze(-1).expand_as(audio)), mask


def judged_bce(right: torch.Tensor, judged: torch.Tensor) -> torch.Tensor:
    """Probabilities of the right answer (B, T) -> the cross-entropy's mean over the judged clips."""
    return -(right.clamp(min=1e-6).log() * judged).sum() / judged.sum().clamp(min=1)
