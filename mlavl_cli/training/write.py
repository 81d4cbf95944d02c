"""Trained or imported heads -> a bundle that `mlavl score --weights` takes."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlavl_cli.backbone import BackboneSpec, content_of, saved_files
from mlavl_cli.bundle import MANIFEST, Bundle, find_bundle, is_frame_rate, write_bundle
from mlavl_cli.datasets.dataset import Dataset, Routine
from mlavl_cli.errors import WeightsError
from mlavl_cli.files import make_folder, one_at_a_time
from mlavl_cli.heads.checkpoint import TargetHead, save_head
from mlavl_cli.media.frame_rate import count_as_one
from mlavl_cli.scoring.domain import OutOfDomainDetector, fit_detector, learned_by, save_detector
from mlavl_cli.scoring.interval import Interval
from mlavl_cli.untrusted import refuse_links


def refuse_other_backbones(folder: Path, backbones: str | Path | Bundle) -> None:
    """A bundle's heads all read the features of the same backbones: others can't join them.

    Raises:
        WeightsError: the bundle in this folder has others than the bundle, or the name of one, that is given.
    """
    if not (folder / MANIFEST).exists():
        return
    base = find_bundle(backbones)
    there = find_bundle(folder)
    for role in ("visual", "audio"):
        was, new = getattr(there, role), getattr(base, role)
        if there.heads and content_of(was.identity()) != content_of(new.identity()):
            cause = f"holds heads on the {role} backbone {Path(was.source).name}, not on {Path(new.source).name}"
            raise WeightsError(cause, path=folder, hint="Choose another --output.")


def refuse_other_data(folder: Path, targets: Iterable[str], about: "About", rate: float | None = None) -> None:
    """A bundle says of all its heads alike what they learned from and whose they are; it knows one domain, and one
    frame rate.

    Args:
        folder: of the bundle, where there is one.
        targets: of the new heads, which replace those of the same name.
        about: what is said of them.
        rate: at which their clips were cut, in frames a second; None: not known.

    Raises:
        WeightsError: it holds others, of which something else is said.
    """
    if not (folder / MANIFEST).exists():
        return
    there = find_bundle(folder)
    others = ", ".join(sorted(set(there.heads) - set(targets)))
    if not others:
        return
    if rate and there.frame_rate and not count_as_one(rate, there.frame_rate):
        cause = f"holds heads ({others}) for {there.frame_rate:g} frames a second, not {rate:g}"
        raise WeightsError(cause, path=folder, hint="Choose another --output.")
    for name, was, now in (
        ("trained-on", there.trained_on, about.trained_on),
        ("licence", there.licence, about.licence),
    ):
        if was != now:
            cause = f"holds heads ({others}) of another {name.replace('-', ' ')}: {was!r}, not {now!r}"
            raise WeightsError(cause, path=folder, hint=f"Choose another --output, or give the same --{name}.")


LOCK = ".bundle.lock"
SPORTS = {"skating": "figure skating", "gymnastics": "rhythmic gymnastics", "swimming": "artistic swimming"}


@dataclass(frozen=True)
class About:
    """What a bundle says of new heads.

    Attributes:
        trained_on: the sentence shown with every score.
        licence: of the weights.
        metrics, intervals: by target, where they were measured.
        learned: the routines that they learned from, as `scoring.domain.short` names them.
    """

    trained_on: str
    licence: str
    metrics: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    learned: tuple[int, ...] = ()


def write_heads(
    folder: Path,
    base: Bundle,
    heads: dict[str, TargetHead],
    about: About,
    dataset: Dataset | None = None,
    half: bool = False,
) -> Bundle:
    """The heads and the backbones of `base` as a bundle that `mlavl score --weights` takes.

    Local backbones are copied into it; those of the hub are named. Heads that are there already are kept. What the
    dataset looks like goes beside, so that scoring can tell when a video is of another kind.

    Raises:
        WeightsError: there are others meanwhile, of other data.
    """
    refuse_links(folder / "backbones")
    refuse_links(folder / "heads")
    make_folder(folder)
    detector = _detector(dataset) if dataset else None  # before others have to wait: it takes long
    with one_at_a_time(folder / LOCK):  # another run may add its heads to the same bundle
        refuse_other_data(folder, heads, about, dataset.frame_rate if dataset else None)
        return _write_heads(folder, base, heads, about, dataset, detector, half)


def _write_heads(
    folder: Path,
    base: Bundle,
    heads: dict[str, TargetHead],
    about: About,
    dataset: Dataset | None,
    detector: OutOfDomainDetector | None,
    half: bool,
) -> Bundle:
    before = find_bundle(folder) if (folder / MANIFEST).exists() else None
    paths = dict(before.heads) if before else {}
    for target, head in heads.items():
        paths[target] = folder / "heads" / f"{target}.safetensors"
        save_head(paths[target], head, half)
    stay = [target for target in paths if target not in heads]
    intervals, metrics = (
        {target: known[target] for target in stay if target in known}
        for known in ((before.intervals, before.metrics) if before else ({}, {}))
    )
    rate = base.frame_rate or (dataset.frame_rate if dataset else None)
    domain = before.domain if before and stay else None
    if dataset and detector:
        domain = folder / "domain.safetensors"
        before_it = learned_by(before.domain) if before and before.domain and stay else ()
        save_detector(domain, detector, [*before_it, *about.learned])
    bundle = Bundle(
        folder=folder,
        name=Path(os.path.realpath(folder)).name,
        sport=SPORTS[dataset.sport] if dataset else base.sport,
        trained_on=about.trained_on,
        licence=about.licence,
        clip_frames=base.clip_frames,
        heads=paths,
        metrics=metrics | about.metrics,
        consistency=None,  # new heads: what was measured before says nothing of them
        frame_rate=rate if is_frame_rate(rate) else None,
        intervals=intervals | {target: interval.to_dict() for target, interval in about.intervals.items()},
        domain=domain,
        visual=_inside(base.visual, folder, "visual"),
        audio=_inside(base.audio, folder, "audio"),
        text=_inside(base.text, folder, "text") if base.text else None,
    )
    write_bundle(bundle)
    return bundle


def _detector(dataset: Dataset) -> OutOfDomainDetector:
    known = [_tables(routine) for split in ("val", "calibration") for routine in dataset.splits.get(split, [])]
    return fit_detector([_tables(routine) for routine in dataset.splits["train"]], known)


def _tables(routine: Routine) -> dict[str, np.ndarray]:
    heard = {} if routine.audio is None else {"audio": routine.audio}
    return {"visual": routine.visual, **heard, **routine.statistics}


def _inside(spec: BackboneSpec, folder: Path, role: str) -> BackboneSpec:
    if spec.folder is None:
        return spec
    target = folder / "backbones" / role
    if os.path.realpath(target) != os.path.realpath(spec.folder):
        target.mkdir(parents=True, exist_ok=True)
        for path in saved_files(spec.folder):
            shutil.copyfile(path, target / path.name)
    return replace(spec, source=str(target))
