"""One head, one target: the loop. Batches, losses, the best epochs by SRCC and by MSE, and exact resume."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mlavl_cli.device import Placement
from mlavl_cli.errors import DataError
from mlavl_cli.files import atomic_write
from mlavl_cli.heads.base import Batch, Head, added
from mlavl_cli.heads.mlavl.losses import LossWeights
from mlavl_cli.training.align import align
from mlavl_cli.training.batches import Batches, content_of, features_of
from mlavl_cli.training.config import TrainConfig
from mlavl_cli.training.evaluate import consistency_aucs, predict
from mlavl_cli.training.history import Epoch, history_of, log_csv
from mlavl_cli.training.metrics import Metrics, measure
from mlavl_cli.training.recipes import OPTIMIZERS, rate
from mlavl_cli.training.state import LAST, fill, load_state, meant_settings, moments_of, refusing_state, save_state


@dataclass(frozen=True)
class Watch:
    """Callbacks: each epoch with all so far, and how many passes of the alignment are done."""

    on_epoch: Callable[[Epoch, list[Epoch]], None] | None = None
    on_align: Callable[[int], None] | None = None


SILENT = Watch()


@dataclass(frozen=True)
class Trained:
    """The model of the best epoch, its metrics, and all epochs.

    `tested`: the scores (n,) that it gives the test split, in points, where that was looked at.
    """

    model: Head
    metrics: Metrics
    history: list[Epoch]
    tested: np.ndarray | None = None


def train_head(
    build: Callable[[], Head],
    train: Batches,
    judged: Batches,
    config: TrainConfig,
    placement: Placement,
    folder: Path,
    watch: Watch = SILENT,
    tested: Batches | None = None,
) -> Trained:
    """Trains one model, or resumes a killed run, with the same losses as if it had not stopped.

    Args:
        build: makes the model, after the seed was set.
        train, judged: the training split, and the one on which the best epoch is chosen.
        config: the recipe.
        placement: device, and the number format of the forward pass.
        folder: RUNS/TARGET/VARIANT, gets `last.pt`, `best_srcc.pt` and `log.csv`; RUNS gets what the
            targets share.
        watch: callbacks.
        tested: the test split, to be looked at in each epoch beside the one by which epochs are chosen.

    Raises:
        DataError: the folder holds a run with other settings; or the loss is no number any more.
    """
    torch.manual_seed(config.seed)
    model = build().to(placement.device)
    run = _Run(model, (train, judged, tested), config, placement, folder)
    run.resume()
    kind = f"{folder.name}-length" if model.dims.length else folder.name  # heads of one kind begin with the same
    run.align(folder.parents[1] / f"aligned-{kind}.pt", watch.on_align)
    while not run.finished:
        history = run.epoch()
        if watch.on_epoch:
            watch.on_epoch(history[-1], history)
    run.save()
    fill(model, folder / "best_srcc.pt")
    found = [split.points(predict(model, split, placement)) if split else None for split in (judged, tested)]
    assert found[0] is not None
    return Trained(model, measure(found[0], judged.true()), run.history, found[1])


class _Run:
    """A training run's moving parts, all of which a saved state holds."""

    def __init__(
        self,
        model: Head,
        splits: tuple[Batches, Batches, Batches | None],
        config: TrainConfig,
        placement: Placement,
        folder: Path,
    ):
        self.model, self.config, self.placement, self.folder = model, config, placement, folder
        train, self.judged, self.tested = splits
        self.train = train
        self.content = content_of(splits, model.prompts_read())
        model.prepare(train.labels)
        make = OPTIMIZERS[config.optimizer]
        self.optimizer = make(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        course = partial(
            rate, epochs=config.epochs, schedule=config.schedule, warmup=config.warmup, milestones=config.milestones
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, course)
        self.scaler = torch.amp.GradScaler(enabled=placement.dtype == torch.float16)
        self.history: list[Epoch] = []
        self.best = {"rank": -math.inf}
        silent = sum(sound is None for sound in train.audio)
        self.consistent = config.loss.consistency > 0 and silent < len(train.audio) and model.judges_consistency
        if self.consistent and silent:
            cause = f"{silent} training routines have no sound, and the consistency objective needs everybody's"
            raise DataError(cause, hint="Leave them out, or leave out --lambda-c.")
        self.aligned = not self.consistent

    def align(self, kept: Path, on_align: Callable[[int], None] | None) -> None:
        """Once, before the first epoch; the result is kept for the other targets, which would get the same."""
        if self.aligned or not self.config.align_epochs:
            return
        config = self.config
        asked = {
            **{name: value for name, value in self._settings().items() if name not in ("config", "content")},
            **{name: getattr(config, name) for name in ("align_epochs", "lr", "seed", "batch_size")},
            "content": features_of(self.train, self.model.prompts_read()),  # the same for all targets
        }
        state = load_state(kept, f"Delete {kept.name}.") if kept.exists() else {}
        with refusing_state(kept, f"Delete {kept.name}."):
            known = bool(state.get("asked") == asked)
            if known:
                self.model.load_state_dict(state["model"])
        if not known:
            align(self.model, self.train, config.align_epochs, config.lr, config.seed, on_align)
            save_state(kept, {"asked": asked, "model": self.model.state_dict()})
        torch.manual_seed(config.seed)  # the same from here on, whoever aligned
        self.aligned = True

    @property
    def finished(self) -> bool:
        done, patience = len(self.history), self.config.patience
        if patience and done:
            best = max(range(done), key=lambda i: self.history[i].rank)
            if done - 1 - best >= patience:
                return True
        return done >= (1 if self.model.fits else self.config.epochs)

    def epoch(self) -> list[Epoch]:
        """One pass over the training split and one look at the others."""
        number = len(self.history)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)
        means = self._fitted() if self.model.fits else self._learned(generator)
        loss = sum(means.values())
        if not math.isfinite(loss):
            raise DataError(f"the loss is {loss} after epoch {number + 1}", hint="Lower --lr, or set --clip-grad 1.")
        if not self.model.fits:
            self.schedule.step()
        if self.model.exemplar_count:
            self.model.remember(self.train.spread(self.model.exemplar_count).to(self.placement.device))
        metrics, tested = self._look(self.judged), self._look(self.tested) if self.tested else None
        aucs = consistency_aucs(self.model, self.judged, self.placement) if self.consistent else None
        found = [value for name, value in (aucs or {}).items() if name.endswith("_clip") and not math.isnan(value)]
        auc = sum(found) / len(found) if found else None
        of_test = (tested.srcc, tested.mse) if tested else (None, None)
        self.history.append(Epoch(number + 1, loss, means, metrics.srcc, metrics.mse, auc, *of_test))
        self._keep_best()
        if len(self.history) % self.config.save_every == 0:
            self.save()
        return self.history

    def _look(self, split: Batches) -> Metrics:
        return measure(split.points(predict(self.model, split, self.placement)), split.true())

    def _learned(self, generator: torch.Generator) -> dict[str, float]:
        """One pass over the training split -> the means of the loss's terms."""
        self.model.train()
        sums: dict[str, torch.Tensor] = {}
        seen = 0
        for step, batch in enumerate(self.train.shuffled(generator)):
            if (
                batch.visual.shape[:2].numel() == 1
            ):  # of one clip alone, the only one of its kind, no mean can be learned
                continue
            weights = self.config.loss
            if step % self.config.consistency_every:
                weights = replace(weights, consistency=0.0)
            terms = self._step(batch.to(self.placement.device), weights, generator)
            for name, value in terms.items():  # summed on the device: no synchronisation inside the epoch
                sums[name] = sums.get(name, 0) + value.detach() * len(batch.label)
            seen += len(batch.label)
        if not seen:
            raise DataError("its training routines are of one clip, alone of their kind", hint="Give longer ones.")
        return {name: float(value) / seen for name, value in sums.items()}

    def _fitted(self) -> dict[str, float]:
        """The whole training split at once, for a model that doesn't learn in epochs."""
        means = self.train.means().to(self.placement.device)
        self.model.fit(means)
        with torch.no_grad():
            terms = self.model.loss(self.model.of(means), means)
        return {name: float(value) for name, value in terms.items()}

    def _step(self, batch: Batch, weights: LossWeights, generator: torch.Generator) -> dict[str, torch.Tensor]:
        mixed = self.placement.dtype != torch.float32
        with torch.autocast(self.placement.device.type, self.placement.dtype) if mixed else nullcontext():
            output = self.model.of(batch)
            terms = self.model.loss(output, batch, weights, generator)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(added(terms)).backward()
        if self.config.clip_grad:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return terms

    def _keep_best(self) -> None:
        last = self.history[-1]
        if last.rank > self.best["rank"] or len(self.history) == 1:
            self.best["rank"] = last.rank
            save_state(self.folder / "best_srcc.pt", self.model.state_dict())

    def _settings(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        return {
            "model": self.model.name,
            "dims": asdict(self.model.dims),
            "config": asdict(self.config),
            "routines": len(self.train.routines),
            "window": self.train.window,
            "content": self.content,
        }

    def save(self) -> None:
        """The whole state, and the log."""
        save_state(
            self.folder / LAST,
            {
                "settings": self._settings(),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self.scaler.state_dict(),
                "random": torch.get_rng_state(),
                "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                "history": [asdict(epoch) for epoch in self.history],
                "best": self.best,
                "aligned": self.aligned,
            },
        )
        with atomic_write(self.folder / "log.csv", "w") as file:
            file.write(log_csv(self.history))

    def resume(self) -> None:
        """Goes back to the last saved state, if there is one."""
        path = self.folder / LAST
        if not path.exists():
            return
        state = load_state(path)
        with refusing_state(path):
            # mlavl 0.1 didn't say what a run learns from.
            was = meant_settings({"content": self.content, **state["settings"]}, path)
            now = meant_settings(self._settings(), path)
            if was["config"].epochs < self.config.epochs:  # a run may be made longer
                was["config"] = replace(was["config"], epochs=self.config.epochs)
            if was != now:
                changed = ", ".join(key for key in now if was.get(key) != now[key])
                hint = "Repeat its settings to resume it, or choose another --output."
                raise DataError(f"holds a run with other settings ({changed})", path=self.folder, hint=hint)
            self._restore(state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.history = history_of(state["history"], self.config.epochs)
        # Rates follow from the epochs done; of the optimizer only what it learned is taken.
        self.schedule.last_epoch = len(self.history)
        groups = self.optimizer.state_dict()["param_groups"]
        for group, base, course in zip(groups, self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True):
            group["lr"] = base * course(len(self.history))
        moments = moments_of(state["optimizer"]["state"], self.config.optimizer, list(self.model.parameters()))
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"]:
            torch.cuda.set_rng_state_all([one.cpu() for one in state["random_cuda"]])
        self.best, self.aligned = {"rank": float(state["best"]["rank"])}, bool(state["aligned"])
