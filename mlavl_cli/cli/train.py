"""mlavl train: features and labels -> heads in a bundle that `mlavl score` takes."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlavl_cli.cli import console, dataset, options, plots, training_rows
from mlavl_cli.cli import prompts as prompt_options
from mlavl_cli.cli.tables import TableFormat, print_rows
from mlavl_cli.cli.training_choices import (
    Ablation,
    Box,
    Graph,
    Modalities,
    Optimizer,
    RecipeName,
    Regressor,
    Schedule,
    Triplets,
)
from mlavl_cli.cli.training_progress import told
from mlavl_cli.errors import UsageError
from mlavl_cli.heads.methods import HEADS

if TYPE_CHECKING:
    from mlavl_cli.training.runs import Guide


def train(
    kind: dataset.KindArgument,
    path: dataset.PathArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle; a killed run goes on there.")],
    target: dataset.Targets = None,
    backbones: Annotated[
        str, typer.Option("--backbones", "-w", help="Whose features a manifest's are: a bundled name or a folder.")
    ] = "mini",
    text_features: Annotated[
        Path | None,
        typer.Option(
            "--text-features", help="The prompts' features, from `mlavl prompts encode`, or the official file."
        ),
    ] = None,
    grade_order: prompt_options.GradeOrder = prompt_options.Order.interleaved,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", help="A csv with columns id,name: your own actions, or all official prompts."),
    ] = None,
    recipe: Annotated[
        RecipeName,
        typer.Option(help="Whose epochs, rate and dropout: ours, the official README's example, its options file."),
    ] = RecipeName.mlavl,
    epochs: Annotated[int | None, typer.Option(min=1, help="[default: the recipe's; 300]")] = None,
    batch_size: Annotated[int, typer.Option(min=2)] = 64,
    lr: Annotated[float | None, typer.Option(min=0, help="The highest rate.  [default: the recipe's; 0.001]")] = None,
    weight_decay: Annotated[float, typer.Option(min=0)] = 1e-4,
    optimizer: Annotated[Optimizer, typer.Option(help="SGD has a momentum of 0.9.")] = Optimizer.adam,
    schedule: Annotated[
        Schedule, typer.Option(help="Of the rate: down to 1 %, to a tenth at each --milestone, or constant.")
    ] = Schedule.cosine,
    warmup: Annotated[int, typer.Option(min=0, help="Epochs in which the rate grows to its full value.")] = 0,
    milestone: Annotated[
        list[int] | None,
        typer.Option(min=1, help="An epoch of --schedule multistep (again for more).  [default: at 50 % and 75 %]"),
    ] = None,
    dropout: Annotated[float | None, typer.Option(min=0, max=0.99, help="[default: the recipe's; 0.3]")] = None,
    width: Annotated[int, typer.Option(min=2, help="d, the hidden width.")] = 256,
    window: Annotated[
        str, typer.Option(help="Clips a routine: a number, full (all, masked), or auto: the dataset's own.")
    ] = "auto",
    seed: Annotated[int, typer.Option()] = 0,
    clip_grad: Annotated[float | None, typer.Option(min=0, help="Largest norm of the gradient.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs without a better SRCC.")
    ] = None,
    graph: Annotated[
        Graph,
        typer.Option(help="MAG2's layer: the official code's, the paper's eq. 9, or one that doesn't depend on T."),
    ] = Graph.sage,
    regressor: Annotated[Regressor, typer.Option(help="Of grades: the official code's, or eq. 14.")] = Regressor.linear,
    mse: Annotated[float, typer.Option("--mse-weight", min=0)] = 10.0,
    triplet: Annotated[float, typer.Option("--triplet-weight", min=0)] = 1.0,
    cross_entropy: Annotated[float, typer.Option("--ce-weight", min=0)] = 0.01,
    lambda_c: Annotated[float, typer.Option(min=0, help="Weight of the consistency objective; 0: the paper.")] = 0.0,
    align_epochs: Annotated[
        int, typer.Option(min=0, help="With --lambda-c: epochs at first in which only consistency is learned.")
    ] = 10,
    order: Annotated[
        int, typer.Option(min=0, help="Clips a side that two convolutions over visual clips span; 0: the paper, none.")
    ] = 0,
    reach: Annotated[
        int, typer.Option(min=0, help="Clips that a clip's consistency leans on around it; 0: on itself alone.")
    ] = 0,
    total: Annotated[
        list[str] | None,
        typer.Option(help="A target that grows with the programme, like TES: its head is told T (again for more)."),
    ] = None,
    temperature: Annotated[float, typer.Option(min=1e-3, help="Of the cross-entropy.")] = 1.0,
    triplets: Annotated[Triplets, typer.Option(help="Over patterns alone, or over prompts too.")] = Triplets.all,
    without: Annotated[list[Box] | None, typer.Option(help="Leave out a box or a loss (again for more).")] = None,
    modalities: Annotated[Modalities, typer.Option(help="Vision, audio, language.")] = Modalities.val,
    ablation: Annotated[Ablation | None, typer.Option(help="Train every row of table 5 and print it.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Another method of the field, with MAG2 as NAME+mag2 (again for more, and for a table of them): "
            f"{', '.join(HEADS)}.  [default: mlavl]"
        ),
    ] = None,
    mag2: Annotated[bool, typer.Option("--mag2", help="Each --model as it is and with MAG2 (table 4).")] = False,
    sport: dataset.SportOption = dataset.Sport.skating,
    score_range: dataset.Ranges = None,
    features: dataset.Features = None,
    trained_on: Annotated[str | None, typer.Option(help="The sentence shown with every score.")] = None,
    licence: Annotated[str, typer.Option()] = "not stated",
    half: Annotated[bool, typer.Option("--half", help="Write the heads' matrices in 16 bits: half the size.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also log for TensorBoard, in OUTPUT/runs.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the epochs of all runs: .png, .svg or .pdf.")] = None,
    form: Annotated[TableFormat, typer.Option("--format", "-f")] = TableFormat.table,
    device: options.Device = "auto",
    precision: Annotated[options.Precision, typer.Option(help="Of the head's forward pass.")] = options.Precision.fp32,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train heads on FS1000, Fis-V, RG, LOGO, or on your own videos, and judge them on the test split.

    mlavl train fs1000 data/fs1000 --target TES --output my-tes

    mlavl train manifest my.csv --output my-weights --lambda-c 1

    Run the same command again to go on where a run stopped.

    \b
    FS1000  PATH/output_feature_fs1000_new/ID.npy        (T, K, 768)
            PATH/ast_feature_fs1000_new/ID.npy           (T, 768)
            PATH/train_fs1000_new.txt, val_fs1000_new.txt
                 ID TES PCS SS TR PE CO IN FACTOR
    Fis-V   PATH/FISV_rgb_VST.npy, FISV_audio_AST.npy    {ID: (T, D)}
            PATH/train.txt, test.txt                     ID TES PCS
    RG      PATH/Ball_rgb_VST.npy, Ball_audio_AST.npy    {ID: (T, D)}
            and so for Clubs, Hoop, Ribbon
            PATH/train.txt, test.txt
                 ID Difficulty_Score Execution_Score Total_Score
    LOGO    PATH/ANNOTATIONS/anno_dict.pkl               {(event, id): score}
            PATH/ANNOTATIONS/train*.pkl, test*.pkl       [(event, id), ...]
            PATH/FEATURES/EVENT/ID.npy                   (T, D)
    """
    clips = options.window_of(window)
    if (mag2 and not model) or (ablation and model):
        raise UsageError("--mag2 goes with --model, --ablation with the whole method")
    ranges = dataset.parse_ranges(score_range)

    from mlavl_cli.features import apart

    apart.start()  # before torch is loaded

    from mlavl_cli.bundle import find_bundle
    from mlavl_cli.datasets.load import load_dataset
    from mlavl_cli.datasets.public import PUBLIC_SETS
    from mlavl_cli.device import place
    from mlavl_cli.heads.mlavl.losses import LossWeights
    from mlavl_cli.training import recipes
    from mlavl_cli.training.runs import (
        ABLATION,
        MODALITIES,
        Job,
        native_and_mag2,
        of_model,
        refuse_other_backbones,
        write_heads,
    )
    from mlavl_cli.training.train import TrainConfig

    models = model or ["mlavl"]
    variants = ABLATION if ablation else native_and_mag2(models) if mag2 else [of_model(name) for name in models]
    writer = _tensorboard() if tensorboard else None
    sheet = plots.Sheet(plot) if plot else None
    placement = place(device, precision.value)
    if len(variants) == 1:  # before hours of extraction
        public = PUBLIC_SETS.get(kind.value)
        refuse_other_backbones(output, find_bundle(public.backbones if public else backbones))
    data = load_dataset(kind.value, path, place(device), backbones, sport.value, ranges, features)
    for text in data.notes:
        console.warning(text)
    targets = dataset.chosen_targets(target, data.targets, data.combined)
    chosen = recipes.recipe(recipe.value, data.public)
    epochs, lr = epochs or chosen.epochs, chosen.lr if lr is None else lr
    dropout = chosen.dropout if dropout is None else dropout
    left_out = {box.value for box in without or []}
    config = TrainConfig(
        epochs, batch_size, lr, weight_decay, optimizer.value, schedule.value, warmup, tuple(milestone or ()),
        seed, clip_grad, patience,
        loss=LossWeights(
            mse=mse, triplet=triplet * ("tl" not in left_out), cross_entropy=cross_entropy * ("ce" not in left_out),
            consistency=lambda_c, temperature=temperature, triplets=triplets.value,
        ),
        align_epochs=align_epochs,
    )  # fmt: skip
    dims: dict[str, Any] = {"graph": graph.value, "regressor": regressor.value, "dropout": dropout}
    dims |= {"width": width, "order": order, "reach": reach}
    dims |= dict.fromkeys(left_out - {"tl", "ce"}, False) | MODALITIES[modalities.value]
    clips = data.window if clips == "auto" else clips
    guide = _guide(data.sport, data.backbones, text_features, prompts, grade_order is prompt_options.Order.blocks)
    totals = set(total or [])
    if unknown := totals - set(targets):
        raise UsageError(f"--total {unknown.pop()}: no such target is trained here")
    jobs = [
        Job(data, guide, name, variant, config, clips, dims, name in totals) for name in targets for variant in variants
    ]
    if data.judged_split == "test":
        console.note("The best epoch is chosen on the test split, as the official code does; a val split is fairer.")

    calibrates = find_spec("crepes") is not None
    rows, heads, metrics, histories, intervals = [], {}, {}, {}, {}
    for job in jobs:
        folder = output / "runs" / job.target / _file_name(job.variant.name)
        with told(job, writer and writer(str(folder))) as (on_epoch, on_align):
            trained = job.run(placement, folder, on_epoch, on_align)
        rows.append(training_rows.of_job(job, trained.metrics, len(variants) > 1))
        histories[f"{job.target} {job.variant.name}"] = trained.history
        if len(variants) == 1:
            heads[job.target] = head = job.head(trained)
            if calibrates and (interval := job.interval(head, place("cpu"))):
                intervals[job.target] = interval
            metrics[job.target] = {"split": data.judged_split, **training_rows.plain(trained.metrics)}
    rows += (
        training_rows.average(rows, data.published.get("average")) if len(targets) > 1 and len(variants) == 1 else []
    )
    if heads:
        counts = ", ".join(f"{len(found)} {name}" for name, found in data.splits.items())
        sentence = trained_on or f"{data.name} ({counts}); features: {data.backbones}"
        base = find_bundle(data.backbones)
        bundle = write_heads(output, base, heads, metrics, sentence, licence, data, half, intervals)
        if missing := [name for name in heads if name not in intervals]:
            needs = "crepes (pip install 'mlavl[train]') and 20 routines in a split val or calibration"
            console.note(f"{', '.join(missing)}: no interval; it takes {needs}")
        console.note(f"Score with: mlavl score VIDEO --weights {_as_folder(bundle.folder)}")
    print_rows(rows, form, f"{data.name}, split {data.judged_split}")
    if sheet:
        sheet.curves(histories)


def _as_folder(path: Path) -> str:
    """A path that nobody takes for the name of bundled weights."""
    return str(path) if len(path.parts) > 1 else f"./{path}"


def _guide(sport: str, backbones: str, encoded: Path | None, csv: Path | None, blocks: bool) -> "Guide":
    """The prompts' features: from a file, or by the text tower that belongs to the backbones."""
    from mlavl_cli.bundle import find_bundle
    from mlavl_cli.features.prompts import read_prompts, sport_prompts
    from mlavl_cli.features.text import encode_prompts
    from mlavl_cli.features.text_features import refuse_other_texts
    from mlavl_cli.training.runs import Guide

    if encoded:
        features = prompt_options.read_features(encoded, blocks)
        # Without a list of our own these may be the official prompts, whose texts we don't have.
        prompts = read_prompts(csv) if csv else None
        if prompts and features.texts:  # else a head that only sees may leave out what is about music
            refuse_other_texts(features, prompts)
        return Guide(features, prompts)
    prompts = read_prompts(csv) if csv else sport_prompts(sport)
    tower = find_bundle(backbones).text
    if tower is None:
        raise UsageError(f"{backbones} has no text tower", hint="Give --text-features.")
    return Guide(encode_prompts(prompts.texts, tower), prompts)


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name).strip("-").lower()


def _tensorboard() -> Any:
    """TensorBoard's writer, asked for before hours of work and not after."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard isn't installed", hint="Run: pip install 'mlavl[train]'.") from error
    return SummaryWriter
