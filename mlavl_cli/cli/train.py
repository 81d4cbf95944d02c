"""mlavl train: features and labels -> heads in a bundle that `mlavl score` takes."""

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mlavl_cli.cli import console, dataset, options, plots, training_rows
from mlavl_cli.cli import prompts as prompt_options
from mlavl_cli.cli.tables import TableFormat, print_rows
from mlavl_cli.cli.training_progress import told
from mlavl_cli.device import Precision
from mlavl_cli.errors import UsageError
from mlavl_cli.heads.dims import Graph, Regressor
from mlavl_cli.heads.methods import HEADS
from mlavl_cli.training.choices import Modalities, OptimizerName, Part, RecipeName, Schedule

if TYPE_CHECKING:
    from mlavl_cli.datasets.dataset import Dataset
    from mlavl_cli.training.bundle import TrainingOptions
    from mlavl_cli.training.variants import Variant


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
    grade_order: prompt_options.GradeOrder = "interleaved",
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", help="A csv with columns id,name: your own actions, or all official prompts."),
    ] = None,
    recipe: Annotated[
        RecipeName,
        typer.Option(help="Whose epochs, rate and dropout: ours, the official README's example, its options file."),
    ] = "mlavl",
    epochs: Annotated[int | None, typer.Option(min=1, help="[default: the recipe's; 300]")] = None,
    batch_size: Annotated[int, typer.Option(min=2)] = 64,
    lr: Annotated[float | None, typer.Option(min=0, help="The highest rate.  [default: the recipe's; 0.001]")] = None,
    weight_decay: Annotated[float, typer.Option(min=0)] = 1e-4,
    optimizer: Annotated[OptimizerName, typer.Option(help="SGD has a momentum of 0.9.")] = "adam",
    schedule: Annotated[
        Schedule, typer.Option(help="Of the rate: down to 1 %, to a tenth at each --milestone, or constant.")
    ] = "cosine",
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
    ] = "sage",
    regressor: Annotated[Regressor, typer.Option(help="Of grades: the official code's, or eq. 14.")] = "linear",
    mse: Annotated[float, typer.Option("--mse-weight", min=0)] = 10.0,
    triplet: Annotated[float, typer.Option("--triplet-weight", min=0)] = 1.0,
    cross_entropy: Annotated[float, typer.Option("--ce-weight", min=0)] = 0.01,
    lambda_c: Annotated[float, typer.Option(min=0, help="Weight of the consistency objective; 0: the paper.")] = 0.0,
    align_epochs: Annotated[
        int, typer.Option(min=0, help="With --lambda-c: epochs at first in which only consistency is learned.")
    ] = 10,
    consistency_every: Annotated[
        int, typer.Option(min=1, help="With --lambda-c: one step in so many learns it; the others cost a third.")
    ] = 1,
    start_from: Annotated[
        str | None, typer.Option(help="Begin with the heads of this bundle, of the same sizes, instead of anew.")
    ] = None,
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
    triplets: Annotated[Literal["all", "patterns"], typer.Option(help="Over patterns, or prompts too.")] = "all",
    without: Annotated[list[Part] | None, typer.Option(help="Leave out a box or a loss (again for more).")] = None,
    modalities: Annotated[Modalities, typer.Option(help="Vision, audio, language.")] = "V+A+L",
    ablation: Annotated[Literal["all"] | None, typer.Option(help="Train every row of table 5 and print it.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Another method of the field, with MAG2 as NAME+mag2 (again for more, and for a table of them): "
            f"{', '.join(HEADS)}.  [default: mlavl]"
        ),
    ] = None,
    mag2: Annotated[bool, typer.Option("--mag2", help="Each --model as it is and with MAG2 (table 4).")] = False,
    sport: dataset.SportOption = "skating",
    score_range: dataset.Ranges = None,
    features: dataset.Features = None,
    trained_on: Annotated[str | None, typer.Option(help="The sentence shown with every score.")] = None,
    licence: Annotated[str, typer.Option()] = "not stated",
    half: Annotated[bool, typer.Option("--half", help="Write the heads' matrices in 16 bits: half the size.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also log for TensorBoard, in OUTPUT/runs.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the epochs of all runs: .png, .svg or .pdf.")] = None,
    form: Annotated[TableFormat, typer.Option("--format", "-f")] = "table",
    device: options.Device = "auto",
    precision: Annotated[Precision, typer.Option(help="Of the head's forward pass.")] = "fp32",
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
    given = SimpleNamespace(**locals())  # all options, by name
    ranges = dataset.parse_ranges(score_range)
    if (mag2 and not model) or (ablation and model):
        raise UsageError("--mag2 goes with --model, --ablation with the whole method")
    clips = options.window_of(window)

    from mlavl_cli.features import apart

    apart.start()  # before torch is loaded

    from mlavl_cli.datasets.load import load_dataset
    from mlavl_cli.device import place
    from mlavl_cli.training.bundle import train_bundle
    from mlavl_cli.training.guide import guide_of

    variants = _variants(model or ["mlavl"], mag2, ablation is not None)
    writer = _tensorboard() if tensorboard else None
    sheet = plots.Sheet(plot) if plot else None
    placement = place(device, precision)
    if len(variants) == 1:  # before hours of extraction
        _refuse_other_backbones(output, kind, backbones)
    data = load_dataset(kind, path, place(device), backbones, sport, ranges, features)
    for text in data.notes:
        console.warning(text)
    if data.judged_split == "test":
        console.note("The best epoch is chosen on the test split, as the official code does; a val split is fairer.")
    asked = _asked(given, data, variants, clips)
    encoded = prompt_options.read_features(text_features, grade_order == "blocks") if text_features else None
    guide = guide_of(data.sport, data.backbones, encoded, prompts)
    done = train_bundle(
        data, guide, output, asked, placement, lambda job, folder: told(job, writer and writer(str(folder)))
    )
    if done.bundle:
        if done.uncalibrated:
            needs = "crepes (pip install 'mlavl[train]') and 20 routines in a split val or calibration"
            console.note(f"{', '.join(done.uncalibrated)}: no interval; it takes {needs}")
        console.note(f"Score with: mlavl score VIDEO --weights {_as_folder(done.bundle.folder)}")
    print_rows(training_rows.of_all(done.runs, len(variants)), form, f"{data.name}, split {data.judged_split}")
    if sheet:
        sheet.curves({f"{job.target} {job.variant.name}": trained.history for job, trained in done.runs})


def _variants(models: list[str], mag2: bool, ablation: bool) -> "tuple[Variant, ...]":
    from mlavl_cli.training import variants

    if ablation:
        return tuple(variants.ABLATION)
    return tuple(variants.native_and_mag2(models) if mag2 else map(variants.of_model, models))


def _refuse_other_backbones(output: Path, kind: str, backbones: str) -> None:
    from mlavl_cli.datasets.public import PUBLIC_SETS
    from mlavl_cli.training.write import refuse_other_backbones

    public = PUBLIC_SETS.get(kind)
    refuse_other_backbones(output, public.backbones if public else backbones)


def _asked(
    given: SimpleNamespace, data: "Dataset", variants: "tuple[Variant, ...]", window: int | Literal["auto"] | None
) -> "TrainingOptions":
    """The options of the command line as those of `train_bundle`; what isn't given is the recipe's."""
    from mlavl_cli.heads.mlavl.losses import LossWeights
    from mlavl_cli.training import recipes
    from mlavl_cli.training.bundle import TrainingOptions
    from mlavl_cli.training.train import TrainConfig
    from mlavl_cli.training.variants import MODALITIES

    chosen = recipes.recipe(given.recipe, data.public)
    left_out = {part.value for part in given.without or []}
    loss = LossWeights(
        mse=given.mse, consistency=given.lambda_c, temperature=given.temperature, triplets=given.triplets,
        triplet=given.triplet * ("tl" not in left_out), cross_entropy=given.cross_entropy * ("ce" not in left_out),
    )  # fmt: skip
    same = ["batch_size", "weight_decay", "optimizer", "schedule", "warmup", "seed", "clip_grad", "patience"]
    same += ["align_epochs", "consistency_every"]
    config = TrainConfig(
        epochs=given.epochs or chosen.epochs, lr=chosen.lr if given.lr is None else given.lr, loss=loss,
        milestones=tuple(given.milestone or ()), **{name: getattr(given, name) for name in same},
    )  # fmt: skip
    dims: dict[str, Any] = {name: getattr(given, name) for name in ("graph", "regressor", "width", "order", "reach")}
    dims["dropout"] = chosen.dropout if given.dropout is None else given.dropout
    dims |= dict.fromkeys(left_out - {"tl", "ce"}, False) | MODALITIES[given.modalities]
    return TrainingOptions(
        targets=tuple(given.target or ()), variants=variants, config=config, dims=dims, window=window,
        totals=tuple(given.total or ()), start_from=given.start_from, trained_on=given.trained_on,
        licence=given.licence, half=given.half,
    )  # fmt: skip


def _as_folder(path: Path) -> str:
    """A path that nobody takes for the name of bundled weights."""
    return str(path) if len(path.parts) > 1 else f"./{path}"


def _tensorboard() -> Any:
    """TensorBoard's writer, asked for before hours of work and not after."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard isn't installed", hint="Run: pip install 'mlavl[train]'.") from error
    return SummaryWriter
