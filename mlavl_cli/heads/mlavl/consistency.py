"""Per-clip action-music consistency and quality: this project's own reading of a head (spec: section 14).

Each clip is graded with the PGT's memory masked to that clip alone. Attending to a single token is the same as having
only it in memory, so all clips of all routines go through as one batch of one-clip routines.

A clip of a second or so holds two or three accents, and those may match unrelated music by chance. Heads with a `reach`
therefore don't take a clip's own word for it: music is followed, or isn't, over whole phrases.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from mlavl_cli.heads.mlavl.dpg import Branch, BranchName
from mlavl_cli.heads.mlavl.model import MLAVL, HeadOutput

OWN = 1 / 3  # what a clip's own evidence weighs where its surroundings are heard too
SURE = math.log(1e4)  # no clip's evidence is stronger, in log-odds


@dataclass(frozen=True)
class ClipReading:
    """Of each clip, (B, T): quality and consistency in [0, 1], and attention, which sums to 1.

    Consistency is None without sound or without DPG; without DPG every clip gets the same attention.
    """

    consistency: torch.Tensor | None
    quality: torch.Tensor
    attention: torch.Tensor


def per_clip(head: MLAVL, output: HeadOutput, mask: torch.Tensor | None = None) -> ClipReading:
    """Reads a head's output clip by clip; values of padded clips mean nothing (attention: 0)."""
    text, visual = output.text, output.visual
    quality = _alone(head, "v", text["v_grades"], visual).score.view(visual.shape[:2])
    if output.p_v is None:
        real = torch.ones_like(quality) if mask is None else mask.to(quality.dtype)
        return ClipReading(None, quality, real / real.sum(1, keepdim=True))
    attention = head.dpg.attention(head.asked(text["v_grades"], visual, mask), visual, output.p_v, mask)
    if output.fused is None:
        return ClipReading(None, quality, attention)
    asked = head.asked(text["av_grades"], output.fused, mask)
    heard = head.dpg.attention(asked, output.fused, output.p_av, mask)
    w = head.dpg.w.clamp(0, 1)
    return ClipReading(consistency(head, output.fused, text, mask), quality, w * heard + (1 - w) * attention)


def consistency(
    head: MLAVL, fused: torch.Tensor, text: dict[str, torch.Tensor], mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Fused clips (B, T, d) -> (B, T): how well music and movement fit around each clip, in [0, 1].

    With reach r > 0 the log-odds of a clip alone are averaged with those of its surroundings: OWN of the weight is the
    clip's own, the rest falls off as exp(-distance / r).
    """
    alone = clip_consistency(head, fused, text)
    if not head.dims.reach:
        return alone
    # Beyond 16 r a weight is below 1e-6 of the nearest: so wide a band costs no T x T weights.
    span = min(16 * head.dims.reach, alone.shape[1] - 1)
    distance = torch.arange(-span, span + 1, device=alone.device).abs()
    weights = torch.exp(-distance / head.dims.reach).to(alone.dtype)[None, None]
    real = torch.ones_like(alone) if mask is None else mask.to(alone.dtype)
    own = alone.logit(1e-6).clamp(-SURE, SURE)
    summed, weight = (F.conv1d(rows.unsqueeze(1), weights, padding=span).squeeze(1) for rows in (own * real, real))
    around = summed / weight.clamp(min=1e-9)
    return (OWN * own + (1 - OWN) * around).sigmoid()


def clip_consistency(head: MLAVL, fused: torch.Tensor, text: dict[str, torch.Tensor]) -> torch.Tensor:
    """Fused clips (B, T, d) -> (B, T): how much of each clip's grades, alone, says "with fitting music"."""
    p = _alone(head, "av", text["av_grades"], fused).p
    fits = torch.tensor([fits for _, fits in head.dims.audio_visual], device=p.device)
    return p[:, fits].sum(-1).clamp(0, 1).view(fused.shape[:2])


def _alone(head: MLAVL, name: BranchName, queries: torch.Tensor, clips: torch.Tensor) -> Branch:
    """Grades every clip of (B, T, d) by itself, as B * T routines of one clip (of usual length, where that counts)."""
    return head.dpg.branch(name, queries, clips.flatten(0, 1).unsqueeze(1))
