"""Heads on a split: predictions, metrics, and the AUCs of their consistency. Also the validation step of training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlavl_cli.backbone import content_of
from mlavl_cli.bundle import Bundle, find_bundle, write_bundle
from mlavl_cli.datasets.dataset import Dataset, Routine, chosen_targets
from mlavl_cli.device import Placement
from mlavl_cli.errors import DataError, FeatureError, UsageError, WeightsError
from mlavl_cli.files import one_at_a_time
from mlavl_cli.heads.base import Head
from mlavl_cli.heads.checkpoint import TargetHead, load_head
from mlavl_cli.heads.dims import MOST_CLIPS
from mlavl_cli.heads.layers import lean_attention
from mlavl_cli.heads.mlavl.losses import FALSE, false_music
from mlavl_cli.scoring.domain import learned_by, short
from mlavl_cli.scoring.interval import Interval, load_intervals
from mlavl_cli.training.batches import Batches, most_together
from mlavl_cli.training.metrics import Metrics, auc, measure
from mlavl_cli.training.variants import method_of
from mlavl_cli.training.write import LOCK
from mlavl_cli.untrusted import digest_of

_ROLES = ("visual", "audio")  # of the backbones whose features a head reads
_MOST_PAIRS = 1 << 22  # of clips that a batch compares with each other: 64 routines of 256, 2 of 1,448


@torch.no_grad()
def predict(model: Head, batches: Batches, placement: Placement) -> np.ndarray:
    """Normalised scores (n,) of the routines in their order.

    Where a head does what its public code does, padding and batch mates may change a score: it gets them one by one, as
    when videos are scored.
    """
    model.eval()
    scores = []
    for batch in batches.singly() if model.official else batches.in_order():
        batch = batch.to(placement.device)
        with lean_attention(batch.visual.shape[1], model.dims.heads):
            scores.append(model.of(batch).score)
    return torch.cat(scores).float().cpu().numpy()


def of_head(head: TargetHead, routines: list[Routine], batch_size: int) -> Batches:
    """Routines as the head was trained on them.

    Raises:
        DataError: a routine of very many clips, for a head without a window.
    """
    dims = head.model.dims
    pads, tokens = head.model.pads(dims), dims.tokens > 1
    for one in routines:
        if head.window is None and len(one.visual) > MOST_CLIPS:
            cause = f"{one.id} has {len(one.visual)} clips; heads are judged on {MOST_CLIPS} at the most"
            raise DataError(cause, hint="Leave it out, or cut it.")
    clips = head.window or max((len(one.visual) for one in routines), default=1)
    most = min(_MOST_PAIRS // clips**2, most_together(routines, head.window, dims.tokens))
    batch_size = max(min(batch_size, most), 2)
    return Batches(routines, head.target, head.score_range, batch_size, head.window, pads, tokens)


def scored(head: TargetHead, routines: list[Routine], batch_size: int, placement: Placement) -> np.ndarray:
    """The head's scores (n,) of the routines, in points.

    Raises:
        WeightsError: it gives NaN or infinity.
    """
    batches = of_head(head, routines, batch_size)
    found = np.array([head.points(score) for score in predict(head.model, batches, placement).tolist()])
    if not np.isfinite(found).all():
        raise WeightsError(f"the {head.target} head gives NaN or infinity", hint="Train it again, or from its start.")
    return found


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
            continue
        music = [("true", (batch.audio, batch.real_clips()))]
        music += [(kind, false_music(batch, kind, by=by)) for kind, by in zip(FALSE, (1, shift), strict=True)]
        with lean_attention(batch.visual.shape[1], head.dims.heads):
            output = head(batch.visual, batch.audio, batch.mask)
            for kind, (audio, judged) in music:
                _collect(found, kind, head.consistency(output, audio, batch.mask, judged), judged)
    if not found:
        return None
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


@dataclass(frozen=True)
class Evaluation:
    """A bundle's head on a split.

    Attributes:
        target: TES, PCS, ...
        method: the head's, like mlavl, gdlt or gdlt+mag2.
        metrics: of all the routines that have this score.
        true, predicted: (n,) in points, in the order of the ids.
        ids: (n,).
        interval: of the bundle, and what of it was found here: the share of true scores inside, and the mean width in
            points; None where it has none.
        aucs: of its consistency; None where it wasn't asked for, or there is no sound.
    """

    target: str
    method: str
    metrics: Metrics
    true: np.ndarray
    predicted: np.ndarray
    ids: tuple[str, ...]
    interval: tuple[Interval, float, float] | None
    aucs: dict[str, float] | None


def evaluate_bundle(
    bundle: Bundle | str | Path,
    data: Dataset,
    targets: Sequence[str] = (),
    split: str = "test",
    *,
    placement: Placement,
    batch_size: int = 64,
    bootstraps: int = 0,
    shift: int | None = 2,
) -> list[Evaluation]:
    """How good a bundle's heads are on a dataset.

    Args:
        bundle: with heads; or its name or folder.
        data: routines with their scores.
        targets: of both; empty: all that both have.
        split: of the dataset.
        placement: where the heads run.
        batch_size: routines.
        bootstraps: resamples for the intervals of the metrics.
        shift: clips by which music is moved to measure consistency; None leaves its AUCs out.

    Raises:
        UsageError: no target that both have.
        FeatureError: features of other backbones.
        DataError: too few routines, or one of very many clips.
    """
    bundle = find_bundle(bundle)
    have = find_bundle(data.backbones)
    if any(
        content_of(getattr(have, role).identity()) != content_of(getattr(bundle, role).identity()) for role in _ROLES
    ):
        cause = f"{data.name} has features of other backbones than those of {bundle.name}"
        raise FeatureError(cause, hint="Load it with the bundle's: load_dataset(..., backbones=BUNDLE).")
    there = [name for name in data.ranges if name in bundle.heads]
    if not there:
        heads, labels = (", ".join(names) or "none" for names in (bundle.heads, data.targets))
        raise UsageError(f"{bundle.name} has heads for {heads}; {data.name} has scores of {labels}")
    intervals, found = load_intervals(bundle), []
    for target in chosen_targets(targets, there, data.combined):
        head = load_head(bundle.heads[target], target)
        head.model.to(placement.device)
        routines = data.of_target(target, split)
        for one in routines:
            tokens = one.tokens().shape[1] if one.tokens and head.model.dims.tokens > 1 else 1
            audio = None if one.audio is None else one.audio.shape[1]
            if wrong := head.wrong_width(one.visual.shape[1], audio, tokens, 0 if head.window else len(one.visual)):
                raise FeatureError(f"{one.id}: {wrong}", hint="Use the features that the head was trained on.")
        batches = of_head(head, routines, batch_size)
        true, predicted = batches.true(), scored(head, routines, batch_size, placement)
        inside = None
        if interval := intervals.get(target):
            half = interval.half_width(np.array([len(routine.visual) for routine in routines]))
            inside = interval, float((np.abs(true - predicted) <= half).mean()), float(2 * half.mean())
        aucs = consistency_aucs(head.model, batches, placement, shift) if shift else None
        ids = tuple(routine.id for routine in routines)
        method = method_of(head.model)
        found.append(
            Evaluation(target, method, measure(predicted, true, bootstraps), true, predicted, ids, inside, aucs)
        )
    return found


def save_evaluation(
    bundle: Bundle, data: Dataset, split: str, found: list[Evaluation], consistency: dict[str, Any] | None
) -> None:
    """Writes metrics, and what was measured of the consistency, into the bundle; None keeps what it says of that.

    Raises:
        DataError: its heads learned from some of these routines.
        WeightsError: one of these heads isn't the one that was evaluated any more.
    """
    about = {"dataset": data.name, "split": split}
    if told := learned_from(bundle, data, split):
        hint = "After `train --folds` the bundle holds what the folds found; judge it on other routines."
        raise DataError(f"{told}: such metrics aren't saved", path=bundle.folder, hint=hint)
    with one_at_a_time(bundle.folder / LOCK):  # what others have added meanwhile stays
        now = find_bundle(bundle.folder)
        for one in found:
            path = bundle.heads[one.target]
            if now.heads.get(one.target) != path or not _is_still(path, bundle):
                cause = f"its {one.target} head isn't the one that the bundle listed before; nothing is saved"
                raise WeightsError(cause, path=bundle.folder, hint="Evaluate it again, or: mlavl weights verify.")
        metrics = {**now.metrics, **{one.target: {**about, **one.metrics.to_dict()} for one in found}}
        measured = {**about, **consistency} if consistency else now.consistency
        write_bundle(replace(now, metrics=metrics, consistency=measured))


def learned_from(bundle: Bundle, data: Dataset, split: str) -> str:
    """What is to be said where the bundle's heads learned from routines of this split; empty: nothing is known of it.

    Raises:
        WeightsError: the bundle can't be read.
    """
    routines = data.splits.get(split, [])
    known = set(learned_by(bundle.domain)) if bundle.domain else set()
    count = sum(any(short(digest) in known for digest in one.digests) for one in routines)
    return f"{count} of the {len(routines)} routines are some that these heads learned from" if count else ""


def _is_still(path: Path, bundle: Bundle) -> bool:
    """Whether a file is as the bundle listed it, if it did."""
    listed = bundle.files.get(path.relative_to(bundle.folder).as_posix())
    return listed is None or listed == digest_of(path)
