"""Progress of a training run: a bar on a terminal, a few lines elsewhere, and TensorBoard."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import typer

from mlavl_cli.cli import console

if TYPE_CHECKING:
    from mlavl_cli.training.jobs import Job
    from mlavl_cli.training.train import Watch


@contextmanager
def report_progress(job: "Job", writer: Any) -> Iterator["Watch"]:
    """Reports each epoch: a bar on a terminal, ten lines elsewhere; and TensorBoard."""
    from mlavl_cli.training.train import Watch

    label, total = f"{job.target} {job.variant.name}", job.config.epochs
    with ExitStack() as stack:
        bar = stack.enter_context(console.bar("said"))
        task = bar.add_task(label, total=total, said="") if bar else None
        if writer:
            stack.callback(writer.close)

        def on_epoch(epoch: Any, history: list[Any]) -> None:
            best = max((e.srcc for e in history if e.srcc == e.srcc), default=float("nan"))
            terms = ", ".join(f"{name} {value:.4f}" for name, value in epoch.terms.items())
            said = f"{epoch.epoch}/{total}  {terms}  SRCC {epoch.srcc:.3f} (best {best:.3f})  MSE {epoch.mse:.3f}"
            said += "" if epoch.auc is None else f"  AUC {epoch.auc:.3f}"
            if bar:
                bar.update(task, completed=epoch.epoch, said=said)
            elif not console.quiet and epoch.epoch % max(total // 10, 1) == 0:
                typer.echo(f"{label}  {said}", err=True)
            if writer:
                learned = {f"train/{name}": value for name, value in {"loss": epoch.loss, **epoch.terms}.items()}
                judged = {"srcc": epoch.srcc, "mse": epoch.mse, "auc": epoch.auc}
                judged = {f"{job.dataset.judged_split}/{name}": value for name, value in judged.items()}
                for name, value in (learned | judged).items():
                    if value is not None:
                        writer.add_scalar(name, value, epoch.epoch)

        def on_align(done: int) -> None:
            all_of_it = 4 * job.config.align_epochs
            if bar:
                bar.update(task, said=f"alignment {done}/{all_of_it}")
            elif not console.quiet and done % max(all_of_it // 5, 1) == 0:
                typer.echo(f"{label}  alignment {done}/{all_of_it}", err=True)

        yield Watch(on_epoch, on_align)
