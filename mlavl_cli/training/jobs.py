"""One head to be trained: a variant on a target of a dataset."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlavl_cli.datasets.dataset import Dataset, Routine
from mlavl_cli.device import Placement, refusing_chance
from mlavl_cli.errors import DataError, UsageError, WeightsError
from mlavl_cli.features.prompts import grade_names
from mlavl_cli.heads.base import Head
from mlavl_cli.heads.checkpoint import TargetHead
from mlavl_cli.heads.dims import MOST_CLIPS, MOST_WINDOW, HeadDims
from mlavl_cli.heads.methods import head_class
from mlavl_cli.scoring.interval import Interval
from mlavl_cli.training.batches import Batches, most_together, too_large
from mlavl_cli.training.calibrate import fit_interval
from mlavl_cli.training.config import TrainConfig
from mlavl_cli.training.evaluate import scored
from mlavl_cli.training.prompt_features import PromptFeatures
from mlavl_cli.training.state import alone_in, dims_of_run
from mlavl_cli.training.train import SILENT, Trained, Watch, train_head
from mlavl_cli.training.variants import Variant


@dataclass(frozen=True)
class Job:
    """One head to be trained: a variant on a target."""

    dataset: Dataset
    prompts: PromptFeatures | None  # None: of methods that read none
    target: str
    variant: Variant
    config: TrainConfig
    window: int | None
    dims: dict[str, Any] = field(default_factory=dict)  # for all variants: graph, regressor, width, ...
    total: bool = False  # whether the target is a total, so that T is an input of its head
    start: TargetHead | None = None  # a trained head to begin with, which needs no alignment
    looks_at_test: bool = False  # in each epoch, beside the split by which epochs are chosen

    @property
    def kind(self) -> type[Head]:
        return head_class(self.variant.model)

    def head_dims(self) -> HeadDims:
        """The method's own defaults, then what is asked for, then what the dataset and the variant say."""
        train = self.dataset.of_target(self.target, "train")
        sample = train[0]
        heard = [rows.shape[1] for routine in train if (rows := routine.audio) is not None]
        flows = [rows.shape[1] for routine in train if (rows := routine.flow) is not None]
        own = {
            "visual_dim": sample.visual.shape[1],
            "audio_dim": next(iter(heard), 0),
            "flow_dim": next(iter(flows), 0),
            "actions": 1,
            "length": self.total,
        }
        changes = {**self.dims, **self.variant.dims}
        if self.prompts and changes.get("language", True):
            own |= {"text_dim": self.prompts.features.shape[1], "actions": self.prompts.actions(bool(heard))}
        if self.kind.takes_tokens and sample.tokens and all(routine.tokens for routine in train):
            own["tokens"] = sample.tokens().shape[1]
        if self.kind.Dims.clips:  # its tensors are sized by T
            longest = max(len(routine.visual) for routine in train)
            own["clips"] = self.window or min(longest, MOST_WINDOW)
        if not heard or self.kind.visual_only:
            changes["audio_dim"] = 0
        if not self.kind.takes_flow:
            changes["flow_dim"] = 0
        return self.kind.Dims(**{**own, **changes})

    def run(self, placement: Placement, folder: Path, watch: Watch = SILENT) -> Trained:
        """Trains it in `folder`, or resumes the run there.

        Raises:
            DataError: the dataset, or a run of other settings in that folder, doesn't fit; or another process trains
                there.
            DeviceError: only deterministic algorithms are taken, and the device has none for one of its operations.
        """
        with alone_in(folder), refusing_chance():
            return self._run(placement, folder, watch)

    def _run(self, placement: Placement, folder: Path, watch: Watch) -> Trained:
        dims, config = self.head_dims(), self.config
        if begun := dims_of_run(folder):  # a run of mlavl 0.1 resumes with its own order
            dims = replace(dims, grade_order=begun.grade_order)
        config = replace(config, loss=replace(config.loss, **self.variant.loss))
        if self.start:
            config = replace(config, align_epochs=0, start=_digest_of(self.start.model))
        score_range = self.dataset.ranges[self.target]
        names = ["train", self.dataset.judged_split, *(["test"] if self.looks_at_test else [])]
        splits = [self.dataset.of_target(self.target, split) for split in names]
        _same_widths([routine for split in splits for routine in split], self.dataset.name)
        everything = [routine for split in splits for routine in split]
        _bounded(self.kind, dims, everything, self.window_of(dims), config.batch_size)
        window, pads, tokens = self.window_of(dims), self.kind.pads(dims), dims.tokens > 1
        size = config.batch_size
        if self.kind.fits:  # which learns from all at once
            size = min(size, most_together(everything, window, dims.tokens))
        train, judged, *tested = (
            Batches(routines, self.target, score_range, size, window, pads, tokens) for routines in splits
        )
        text = None
        if dims.language:
            if self.prompts is None:
                raise UsageError(f"{self.variant.name} reads prompts", hint="Give their features.")
            text = self.prompts.rows(dims, self.kind.prompt_kind == "actions")
        build = partial(_begun, self.kind, dims, text, self.start)
        return train_head(build, train, judged, config, placement, folder, watch, tested[0] if tested else None)

    def window_of(self, dims: HeadDims) -> int | None:
        """Clips of a routine: those of the job, or as many as the method's tensors are sized by."""
        return dims.clips or self.window

    def head(self, trained: Trained) -> TargetHead:
        """The trained model as a head of a bundle."""
        return self.head_of(trained.model.cpu())

    def head_of(self, model: Head) -> TargetHead:
        """A model with what its numbers mean."""
        window, words = self.window_of(model.dims), grade_names(model.dims.grades)
        head = TargetHead(model, self.target, self.dataset.ranges[self.target], words, window=window)
        if not (self.prompts and model.dims.language):
            return head
        texts = self.prompts.texts(model.dims, model.prompt_kind == "actions")
        return replace(head, prompts=texts, full_stop=self.prompts.encoded.full_stop)

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


def _begun(kind: type[Head], dims: HeadDims, text: torch.Tensor | None, start: TargetHead | None) -> Head:
    """A new model, or a copy of a trained one of the same sizes.

    Raises:
        WeightsError: the trained one is of another method or of other sizes, or was trained with other prompts.
    """
    model = kind(dims, text)
    if start is None:
        return model
    was = start.model
    if type(was) is not kind or replace(was.dims, dropout=dims.dropout) != dims:
        cause = f"the {start.target} head to start from is of another method or of other sizes"
        raise WeightsError(cause, hint="Repeat the settings that it was trained with.")
    tensors = was.state_dict()
    if text is not None and not torch.allclose(tensors.get("text_features", text), text, atol=1e-2):
        raise WeightsError(f"the {start.target} head to start from was trained with other prompts")
    model.load_state_dict(tensors)
    return model


def _digest_of(model: Head) -> str:
    """SHA-256 of a model's tensors."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)}".encode())
        found.update(tensor.float().contiguous().numpy().tobytes())
    return found.hexdigest()


_MOST_PAIRS = 12 << 20  # of clips that a batch compares with each other; each takes some 130 bytes
_MOST_LEARNED = 150_000_000  # which take 2.4 GB with their gradients and moments


def _same_widths(routines: list[Routine], name: str) -> None:
    widths: dict[str, set[int]] = {}
    for routine in routines:
        tables = {"visual": routine.visual, "audio": routine.audio, "flow": routine.flow, **routine.statistics}
        for kind, rows in tables.items():
            if rows is not None:
                widths.setdefault(kind, set()).add(rows.shape[1])
    for kind, found in widths.items():
        if len(found) > 1:
            raise DataError(f"{name}: {kind} features have different widths: {sorted(found)}")


def _bounded(kind: type[Head], dims: HeadDims, routines: list[Routine], window: int | None, batch_size: int) -> None:
    """What learning would take without end, told before it begins.

    Raises:
        DataError: routines of very many clips without a window, or features so wide that the head would be huge.
    """
    longest = max(routines, key=lambda routine: len(routine.visual))
    if window is not None and window > MOST_WINDOW:
        raise DataError(f"a window of {window} clips is longer than {MOST_WINDOW}", hint="Give a shorter --window.")
    if window is None and len(longest.visual) > MOST_CLIPS:
        cause = f"{longest.id} has {len(longest.visual)} clips; heads learn from {MOST_CLIPS} at the most"
        raise DataError(cause, hint="Give --window.")
    clips, together = window or len(longest.visual), min(batch_size, len(routines))
    if not kind.fits and together * clips**2 > _MOST_PAIRS:
        raise too_large(longest, together, _MOST_PAIRS // clips**2)
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in kind(dims).parameters())
    if count > _MOST_LEARNED:
        cause = f"a {kind.name} head on features {dims.visual_dim} wide has {count / 1e6:,.0f} million numbers to learn"
        raise DataError(f"{cause}, more than {_MOST_LEARNED / 1e6:.0f}", hint="Use narrower features.")
