"""A dataset -> heads in a bundle: what `mlavl train` does, as one function."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from mlavl_cli.bundle import Bundle, find_bundle
from mlavl_cli.datasets.dataset import Dataset, chosen_targets
from mlavl_cli.datasets.videos import names_of
from mlavl_cli.device import Placement, place
from mlavl_cli.errors import UsageError
from mlavl_cli.files import make_folder
from mlavl_cli.heads.checkpoint import TargetHead, load_head
from mlavl_cli.scoring.domain import learned_by, short
from mlavl_cli.scoring.interval import Interval
from mlavl_cli.training.config import TrainConfig
from mlavl_cli.training.evaluate import learned_from
from mlavl_cli.training.jobs import Job
from mlavl_cli.training.prompt_features import PromptFeatures
from mlavl_cli.training.published import published_config, published_dims
from mlavl_cli.training.train import SILENT, Trained, Watch
from mlavl_cli.training.variants import Variant
from mlavl_cli.training.write import About, refuse_other_backbones, refuse_other_data, write_heads
from mlavl_cli.untrusted import refuse_links


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What is trained, and what is said of it.

    Attributes:
        targets: TES, PCS, ...; empty: each of the dataset's.
        variants: methods or rows of a table; of a single one the heads are saved.
        config: the recipe of the loop.
        dims: sizes and switches of all heads (heads/dims.py).
        published: whether methods other than MLAVL are trained as their public code does (published.py).
        given: fields of `config` that stay as they are all the same.
        window: clips of a routine; None: all, masked; auto: the dataset's own.
        totals: targets that grow with the programme, whose heads take T as an input.
        start_from: a bundle whose heads the training begins with; None: anew.
        trained_on: the sentence shown with every score; None: made from the dataset.
        licence: of the weights.
        half: whether the heads' matrices are written in 16 bits.
    """

    targets: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = (Variant("mlavl"),)
    config: TrainConfig = field(default_factory=TrainConfig)
    dims: dict[str, Any] = field(default_factory=dict)
    published: bool = False
    given: frozenset[str] = frozenset()
    window: int | Literal["auto"] | None = "auto"
    totals: tuple[str, ...] = ()
    start_from: str | Path | None = None
    trained_on: str | None = None
    licence: str = "not stated"
    half: bool = False

    @property
    def reads_prompts(self) -> bool:
        """Whether any of the variants does."""
        return any((self.dims | variant.dims).get("language", True) for variant in self.variants)

    def refuse_other_totals(self, targets: list[str]) -> None:
        """Raises:
        UsageError: one of `totals` isn't trained.
        """
        if unknown := set(self.totals) - set(targets):
            raise UsageError(f"--total {unknown.pop()}: no such target is trained here")

    def about(self, data: Dataset) -> About:
        """What the bundle will say of the heads, but for what is measured."""
        counts = ", ".join(f"{len(found)} {name}" for name, found in data.splits.items())
        made = f"{data.name} ({counts}); features: {names_of(find_bundle(data.backbones))}"
        if self.start_from:
            made += f"; begun with heads trained on {find_bundle(self.start_from).trained_on}"
        return About(self.trained_on or made, self.licence)

    def job(
        self,
        data: Dataset,
        prompts: PromptFeatures | None,
        target: str,
        variant: Variant,
        window: int | None,
        start: TargetHead | None = None,
    ) -> Job:
        """One head of these options."""
        config, dims = self.config, self.dims
        if self.published:
            known = data.public.name if data.public else ""
            recipe = published_config(variant.model, target, known)
            config = replace(config, **{name: value for name, value in recipe.items() if name not in self.given})
            dims = published_dims(variant.model, target, known) | dims
        return Job(data, prompts, target, variant, config, window, dims, target in self.totals, start)


@dataclass(frozen=True)
class TrainedBundle:
    """All that was trained, and the bundle that holds it.

    Attributes:
        runs: every job with what came of it.
        bundle: None where several variants were compared, of which none is saved.
    """

    runs: list[tuple[Job, Trained]]
    bundle: Bundle | None = None


def train_bundle(
    data: Dataset,
    prompts: PromptFeatures | None,
    output: str | Path,
    options: TrainingOptions,
    placement: Placement | None = None,
    watch: Callable[[Job, Path], AbstractContextManager[Watch]] | None = None,
    known: tuple[dict[str, Any], dict[str, Interval]] | None = None,
) -> TrainedBundle:
    """Trains a head for each target and variant; calling it again resumes a killed run.

    Args:
        data: routines with their scores.
        prompts: the prompts' features; None where no variant reads them.
        output: the bundle's folder; states and logs are kept in its runs/.
        options: what to train.
        placement: where; None: the fastest device there is, in fp32.
        watch: called with each job and its folder: a context whose `Watch` is called with its epochs.
        known: metrics and intervals by target, where they were measured otherwise (folds.py).

    Raises:
        UsageError: no such target, or no prompts for a method that reads them.
        DataError: the dataset, or a run of other settings in the folder, doesn't fit.
        WeightsError: the folder holds heads on other backbones or of other data, or the heads to start from don't fit.
    """
    output, placement = Path(output), placement or place(precision="fp32")
    for name in ("heads", "backbones", "runs"):  # before hours of work
        refuse_links(output / name)
    targets = chosen_targets(options.targets, data.targets, data.combined)
    options.refuse_other_totals(targets)
    saved = len(options.variants) == 1
    base = find_bundle(data.backbones)
    if saved:
        refuse_other_backbones(output, base)
        refuse_other_data(output, targets, options.about(data), data.frame_rate)
    begun = _heads_of(options.start_from, targets) if options.start_from else {}
    window = data.window if options.window == "auto" else options.window
    start = find_bundle(options.start_from) if options.start_from else None
    known_before = bool(start and learned_from(start, data, data.calibration_split))  # which would be too sure of them
    calibrates = saved and find_spec("crepes") is not None and not known_before
    make_folder(output)
    runs, heads, metrics, intervals = [], {}, {}, {}
    for target in targets:
        for variant in options.variants:
            job = options.job(data, prompts, target, variant, window, begun.get(target))
            folder = run_folder(output, job)
            with watch(job, folder) if watch else nullcontext(SILENT) as callbacks:
                trained = job.run(placement, folder, callbacks)
            runs.append((job, trained))
            if saved:
                heads[target] = head = job.head(trained)
                if known:
                    continue
                metrics[target] = {"split": data.judged_split, **trained.metrics.to_dict()}
                if calibrates and (interval := job.interval(head, place("cpu"))):
                    intervals[target] = interval
    if not saved:
        return TrainedBundle(runs)
    if known:
        metrics, intervals = known
    taught = data.splits["train"] + (data.splits.get("val", []) if known else [])  # folds judge all, and learn from all
    learned = [short(digest) for one in taught for digest in one.digests]
    learned += learned_by(start.domain) if start and start.domain else []
    about = replace(options.about(data), metrics=metrics, intervals=intervals, learned=tuple(learned))
    bundle = write_heads(output, base, heads, about, data, options.half)
    return TrainedBundle(runs, bundle)


def _heads_of(weights: str | Path, targets: list[str]) -> dict[str, TargetHead]:
    """The heads of a bundle that the training is to begin with."""
    bundle = find_bundle(weights)
    if missing := [name for name in targets if name not in bundle.heads]:
        raise UsageError(f"{weights} has no head for {', '.join(missing)} to start from", hint="Give --target.")
    return {name: load_head(bundle.heads[name], name) for name in targets}


def run_folder(output: Path, job: Job) -> Path:
    """Where a job's states and logs are kept."""
    name = "".join(c if c.isalnum() else "-" for c in job.variant.name).strip("-").lower()
    return output / "runs" / job.target / name
