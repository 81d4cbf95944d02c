"""mlavl evaluate: how good a bundle's heads are on a dataset."""

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlavl_cli.bundle import find_bundle
from mlavl_cli.cli import consistency_rows, console, dataset, options
from mlavl_cli.cli.outputs import refuse_taken
from mlavl_cli.cli.tables import Row, TableFormat, print_rows
from mlavl_cli.datasets.rows import GROUP
from mlavl_cli.output.plot import Sheet

if TYPE_CHECKING:
    from mlavl_cli.datasets.dataset import Dataset
    from mlavl_cli.training.evaluate import Evaluation


def evaluate(
    kind: dataset.KindArgument,
    path: dataset.PathArgument,
    weights: options.Weights = "mini",
    target: dataset.Targets = None,
    split: Annotated[str, typer.Option(help="train, val, calibration or test.")] = "test",
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for the 95 % intervals.")] = 1000,
    shift: Annotated[
        int, typer.Option(min=1, max=10_000, help="Clips by which the music is shifted to test consistency.")
    ] = 2,
    save: Annotated[bool, typer.Option("--save", help="Write metrics and consistency AUCs into the bundle.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Predicted against true scores, and how reliable: .png, .svg or .pdf.", dir_okay=False),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write each routine's true and predicted score as csv.", dir_okay=False)
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Routines a pass of a head.")] = 64,
    form: Annotated[TableFormat, typer.Option("--format", "-f", help="How the rows are printed.")] = "table",
    sport: dataset.SportOption = "skating",
    score_range: dataset.Ranges = None,
    group: dataset.Group = GROUP,
    features: dataset.Features = None,
    extract_again: dataset.ExtractAgain = False,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare a bundle's scores with the true ones: SRCC, MSE, R-l2, Pearson, and the AUCs of its consistency.

    AUCs: how often the true music's consistency is above that of another routine's music (swapped) and of its own
    music moved in time (shifted), for single clips and for whole routines.

    On a folder of `mlavl synthesize` also what only a simulator knows: consistency against its truth, and with music
    that is half a second late.

    mlavl evaluate fs1000 data/fs1000 --weights my-tes --save

    mlavl evaluate simulated skate --weights my-weights
    """
    given = SimpleNamespace(**locals())
    sheet = Sheet(plot) if plot else None
    dataset.check_labels(given, folds=True)  # rows without a split are those of split train
    refuse_taken({}, (predictions, plot))

    from mlavl_cli.features import apart

    apart.start()  # before torch is loaded
    with console.loading("libraries"):
        from mlavl_cli.device import place
        from mlavl_cli.training.evaluate import evaluate_bundle, learned_from, save_evaluation

    bundle = find_bundle(weights)
    dataset.refuse_inputs(given, [predictions, plot], bundle)
    simulated = kind == "simulated"
    data = dataset.load(given, bundle)
    found = evaluate_bundle(
        bundle, data, target or (), split, placement=place(device, "fp32"), batch_size=batch_size,
        bootstraps=bootstrap, shift=None if simulated else shift,
    )  # fmt: skip
    if told := learned_from(bundle, data, split):
        console.warning(f"{told}: the figures flatter them")
    rows, by_group = _rows(found, data), None
    if simulated:  # consistency is measured against its truth
        ids = [Path(routine.id).stem for routine in data.splits[split]]  # they are named by their paths, videos/ID.mp4
        by_group = consistency_rows.evaluated(bundle, path, ids, features, device)
        rows = consistency_rows.as_rows(rows, by_group)
    _print(rows, form, f"{bundle.name} on {data.name}, split {split}; average SRCC by Fisher's z")
    if predictions:
        _write_predictions(predictions, found)
    if save:
        aucs = {one.target: one.aucs for one in found if one.aucs}
        measured: dict[str, Any] | None = {"shift_clips": shift, "auc": aucs} if aucs else None
        measured = {"exam": by_group["all"], "groups": by_group} if by_group else measured
        save_evaluation(bundle, data, split, found, measured)
        console.note(f"written into {bundle.folder}")
    if sheet:
        pairs = {one.target: (one.true, one.predicted) for one in found}
        sheet.judgement(f"{bundle.name} on {data.name}, {split}", pairs)


def _rows(found: "list[Evaluation]", data: "Dataset") -> list[Row]:
    """A row a target, and behind several their average, beside the paper's figures."""
    from mlavl_cli.datasets.literature import paper_says

    told = [_row(one, paper_says(one.method, one.target, data)) for one in found]
    # One head may have no interval, no consistency, or too few routines to be ranked.
    columns = dict.fromkeys(key for row in told for key in row)
    rows = [{**columns, **row} for row in told]
    if len(rows) > 1:
        (method, *others) = {one.method for one in found}
        rows.append(_average(rows, (None, None) if others else paper_says(method, "average", data)))
    return rows


def _print(rows: list[Row], form: TableFormat, title: str) -> None:
    for at, part in enumerate(_narrow(rows) if form == "table" else [rows]):
        print_rows(part, form, "" if at else title, tight=form == "table")


def _narrow(rows: list[Row]) -> list[list[Row]]:
    """Tables that fit in 80 columns, one below the other."""
    about = [key for key in rows[0] if key.startswith(("AUC ", "R-l2", "Pearson", "MSE 95")) or "interval" in key]
    about += [key for key in rows[0] if key == "its width"]
    first = [{key: value for key, value in row.items() if key not in about} for row in rows]
    rest = [about[at : at + 4] for at in range(0, len(about), 4)]
    return [first, *([{"target": row["target"], **{key: row[key] for key in keys}} for row in rows] for keys in rest)]


def _row(one: "Evaluation", published: tuple[float | None, float | None]) -> Row:
    metrics = one.metrics
    row: Row = {"target": one.target, "n": metrics.n, "SRCC": metrics.told_srcc, "MSE": metrics.mse}
    row |= {"R-l2 x100": metrics.relative_l2, "Pearson": metrics.pearson}
    row |= {
        f"{name.upper()} 95 %": ends for name, ends in metrics.intervals.items() if metrics.ranked or name != "srcc"
    }
    if one.interval:
        interval, inside, width = one.interval
        row |= {f"in {interval.confidence:.0%} interval": inside, "its width": width}
    row |= {"paper's SRCC": published[0], "paper's MSE": published[1]}
    return row | {f"AUC {kind.replace('_', ', ')}": value for kind, value in (one.aucs or {}).items()}


def _average(rows: list[Row], published: tuple[float | None, float | None]) -> Row:
    from mlavl_cli.training.metrics import fisher_mean

    row = {}
    for key in rows[0]:
        values = [one[key] for one in rows]
        row[key] = sum(values) / len(values) if all(isinstance(value, float) for value in values) else None
    ranked = [r["SRCC"] for r in rows if r["SRCC"] is not None]
    row |= {"target": "average", "n": None, "SRCC": fisher_mean(ranked) if ranked else None}
    return row | {"paper's SRCC": published[0], "paper's MSE": published[1]}


def _write_predictions(path: Path, found: "list[Evaluation]") -> None:
    import csv

    from mlavl_cli.files import atomic_write, csv_text

    with atomic_write(path, "w", named=True) as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["id", "target", "true", "predicted"])
        for one in found:
            scores = zip(one.ids, one.true, one.predicted, strict=True)
            out.writerows(
                [csv_text(id), csv_text(one.target), f"{true:.4f}", f"{said:.4f}"] for id, true, said in scores
            )
