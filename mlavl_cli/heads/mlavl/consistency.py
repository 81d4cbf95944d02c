"""Per-clip action-music consistency and quality: this project's own reading of a head (docs/method.md, section 14).

Each clip is graded with the PGT's memory masked to that clip alone. Attending to a single token is the same as having
only it in memory, so all clips of all routines go through as one batch of one-clip routines.

A clip of a second or so holds two or three accents, and those may match unrelated music by chance. Heads with a `reach`
therefore don't take a clip's own word for it: music is followed, or isn't, over whole phrases.
"""

import math

import torch
from torch.nn import functional as F

from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.mlavl.dpg import DPG, Branch, BranchName, MeanGrading

OWN = 1 / 3  # what a clip's own evidence weighs where its surroundings are heard too
SURE = math.log(1e4)  # no clip's evidence is stronger, in log-odds


def consistency(
    dpg: DPG, dims: HeadDims, grades: torch.Tensor, fused: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Fused clips (B, T, d) -> (B, T): how well music and movement fit around each clip, in [0, 1].

    With reach r > 0 the log-odds of a clip alone are averaged with those of its surroundings: OWN of the weight is the
    clip's own, the rest falls off as exp(-distance / r).

    Args:
        dpg, dims: of the head.
        grades: (2N, d) its audio-visual grade prompts.
        fused: what its audio-visual branch looks at.
        mask: which of the clips are real.
    """
    by_itself = clip_consistency(dpg, dims, grades, fused)
    if not dims.consistency_decay:
        return by_itself
    # Beyond 16 r a weight is below 1e-6 of the nearest: so wide a band costs no T x T weights.
    span = min(16 * dims.consistency_decay, by_itself.shape[1] - 1)
    distance = torch.arange(-span, span + 1, device=by_itself.device).abs()
    weights = torch.exp(-distance / dims.consistency_decay).to(by_itself.dtype)[None, None]
    real = torch.ones_like(by_itself) if mask is None else mask.to(by_itself.dtype)
    own = by_itself.logit(1e-6).clamp(-SURE, SURE)
    summed, weight = (F.conv1d(rows.unsqueeze(1), weights, padding=span).squeeze(1) for rows in (own * real, real))
    around = summed / weight.clamp(min=1e-9)
    return (OWN * own + (1 - OWN) * around).sigmoid()


def clip_consistency(dpg: DPG, dims: HeadDims, grades: torch.Tensor, fused: torch.Tensor) -> torch.Tensor:
    """Fused clips (B, T, d) -> (B, T): how much of each clip's grades, alone, says "with fitting music"."""
    p = alone(dpg, "av", grades, fused).p
    assert p is not None
    fits = torch.tensor([fits for _, fits in dims.audio_visual], device=p.device)
    return p[:, fits].sum(-1).clamp(0, 1).view(fused.shape[:2])


def alone(dpg: DPG | MeanGrading, name: BranchName, grades: torch.Tensor, clips: torch.Tensor) -> Branch:
    """Grades every clip of (B, T, d) by itself, as B * T routines of one clip (of usual length, where that counts)."""
    return dpg.branch(name, grades, clips.flatten(0, 1).unsqueeze(1))
