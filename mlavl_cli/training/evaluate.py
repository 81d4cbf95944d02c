"""A head on a split: predictions, metrics, and the AUCs of its consistency. Also the validation step of training."""

import numpy as np
import torch

from mlavl_cli.datasets.dataset import Routine
from mlavl_cli.device import Placement
from mlavl_cli.errors import FeatureError
from mlavl_cli.heads.base import Head
from mlavl_cli.heads.checkpoint import TargetHead
from mlavl_cli.heads.mlavl.losses import false_music
from mlavl_cli.training.batches import Batches
from mlavl_cli.training.metrics import auc


def check_widths(head: TargetHead, routines: list[Routine]) -> None:
    """Raises:
    FeatureError: the routines' features are not as wide as the head's.
    """
    dims = head.model.dims
    for routine in routines:
        pairs = [("visual", routine.visual, dims.visual_dim)]
        if dims.hears and routine.audio is not None:
            pairs.append(("audio", routine.audio, dims.audio_dim))
        for name, rows, width in pairs:
            if rows.shape[1] != width:
                cause = (
                    f"{name} features of {routine.id} are {rows.shape[1]} wide; the {head.target} head takes {width}"
                )
                raise FeatureError(cause, hint="Use the features that the head was trained on.")


@torch.no_grad()
def predict(model: Head, batches: Batches, placement: Placement) -> np.ndarray:
    """Normalised scores (n,) of the routines in their order."""
    model.eval()
    scores = []
    for batch in batches.in_order():
        batch = batch.to(placement.device)
        scores.append(model(batch.visual, batch.audio, batch.mask).score)
    return torch.cat(scores).float().cpu().numpy()


def scored(head: TargetHead, routines: list[Routine], batch_size: int, placement: Placement) -> np.ndarray:
    """The head's scores (n,) of the routines, in points."""
    batches = Batches(routines, head.target, head.score_range, batch_size, head.window)
    return np.array([head.points(score) for score in predict(head.model, batches, placement).tolist()])


@torch.no_grad()
def consistency_aucs(head: Head, batches: Batches, placement: Placement, shift: int = 2) -> dict[str, float] | None:
    """How well consistency tells the true music from false, per clip and per routine (its mean).

    None where the head or the routines have no sound.

    Args:
        head: on its device.
        batches: of the split; music is swapped within each of their batches.
        placement: the device.
        shift: by how many clips the routine's own music is moved in a circle.
    """
    if not head.judges_consistency:
        return None
    head.eval()
    found: dict[str, list[np.ndarray]] = {}
    for batch in batches.in_order():
        batch = batch.to(placement.device)
        if batch.audio is None:
            return None
        output = head(batch.visual, batch.audio, batch.mask)
        music = [("true", (batch.audio, batch.real_clips()))]
        music += [(kind, false_music(batch, kind, by=by)) for kind, by in (("swapped", 1), ("shifted", shift))]
        for kind, (audio, judged) in music:
            _collect(found, kind, head.consistency(output, audio, batch.mask, judged), judged)
    joined = {name: np.concatenate(values) for name, values in found.items() if values}
    empty = np.zeros(0)
    return {
        f"{kind}_{level}": auc(joined.get(f"true_{level}", empty), joined.get(f"{kind}_{level}", empty))
        for kind in ("swapped", "shifted")
        for level in ("clip", "routine")
    }


def _collect(found: dict[str, list[np.ndarray]], name: str, consistency: torch.Tensor, judged: torch.Tensor) -> None:
    for values, keep in zip(consistency.float().cpu().numpy(), judged.cpu().numpy(), strict=True):
        if keep.any():
            found.setdefault(f"{name}_clip", []).append(values[keep])
            found.setdefault(f"{name}_routine", []).append(values[keep].mean(keepdims=True))
