"""Per-clip action-music consistency and quality: this project's own reading of a head (spec: section 14).

Each clip is graded with the PGT's memory masked to that clip alone. Attending to a single token is the same as having
only it in memory, so all clips of all routines go through as one batch of one-clip routines.
"""

from dataclasses import dataclass

import torch

from mlavl_cli.head.mlavl import MLAVL, HeadOutput


@dataclass(frozen=True)
class ClipReading:
    """Of each clip, (B, T): consistency in [0, 1] (None without sound), quality in [0, 1], and attention."""

    consistency: torch.Tensor | None
    quality: torch.Tensor
    attention: torch.Tensor


def per_clip(head: MLAVL, output: HeadOutput, mask: torch.Tensor | None = None) -> ClipReading:
    """Reads a head's output clip by clip; values of padded clips mean nothing."""
    _, quality = _alone(head, output.visual, output.text["v_grades"], head.dpg.regressor_v)
    attention = head.dpg.attention(output.text["v_grades"], output.visual, output.p_v, mask)
    consistency = None
    if output.fused is not None:
        consistency = clip_consistency(head, output)
        heard = head.dpg.attention(output.text["av_grades"], output.fused, output.p_av, mask)
        w = head.dpg.w.clamp(0, 1)
        attention = w * heard + (1 - w) * attention
    return ClipReading(consistency, quality, attention)


def clip_consistency(head: MLAVL, output: HeadOutput) -> torch.Tensor:
    """(B, T): how much of each clip's audio-visual grades says "with fitting music"."""
    p, _ = _alone(head, output.fused, output.text["av_grades"], head.dpg.regressor_av)
    return p[..., head.dims.grades :].sum(-1)


def _alone(head: MLAVL, clips: torch.Tensor, queries: torch.Tensor, regressor: torch.nn.Module):
    """Grades every clip (B, T, d) by itself -> p (B, T, grades), score (B, T)."""
    patterns = head.dpg.patterns(queries, clips.flatten(0, 1).unsqueeze(1))
    p, score = regressor(patterns)
    return p.unflatten(0, clips.shape[:2]), score.unflatten(0, clips.shape[:2])
