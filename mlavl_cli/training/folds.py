"""Cross-validation: every routine is judged once by heads that didn't learn from it; then heads learn from them all."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mlavl_cli.bundle import Bundle
from mlavl_cli.datasets.dataset import Dataset, chosen_targets
from mlavl_cli.datasets.splits import folds, in_one
from mlavl_cli.device import Placement, place
from mlavl_cli.errors import UsageError
from mlavl_cli.files import make_folder
from mlavl_cli.scoring.interval import Interval
from mlavl_cli.training.bundle import TrainingOptions, run_folder, train_bundle
from mlavl_cli.training.calibrate import fit_interval
from mlavl_cli.training.evaluate import scored
from mlavl_cli.training.jobs import Job
from mlavl_cli.training.metrics import Metrics, measure
from mlavl_cli.training.prompt_features import PromptFeatures
from mlavl_cli.training.train import SILENT, Watch
from mlavl_cli.training.write import refuse_other_backbones, refuse_other_data
from mlavl_cli.untrusted import refuse_links


@dataclass(frozen=True)
class CrossValidated:
    """One target, judged by folds.

    Attributes:
        target: TES, PCS, ...
        folds: metrics of each fold's test split, by the heads of that fold.
        pooled: metrics of all routines together, each scored by the heads that didn't learn from it.
        ids, predicted, true: (n,) of them, in points.
        clips: (n,) their lengths.
    """

    target: str
    folds: list[Metrics]
    pooled: Metrics
    ids: tuple[str, ...]
    predicted: np.ndarray
    true: np.ndarray
    clips: np.ndarray

    @property
    def srcc(self) -> tuple[float, float]:
        """Mean and standard deviation over folds: scores of different heads aren't ranked against each other, unless
        folds hold too few routines to rank them.
        """
        found = [one.srcc for one in self.folds if one.ranked]
        if len(found) < 2:
            return self.pooled.srcc, float("nan")
        return float(np.mean(found)), float(np.std(found, ddof=1))

    def to_dict(self) -> dict[str, float | str | None]:
        """As a bundle keeps it."""
        mean, spread = self.srcc
        about = {"split": f"{len(self.folds)} folds", **self.pooled.to_dict()}
        known = self.pooled.ranked and mean == mean
        return {**about, "srcc": mean if known else None, "srcc_sd": None if spread != spread else spread}

    def interval(self) -> Interval | None:
        """How far off scores of routines are from which no head learned; None of too few."""
        return fit_interval(self.predicted, self.true, self.clips)


def train_folds(
    data: Dataset,
    prompts: PromptFeatures | None,
    output: str | Path,
    options: TrainingOptions,
    count: int,
    placement: Placement | None = None,
    watch: Callable[[Job, Path], AbstractContextManager[Watch]] | None = None,
) -> tuple[list[CrossValidated], Bundle]:
    """Judges a method by folds and trains its heads on all routines; calling it again resumes a killed run.

    The bundle says what the folds found: metrics and intervals are of routines from which those heads didn't learn, by
    heads that learned from a share of 1 - 1 / count of them.

    Args:
        data: routines with their scores, of whatever split.
        prompts, output, options, placement, watch: as `train_bundle` takes them. States are kept in runs/TARGET/METHOD
            of the output, and in fold-N below.
        count: folds.

    Raises:
        UsageError: several methods, or no such target.
        DataError: too few routines.
    """
    if len(options.variants) != 1 or options.start_from:
        raise UsageError("folds judge one method, which begins anew")
    output, placement = Path(output), placement or place(precision="fp32")
    for name in ("heads", "backbones", "runs"):  # before hours of work
        refuse_links(output / name)
    refuse_other_backbones(output, data.backbones)
    everybody = in_one(data, options.config.seed)
    targets = chosen_targets(options.targets, data.targets, data.combined)
    options.refuse_other_totals(targets)
    refuse_other_data(output, targets, options.about(everybody), data.frame_rate)
    parts = folds(data, count, options.config.seed)
    for target in targets:  # before hours of work
        for part in (everybody, *parts):
            for split in part.splits:
                part.of_target(target, split)
    make_folder(output)
    found = []
    for target in targets:
        judged: list[tuple[Metrics, tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]] = []
        for number, part in enumerate(parts):
            window = part.window if options.window == "auto" else options.window
            job = options.job(part, prompts, target, options.variants[0], window)
            folder = run_folder(output, job) / f"fold-{number}"
            with watch(job, folder) if watch else nullcontext(SILENT) as callbacks:
                trained = job.run(placement, folder, callbacks)
            routines = part.of_target(target, "test")
            predicted = scored(job.head(trained), routines, options.config.batch_size, place("cpu"))
            true = np.array([one.scores[target] for one in routines])
            clips = np.array([len(one.visual) for one in routines])
            judged.append((measure(predicted, true), tuple(one.id for one in routines), predicted, true, clips))
        metrics, ids, *tables = zip(*judged, strict=True)
        predicted, true, clips = (np.concatenate(table) for table in tables)
        pooled = measure(predicted, true)
        found.append(CrossValidated(target, list(metrics), pooled, sum(ids, ()), predicted, true, clips))
    intervals = {}
    if find_spec("crepes"):
        intervals = {one.target: interval for one in found if (interval := one.interval())}
    known = {one.target: one.to_dict() for one in found}, intervals
    done = train_bundle(everybody, prompts, output, options, placement, watch, known)
    assert done.bundle is not None
    return found, done.bundle
