"""Many methods on one dataset, each with several seeds. Every cell is kept: a killed table resumes."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mlavl_cli.datasets.dataset import Dataset, chosen_targets
from mlavl_cli.datasets.splits import with_validation
from mlavl_cli.device import Placement
from mlavl_cli.errors import DataError, MlavlError, UsageError, one_line, refusing
from mlavl_cli.files import atomic_write, make_folder, refuse_irregular
from mlavl_cli.heads.base import Batch, Head
from mlavl_cli.training.bundle import TrainingOptions, run_folder
from mlavl_cli.training.evaluate import of_head
from mlavl_cli.training.jobs import Job
from mlavl_cli.training.metrics import measure
from mlavl_cli.training.prompt_features import PromptFeatures
from mlavl_cli.training.train import SILENT, Watch
from mlavl_cli.untrusted import refuse_links

CELL = "cell.json"
_MOST_BYTES, _MOST_NUMBER = 16 << 20, 1e15  # of a cell
_NUMBERS = ("seed", "parameters", "flops", "ms", "epoch", "srcc", "mse", "relative_l2", "best_srcc", "best_mse")
_TIMED = 5  # forward passes


@dataclass(frozen=True)
class Cell:
    """One method on one target with one seed, measured on the test split.

    Attributes:
        variant, target, seed: which.
        asked: what it was trained by and on; another answer is another cell.
        parameters: learned numbers.
        flops: of the forward pass of one routine of the usual number of clips.
        ms: of the same, on one routine.
        epoch: the best one on the validation split, from 1.
        predicted: (n,) the test split's scores by that epoch, in points.
        srcc, mse, relative_l2: of them.
        best_srcc, best_mse: of the best epoch on the test split for each, as published figures are chosen.
    """

    variant: str
    target: str
    seed: int
    asked: dict[str, Any]
    parameters: int
    flops: int
    ms: float
    epoch: int
    predicted: list[float]
    srcc: float
    mse: float
    relative_l2: float
    best_srcc: float
    best_mse: float


@dataclass(frozen=True)
class Table:
    """All cells, the true scores of the test split by target, and what couldn't be trained, with the cause."""

    cells: list[Cell]
    true: dict[str, np.ndarray]
    failed: dict[tuple[str, str], MlavlError]


def run_table(
    data: Dataset,
    prompts: PromptFeatures | None,
    output: str | Path,
    options: TrainingOptions,
    seeds: int,
    placement: Placement,
    watch: Callable[[Job, Path], AbstractContextManager[Watch]] | None = None,
) -> Table:
    """Trains every variant on every target with seeds 0, 1, ... in turn; cells that are there already are read.

    Epochs are chosen on a validation split (`with_validation`). A method that can't be trained on this dataset leaves
    its cells empty, and the others go on.

    Args:
        data, prompts, options: as `train_bundle` takes them.
        output: gets runs/TARGET/VARIANT/seed-N, with the run's states and its cell.
        seeds: how many.
        placement: where.
        watch: called with each job and its folder: a context whose `Watch` is called with its epochs.

    Raises:
        UsageError: heads to start from, or no such target.
        DataError: no validation split can be cut.
    """
    output, data = Path(output), with_validation(data)
    refuse_links(output / "runs")
    targets = chosen_targets(options.targets, data.targets, data.combined)
    if options.start_from:
        raise UsageError("a table begins anew: it takes no heads to start from")
    options.refuse_other_totals(targets)
    true = {
        target: np.array([routine.scores[target] for routine in data.of_target(target, "test")]) for target in targets
    }
    window = data.window if options.window == "auto" else options.window
    make_folder(output)
    cells: list[Cell] = []
    failed: dict[tuple[str, str], MlavlError] = {}
    for job, seed in _jobs(data, prompts, targets, options, window, seeds):
        if (job.variant.name, job.target) in failed:
            continue
        folder = run_folder(output, job) / f"seed-{seed}"
        try:
            cells.append(_read(folder, job) or _train(folder, job, placement, watch))
        except UsageError:
            raise
        except MlavlError as error:
            failed[job.variant.name, job.target] = error
        # torch's and sklearn's: of this method, not of others
        except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
            failed[job.variant.name, job.target] = DataError(f"it can't be trained on this ({one_line(str(error))})")
    return Table(cells, true, failed)


def _jobs(
    data: Dataset,
    prompts: PromptFeatures | None,
    targets: list[str],
    options: TrainingOptions,
    window: int | None,
    seeds: int,
) -> Iterator[tuple[Job, int]]:
    """All variants with the first seed, then with the second: a table is whole early, and its spread comes later."""
    for seed in range(seeds):
        seeded = replace(options, config=replace(options.config, seed=options.config.seed + seed))
        for target in targets:
            for variant in options.variants:
                job = seeded.job(data, prompts, target, variant, window)
                yield replace(job, looks_at_test=True), seed


def _asked(job: Job) -> dict[str, Any]:
    splits = [job.dataset.of_target(job.target, name) for name in ("train", "val", "test")]
    content = [[(one.id, one.scores[job.target], one.digest) for one in split] for split in splits]
    prompts = ""
    if job.prompts and job.head_dims().language:
        prompts = hashlib.sha256(job.prompts.features.contiguous().numpy().tobytes()).hexdigest()
    asked: dict[str, Any] = {"dims": asdict(job.head_dims()), "config": asdict(job.config), "loss": job.variant.loss}
    asked["range"] = job.dataset.ranges[job.target]
    asked["routines"] = list(map(len, splits))
    asked["content"] = hashlib.sha256(json.dumps([content, prompts]).encode()).hexdigest()
    known: dict[str, Any] = json.loads(json.dumps(asked | {"dataset": job.dataset.name, "window": job.window}))
    return known


def _read(folder: Path, job: Job) -> Cell | None:
    """A finished cell that was asked for in the same way.

    Raises:
        MlavlError: it can't be read.
    """
    path = folder / CELL
    if not path.exists():
        return None
    with refusing(MlavlError, "is no cell of a table, or a damaged one", path, "Delete it."):
        refuse_irregular(path, _MOST_BYTES)
        cell = Cell(**json.loads(path.read_text()))
        if cell.asked != _asked(job):
            return None
        given = (cell.variant, cell.target, len(cell.predicted))
        if given != (job.variant.name, job.target, len(job.dataset.of_target(job.target, "test"))):
            raise ValueError("of another method")
        numbers = [*cell.predicted, *(getattr(cell, name) for name in _NUMBERS)]
        if not all(type(value) in (int, float) and (abs(value) <= _MOST_NUMBER or value != value) for value in numbers):
            raise TypeError("not numbers")
        return cell


def _train(
    folder: Path, job: Job, placement: Placement, watch: Callable[[Job, Path], AbstractContextManager[Watch]] | None
) -> Cell:
    with watch(job, folder) if watch else nullcontext(SILENT) as callbacks:
        trained = job.run(placement, folder, callbacks)
    assert trained.tested is not None
    true = np.array([routine.scores[job.target] for routine in job.dataset.of_target(job.target, "test")])
    metrics = measure(trained.tested, true)
    history = trained.history
    best = max(range(len(history)), key=lambda i: (history[i].rank, -i))
    of_test = [
        epoch.test_srcc for epoch in history if epoch.test_srcc is not None and epoch.test_srcc == epoch.test_srcc
    ]
    flops, ms = cost(trained.model.eval(), job, placement)
    cell = Cell(
        job.variant.name, job.target, job.config.seed, _asked(job),
        sum(parameter.numel() for parameter in trained.model.parameters()), flops, ms, best + 1,
        trained.tested.tolist(), metrics.srcc, metrics.mse, metrics.relative_l2,
        max(of_test, default=float("nan")),
        min((epoch.test_mse for epoch in history if epoch.test_mse is not None), default=float("nan")),
    )  # fmt: skip
    with atomic_write(folder / CELL, "w") as file:
        json.dump(asdict(cell), file)
    return cell


@torch.no_grad()
def cost(model: Head, job: Job, placement: Placement) -> tuple[int, float]:
    """Floating-point operations (two a multiplication and addition) and ms of one routine of the median length."""
    routines = sorted(job.dataset.of_target(job.target, "test"), key=lambda routine: len(routine.visual))
    model.requires_grad_(False)  # which the counter doesn't expect
    batch = next(of_head(job.head_of(model), routines[len(routines) // 2 :][:1], 1).in_order()).to(placement.device)
    flops = operations(model, batch)
    times = []
    for _ in range(_TIMED):
        begin = time.perf_counter()
        model.of(batch).score.cpu()
        times.append(time.perf_counter() - begin)
    return flops, 1000 * sorted(times)[_TIMED // 2]


def operations(model: Head, batch: Batch) -> int:
    """By torch's counter, which knows no fast paths of transformers and of attention, and only some of the LSTMs'
    kernels; so LSTMs are counted here.
    """
    recurrent = 0

    def count(lstm: Any, inputs: Any, _: Any) -> None:
        nonlocal recurrent
        recurrent += 2 * inputs[0].shape[:2].numel() * 4 * lstm.hidden_size * (lstm.input_size + lstm.hidden_size)

    lstms = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.LSTM)}
    hooks = [module.register_forward_hook(count) for module in lstms.values()]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model.of(batch)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for hook in hooks:
            hook.remove()
    found, root = counter.get_flop_counts(), type(model).__name__
    seen = sum(sum(found.get(f"{root}.{name}", {}).values()) for name in lstms)
    return counter.get_total_flops() - seen + recurrent
