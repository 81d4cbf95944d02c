"""What to train: targets, rows of table 5, methods with and without MAG2 (table 4); and the bundle that comes out."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlavl_cli.bundle import MANIFEST, BackboneSpec, Bundle, find_bundle, write_bundle
from mlavl_cli.datasets.dataset import Dataset, Routine
from mlavl_cli.datasets.public import TABLE_4
from mlavl_cli.device import Placement
from mlavl_cli.errors import DataError, UsageError, WeightsError
from mlavl_cli.features.prompts import GRADES, Prompts
from mlavl_cli.features.text_features import TextFeatures
from mlavl_cli.heads.checkpoint import TargetHead, save_head
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.methods import head_class
from mlavl_cli.scoring.domain import fit_detector, save_detector
from mlavl_cli.scoring.interval import Interval
from mlavl_cli.training.batches import Batches
from mlavl_cli.training.calibrate import fit_interval
from mlavl_cli.training.evaluate import scored
from mlavl_cli.training.history import Epoch
from mlavl_cli.training.train import TrainConfig, Trained, train_head

_NO_LANGUAGE = {"language": False, "mag2": False}
MODALITIES: dict[str, dict[str, Any]] = {
    "V": {"audio_dim": 0, **_NO_LANGUAGE},
    "V+A": _NO_LANGUAGE,
    "V+L": {"audio_dim": 0},
    "V+A+L": {},
}


@dataclass(frozen=True)
class Variant:
    """A row of a table: what differs from the whole method, and the paper's SRCC where it has one."""

    name: str
    dims: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    model: str = "mlavl"
    published: float | None = None


def _without(*boxes: str) -> dict[str, bool]:
    return dict.fromkeys(boxes, False)


# Table 5 (FS1000, TES): boxes added one by one, then losses and modalities taken away.
ABLATION = [
    Variant("baseline", _without("s2ce", "mag2", "avcf", "dpg"), published=0.835),
    Variant("+ S2CE", _without("mag2", "avcf", "dpg"), published=0.848),
    Variant("+ MAG2", _without("avcf", "dpg"), published=0.876),
    Variant("+ AVCF", _without("dpg"), published=0.887),
    Variant("+ DPG (all)", published=0.917),
    Variant("without TL", loss={"triplet": 0.0}, published=0.886),
    Variant("without CE", loss={"cross_entropy": 0.0}, published=0.894),
    *(Variant(f"only {name}", MODALITIES[name]) for name in ("V", "V+A", "V+L")),
]


def of_model(name: str) -> Variant:
    """A method of the field by its name; "gdlt+mag2" puts MAG2 into a visual one (table 4).

    Raises:
        UsageError: no such method, or MAG2 is a part of it already.
    """
    model, plus, box = name.partition("+")
    kind = head_class(model)
    if plus and (box != "mag2" or not kind.visual_only):
        raise UsageError(f"no such model: {name!r:.40}", hint="+mag2 goes with the visual methods, as in gdlt+mag2.")
    if not kind.visual_only:
        return Variant(model, model=model)
    published = {known.lower(): pair for known, pair in TABLE_4.items()}.get(model, (None, None))
    return Variant(name, {"mag2": bool(plus)}, model=model, published=published[bool(plus)])


def native_and_mag2(models: list[str]) -> list[Variant]:
    """Table 4: each of these visual methods as it is, and with MAG2."""
    return [
        replace(of_model(f"{model}{plus}"), name=f"{model} {label}")
        for model in models
        for plus, label in (("", "native"), ("+mag2", "+ MAG2"))
    ]


@dataclass(frozen=True)
class Guide:
    """The prompts' features and, where they are known, the prompts."""

    encoded: TextFeatures
    prompts: Prompts | None = None

    @property
    def features(self) -> torch.Tensor:
        """(P, D_t)."""
        return self.encoded.rows

    def rows(self, dims: HeadDims) -> torch.Tensor:
        """The rows that these dims use: a head that only sees leaves out what is about music.

        Raises:
            DataError: another number of rows.
        """
        actions, grades = dims.actions, dims.grades
        if not dims.hears and len(self.features) == 2 * actions + 3 * grades:
            return torch.cat([self.features[:actions], self.features[2 * actions + 2 * grades :]])
        if len(self.features) != dims.prompts:
            cause = f"{len(self.features)} text features, where {dims.prompts} prompts are needed"
            raise DataError(cause, hint="Make them with `mlavl prompts encode`.")
        return self.features

    def texts(self, dims: HeadDims) -> tuple[str, ...]:
        """Those of `rows`; none where they aren't known."""
        texts = self.prompts.texts if self.prompts else self.encoded.texts
        if dims.hears or len(texts) == dims.prompts:
            return texts
        return texts[: dims.actions] + texts[2 * dims.actions + 2 * dims.grades :]

    def actions(self, hears: bool) -> int:
        """M, from the prompts or from the number of rows."""
        if self.prompts is not None:
            return len(self.prompts.actions)
        spare = len(self.features) - 3 * len(GRADES)
        if spare > 1 and spare % 2 == 0:
            return spare // 2
        if not hears and len(self.features) > len(GRADES):
            return len(self.features) - len(GRADES)
        raise DataError(f"{len(self.features)} text features are no 2 M + 3 N", hint="Give the prompts' csv too.")


@dataclass(frozen=True)
class Job:
    """One head to be trained: a variant on a target."""

    dataset: Dataset
    guide: Guide
    target: str
    variant: Variant
    config: TrainConfig
    window: int | None
    dims: dict[str, Any] = field(default_factory=dict)  # for all variants: graph, regressor, width, ...
    total: bool = False  # whether the target is a total, so that its head is told how long a routine is

    def head_dims(self) -> HeadDims:
        sample = self.dataset.of_target(self.target, "train")[0]
        own = {
            "visual_dim": sample.visual.shape[1],
            "audio_dim": 0 if sample.audio is None else sample.audio.shape[1],
            "text_dim": self.guide.features.shape[1],
            "actions": self.guide.actions(sample.audio is not None),
            "length": self.total,
        }
        changes = {**self.dims, **self.variant.dims}
        if sample.audio is None or head_class(self.variant.model).visual_only:
            changes["audio_dim"] = 0
        return HeadDims(**{**own, **changes})

    def run(
        self,
        placement: Placement,
        folder: Path,
        on_epoch: Callable[[Epoch, list[Epoch]], None],
        on_align: Callable[[int], None],
    ) -> Trained:
        """Trains it in `folder`, or goes on there.

        Raises:
            DataError: the dataset, or a run of other settings in that folder, doesn't fit.
        """
        dims, config = self.head_dims(), self.config
        config = replace(config, loss=replace(config.loss, **self.variant.loss))
        score_range = self.dataset.ranges[self.target]
        train, judged = (self.dataset.of_target(self.target, split) for split in ("train", self.dataset.judged_split))
        _same_widths(train + judged, self.dataset.name)
        batches = [
            Batches(routines, self.target, score_range, config.batch_size, self.window) for routines in (train, judged)
        ]
        text = self.guide.rows(dims) if dims.language else None
        true = np.array([routine.scores[self.target] for routine in judged])
        build = partial(head_class(self.variant.model), dims, text)
        return train_head(build, *batches, true, score_range, config, placement, folder, on_epoch, on_align)

    def head(self, trained: Trained) -> TargetHead:
        """The trained model as a head of a bundle."""
        model = trained.model.cpu()
        texts = self.guide.texts(model.dims) if model.dims.language else ()
        full_stop = self.guide.encoded.full_stop if model.dims.language else None
        return TargetHead(model, self.target, self.dataset.ranges[self.target], GRADES, texts, self.window, full_stop)

    def interval(self, head: TargetHead, placement: Placement) -> Interval | None:
        """How far off the head's scores are, on the split for it, or on the one that chose the best epoch.

        None where neither is apart from what is trained on and tested on, or holds too few routines.
        """
        split = self.dataset.calibration_split
        routines = [r for r in self.dataset.splits.get(split, []) if self.target in r.scores]
        if not routines:
            return None
        predicted = scored(head, routines, self.config.batch_size, placement)
        true = np.array([routine.scores[self.target] for routine in routines])
        return fit_interval(predicted, true, np.array([len(routine.visual) for routine in routines]))


def _same_widths(routines: list[Any], name: str) -> None:
    for kind in ("visual", "audio"):
        widths = {None if (rows := getattr(r, kind)) is None else rows.shape[1] for r in routines}
        if len(widths) > 1:
            raise DataError(f"{name}: {kind} features have different widths: {sorted(map(str, widths))}")


def refuse_other_backbones(folder: Path, base: Bundle) -> None:
    """A bundle's heads all read the features of the same backbones: others can't join them.

    Raises:
        WeightsError: the bundle in this folder has others than `base`.
    """
    if not (folder / MANIFEST).exists():
        return
    there = find_bundle(folder)
    for role in ("visual", "audio"):
        was, new = getattr(there, role), getattr(base, role)
        if there.heads and _content(was) != _content(new):
            cause = f"holds heads on the {role} backbone {Path(was.source).name}, not on {Path(new.source).name}"
            raise WeightsError(cause, path=folder, hint="Choose another --output.")


def _content(spec: BackboneSpec) -> dict[str, Any]:
    """What a backbone is, wherever its files lie."""
    identity = spec.identity()
    return {name: value for name, value in identity.items() if name != "id" or "sha256" not in identity}


def write_heads(
    folder: Path,
    base: Bundle,
    heads: dict[str, TargetHead],
    metrics: dict[str, Any],
    trained_on: str,
    licence: str,
    dataset: Dataset | None = None,
    half: bool = False,
    intervals: dict[str, Interval] | None = None,
) -> Bundle:
    """The heads and the backbones of `base` as a bundle that `mlavl score --weights` takes.

    Local backbones are copied into it; those of the hub are named. Heads that are there already are kept. What the
    dataset looks like goes beside, so that scoring can tell when a video is of another kind.
    """
    specs = {role: _inside(getattr(base, role), folder, role) for role in ("visual", "audio", "text")}
    before = find_bundle(folder) if (folder / MANIFEST).exists() else None
    paths = dict(before.heads) if before else {}
    for target, head in heads.items():
        paths[target] = folder / "heads" / f"{target}.safetensors"
        save_head(paths[target], head, half)
    kept = {target: found for target, found in (before.intervals if before else {}).items() if target not in heads}
    domain = None
    if dataset:
        domain = folder / "domain.safetensors"
        known = [_tables(routine) for split in ("val", "calibration") for routine in dataset.splits.get(split, [])]
        save_detector(domain, fit_detector([_tables(routine) for routine in dataset.splits["train"]], known))
    bundle = Bundle(
        folder=folder,
        name=folder.resolve().name,
        sport=base.sport,
        trained_on=trained_on,
        licence=licence,
        clip_frames=base.clip_frames,
        heads=paths,
        metrics={**(before.metrics if before else {}), **metrics},
        consistency=None,  # new heads: what was measured before says nothing of them
        frame_rate=base.frame_rate or (dataset.frame_rate if dataset else None),
        intervals=kept | {target: interval.to_dict() for target, interval in (intervals or {}).items()},
        domain=domain,
        **specs,
    )
    write_bundle(bundle)
    return bundle


def _tables(routine: Routine) -> dict[str, np.ndarray]:
    heard = {} if routine.audio is None else {"audio": routine.audio}
    return {"visual": routine.visual, **heard, **routine.statistics}


def _inside(spec: BackboneSpec | None, folder: Path, role: str) -> BackboneSpec | None:
    if spec is None or spec.folder is None:
        return spec
    target = folder / "backbones" / role
    if target.resolve() != spec.folder.resolve():
        shutil.copytree(spec.folder, target, dirs_exist_ok=True)
    return replace(spec, source=str(target))
