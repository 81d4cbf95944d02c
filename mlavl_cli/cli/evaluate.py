"""mlavl evaluate: how good a bundle's heads are on a dataset."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mlavl_cli.cli import console, dataset, exam, options, plots
from mlavl_cli.cli.tables import Row, TableFormat, print_rows
from mlavl_cli.errors import UsageError


def evaluate(
    kind: dataset.KindArgument,
    path: dataset.PathArgument,
    weights: options.Weights = "mini",
    target: dataset.Targets = None,
    split: Annotated[str, typer.Option(help="train, val, calibration or test.")] = "test",
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for the 95 % intervals.")] = 1000,
    shift: Annotated[int, typer.Option(min=1, help="Clips by which the music is shifted to test consistency.")] = 2,
    save: Annotated[bool, typer.Option("--save", help="Write metrics and consistency AUCs into the bundle.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Predicted against true scores, and how reliable: .png, .svg or .pdf.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write each routine's true and predicted score as csv.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2)] = 64,
    form: Annotated[TableFormat, typer.Option("--format", "-f")] = TableFormat.table,
    sport: dataset.SportOption = dataset.Sport.skating,
    score_range: dataset.Ranges = None,
    features: dataset.Features = None,
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
    ranges = dataset.parse_ranges(score_range)
    sheet = plots.Sheet(plot) if plot else None

    from mlavl_cli.features import apart

    apart.start()  # before torch is loaded

    from dataclasses import replace

    import numpy as np

    from mlavl_cli.bundle import find_bundle, write_bundle
    from mlavl_cli.datasets.load import load_dataset
    from mlavl_cli.device import place
    from mlavl_cli.heads.checkpoint import load_head
    from mlavl_cli.scoring.interval import load_intervals
    from mlavl_cli.training.batches import Batches
    from mlavl_cli.training.evaluate import check_widths, consistency_aucs, scored
    from mlavl_cli.training.metrics import fisher_mean, measure

    bundle = find_bundle(weights)
    simulated = kind is dataset.Kind.simulated
    placement = place(device, "fp32")
    data = load_dataset(kind.value, path, place(device), weights, sport.value, ranges, features)
    there = [name for name in data.ranges if name in bundle.heads]
    if not there:
        heads, labels = (", ".join(names) or "none" for names in (bundle.heads, data.targets))
        raise UsageError(f"{bundle.name} has heads for {heads}; {data.name} has scores of {labels}")

    intervals = load_intervals(bundle)
    rows: list[Row] = []
    aucs: dict[str, dict[str, float]] = {}
    pairs: dict[str, tuple[Any, Any, list[str]]] = {}
    metrics: dict[str, Any] = dict(bundle.metrics)
    for name in dataset.chosen_targets(target, there, data.combined):
        head = load_head(bundle.heads[name])
        head.model.to(placement.device)
        routines = data.of_target(name, split)
        check_widths(head, routines)
        batches = Batches(routines, name, head.score_range, batch_size, head.window)
        true = np.array([routine.scores[name] for routine in routines])
        predicted = scored(head, routines, batch_size, placement)
        found = measure(predicted, true, bootstrap)
        pairs[name] = (true, predicted, [routine.id for routine in routines])
        published = data.published.get(name, (None, None))
        row: Row = {"target": name, "n": found.n, "SRCC": found.srcc, "MSE": found.mse}
        row |= {"R-l2 x100": found.relative_l2, "Pearson": found.pearson}
        if bootstrap:
            row |= {f"{m} 95 %": "{:.3f} to {:.3f}".format(*found.intervals[m.lower()]) for m in ("SRCC", "MSE")}
        if interval := intervals.get(name):
            half = interval.half_width(np.array([len(routine.visual) for routine in routines]))
            inside = float((np.abs(true - predicted) <= half).mean())
            row |= {f"in {interval.confidence:.0%} interval": inside, "its width": float(2 * half.mean())}
        row |= {"paper's SRCC": published[0], "paper's MSE": published[1]}
        # The exam of a simulated set measures its consistency, from the sound itself.
        if not simulated and (measured := consistency_aucs(head.model, batches, placement, shift)):
            aucs[name] = measured
            row |= {f"AUC {kind.replace('_', ', ')}": value for kind, value in measured.items()}
        rows.append(row)
        metrics[name] = {
            "dataset": data.name, "split": split, "n": found.n, "srcc": found.srcc, "mse": found.mse,
            "relative_l2_x100": found.relative_l2,
        }  # fmt: skip
    if len(rows) > 1:
        rows.append(_average(rows, data.published.get("average", (None, None)), fisher_mean))
    sat = None
    if simulated:
        # Routines are named by their paths, videos/ID.mp4.
        ids = [Path(routine.id).stem for routine in data.splits[split]]
        sat = exam.sit(weights, path, ids, features, device)
        rows = exam.as_rows(rows, sat)
    print_rows(rows, form, f"{bundle.name} on {data.name}, split {split}; average SRCC by Fisher's z")
    if predictions:
        _write_predictions(predictions, pairs)
    if save:
        measured = bundle.consistency
        if aucs or sat:
            how = {"shift_clips": shift, "auc": aucs} if sat is None else {"exam": sat["all"], "groups": sat}
            measured = {"dataset": data.name, "split": split, **how}
        write_bundle(replace(bundle, metrics=metrics, consistency=measured))
        console.note(f"written into {bundle.folder}")
    if sheet:
        title = f"{bundle.name} on {data.name}, {split}"
        sheet.judgement(title, {name: (true, predicted) for name, (true, predicted, _) in pairs.items()})


def _average(rows: list[Row], published: tuple[float | None, float | None], fisher_mean: Any) -> Row:
    numbers = {k: sum(r[k] for r in rows) / len(rows) for k, v in rows[0].items() if isinstance(v, float)}
    row = {key: numbers.get(key) for key in rows[0]}
    row |= {"target": "average", "n": None, "SRCC": fisher_mean(r["SRCC"] for r in rows)}
    return row | {"paper's SRCC": published[0], "paper's MSE": published[1]}


def _write_predictions(path: Path, pairs: dict[str, tuple[Any, Any, list[str]]]) -> None:
    import csv

    from mlavl_cli.files import atomic_write, csv_text

    with atomic_write(path, "w", named=True) as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["id", "target", "true", "predicted"])
        for name, (true, predicted, ids) in pairs.items():
            out.writerows(
                [csv_text(id), name, f"{t:.4f}", f"{p:.4f}"] for id, t, p in zip(ids, true, predicted, strict=True)
            )
