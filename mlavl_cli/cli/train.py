"""mlavl train: features and labels -> heads in a bundle that `mlavl score` takes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import typer

from mlavl_cli.cli import console, dataset, options, training_rows
from mlavl_cli.cli import prompts as prompt_options
from mlavl_cli.cli.tables import TableFormat, print_rows
from mlavl_cli.cli.training_progress import report_progress
from mlavl_cli.cli.training_request import (
    as_folder,
    asked_for,
    refuse_other_backbones_early,
    tensorboard_writer,
    variants_of,
)
from mlavl_cli.device import Precision
from mlavl_cli.errors import UsageError
from mlavl_cli.heads.dims import Graph, Regressor
from mlavl_cli.heads.methods import HEADS
from mlavl_cli.output.plot import Sheet
from mlavl_cli.training.choices import Modalities, OptimizerName, Part, RecipeName, Schedule


def train(
    kind: dataset.KindArgument,
    path: dataset.PathArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle; a killed run resumes there.")],
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
        typer.Option(
            help="Whose epochs, rate and dropout: ours, the official README's example, its options file.",
            rich_help_panel="Recipe",
        ),
    ] = "mlavl",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="[default: the recipe's; 300]", rich_help_panel="Recipe")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Routines a step.", rich_help_panel="Recipe")] = 64,
    lr: Annotated[
        float | None,
        typer.Option(min=0, help="The highest rate.  [default: the recipe's; 0.001]", rich_help_panel="Recipe"),
    ] = None,
    weight_decay: Annotated[float, typer.Option(min=0, help="Of the optimizer.", rich_help_panel="Recipe")] = 1e-4,
    optimizer: Annotated[
        OptimizerName, typer.Option(help="SGD has a momentum of 0.9.", rich_help_panel="Recipe")
    ] = "adam",
    schedule: Annotated[
        Schedule,
        typer.Option(
            help="Of the rate: down to 1 %, to a tenth at each --milestone, or constant.", rich_help_panel="Recipe"
        ),
    ] = "cosine",
    warmup: Annotated[
        int, typer.Option(min=0, help="Epochs in which the rate grows to its full value.", rich_help_panel="Recipe")
    ] = 0,
    milestone: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="An epoch of --schedule multistep (again for more).  [default: at 50 % and 75 %]",
            rich_help_panel="Recipe",
        ),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="[default: the recipe's; 0.3]", rich_help_panel="Method")
    ] = None,
    width: Annotated[int, typer.Option(min=2, help="d, the hidden width.", rich_help_panel="Method")] = 256,
    window: Annotated[
        Any,
        typer.Option(
            metavar="CLIPS",
            parser=options.window_of,
            help="Clips a routine: a number, full (all, masked), or auto: the dataset's own.",
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of all that is drawn.", rich_help_panel="Recipe")] = 0,
    clip_grad: Annotated[
        float | None, typer.Option(min=0, help="Largest norm of the gradient.", rich_help_panel="Recipe")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after so many epochs without a better SRCC.", rich_help_panel="Recipe"),
    ] = None,
    graph: Annotated[
        Graph,
        typer.Option(
            help="MAG2's layer: the official code's, the paper's eq. 9, or one that doesn't depend on T.",
            rich_help_panel="Method",
        ),
    ] = "sage",
    regressor: Annotated[
        Regressor, typer.Option(help="Of grades: the official code's, or eq. 14.", rich_help_panel="Method")
    ] = "linear",
    mse: Annotated[
        float, typer.Option("--mse-weight", min=0, help="Weight of the squared error.", rich_help_panel="Losses")
    ] = 10.0,
    triplet: Annotated[
        float, typer.Option("--triplet-weight", min=0, help="Weight of the hardest triplets.", rich_help_panel="Losses")
    ] = 1.0,
    cross_entropy: Annotated[
        float, typer.Option("--ce-weight", min=0, help="Weight of the cross-entropy.", rich_help_panel="Losses")
    ] = 0.01,
    lambda_c: Annotated[
        float, typer.Option(min=0, help="Weight of the consistency objective; 0: the paper.", rich_help_panel="Losses")
    ] = 0.0,
    align_epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="With --lambda-c: epochs at first in which only consistency is learned.",
            rich_help_panel="Losses",
        ),
    ] = 10,
    consistency_every: Annotated[
        int,
        typer.Option(
            min=1,
            help="With --lambda-c: one step in so many learns it; the others cost a third.",
            rich_help_panel="Losses",
        ),
    ] = 1,
    start_from: Annotated[
        str | None,
        typer.Option(
            help="Begin with the heads of this bundle, of the same sizes, instead of anew.", rich_help_panel="Method"
        ),
    ] = None,
    temporal_conv: Annotated[
        int,
        typer.Option(
            "--temporal-conv",
            "--order",
            min=0,
            help="Clips a side that two convolutions over visual clips span; 0: the paper, none.",
            rich_help_panel="Method",
        ),
    ] = 0,
    consistency_decay: Annotated[
        int,
        typer.Option(
            "--consistency-decay",
            "--reach",
            min=0,
            help="Smooth consistency over neighbouring clips with this decay length, in clips; 0: not at all.",
            rich_help_panel="Method",
        ),
    ] = 0,
    total: Annotated[
        list[str] | None,
        typer.Option(
            help="A target that grows with the programme, like TES: T is an input of its head (again for more).",
            rich_help_panel="Method",
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(min=1e-3, help="Of the cross-entropy.", rich_help_panel="Losses")] = 1.0,
    triplets: Annotated[
        Literal["all", "patterns"], typer.Option(help="Over patterns, or prompts too.", rich_help_panel="Losses")
    ] = "all",
    without: Annotated[
        list[Part] | None, typer.Option(help="Leave out a box or a loss (again for more).", rich_help_panel="Method")
    ] = None,
    modalities: Annotated[
        Modalities, typer.Option(help="Vision, audio, language.", rich_help_panel="Method")
    ] = "V+A+L",
    ablation: Annotated[
        Literal["all"] | None, typer.Option(help="Train every row of table 5 and print it.", rich_help_panel="Method")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Another method of the field, with MAG2 as NAME+mag2 (again for more, and for a table of them): "
            f"{', '.join(HEADS)}.  [default: mlavl]",
            rich_help_panel="Method",
        ),
    ] = None,
    mag2: Annotated[
        bool, typer.Option("--mag2", help="Each --model as it is and with MAG2 (table 4).", rich_help_panel="Method")
    ] = False,
    sport: dataset.SportOption = "skating",
    score_range: dataset.Ranges = None,
    features: dataset.Features = None,
    trained_on: Annotated[
        str | None, typer.Option(help="The sentence shown with every score.", rich_help_panel="Output")
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Of the weights, as the bundle says it.", rich_help_panel="Output")
    ] = "not stated",
    half: Annotated[
        bool,
        typer.Option("--half", help="Write the heads' matrices in 16 bits: half the size.", rich_help_panel="Output"),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also log for TensorBoard, in OUTPUT/runs.", rich_help_panel="Output")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the epochs of all runs: .png, .svg or .pdf.", rich_help_panel="Output")
    ] = None,
    form: Annotated[
        TableFormat, typer.Option("--format", "-f", help="How the rows are printed.", rich_help_panel="Output")
    ] = "table",
    device: options.Device = "auto",
    precision: Annotated[Precision, typer.Option(help="Of the head's forward pass.")] = "fp32",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train heads on FS1000, Fis-V, RG, LOGO, or on your own videos, and judge them on the test split.

    mlavl train fs1000 data/fs1000 --target TES --output my-tes

    mlavl train manifest my.csv --output my-weights --lambda-c 1

    Run the same command again to resume a run.

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
    if (mag2 and not model) or (ablation and model):
        raise UsageError("--mag2 goes with --model, --ablation with the whole method")

    from mlavl_cli.features import apart

    apart.start()  # before torch is loaded

    from mlavl_cli.datasets.load import load_dataset
    from mlavl_cli.device import place
    from mlavl_cli.training.bundle import train_bundle
    from mlavl_cli.training.prompt_features import prompt_features

    variants = variants_of(model or ["mlavl"], mag2, ablation is not None)
    writer = tensorboard_writer() if tensorboard else None
    sheet = Sheet(plot) if plot else None
    placement = place(device, precision)
    if len(variants) == 1:  # before hours of extraction
        refuse_other_backbones_early(output, kind, backbones)
    data = load_dataset(kind, path, place(device), backbones, sport, dict(score_range or ()), features)
    for text in data.notes:
        console.warning(text)
    if data.judged_split == "test":
        console.note("The best epoch is chosen on the test split, as the official code does; a val split is fairer.")
    asked = asked_for(given, data, variants)
    encoded = prompt_options.read_features(text_features, grade_order == "blocks") if text_features else None
    texts = prompt_features(data.sport, data.backbones, encoded, prompts)
    done = train_bundle(
        data, texts, output, asked, placement, lambda job, folder: report_progress(job, writer and writer(str(folder)))
    )
    if done.bundle:
        if done.uncalibrated:
            needs = "crepes (pip install 'mlavl[train]') and 20 routines in a split val or calibration"
            console.note(f"{', '.join(done.uncalibrated)}: no interval; it takes {needs}")
        console.note(f"Score with: mlavl score VIDEO --weights {as_folder(done.bundle.folder)}")
    print_rows(training_rows.of_all(done.runs, len(variants)), form, f"{data.name}, split {data.judged_split}")
    if sheet:
        sheet.curves({f"{job.target} {job.variant.name}": trained.history for job, trained in done.runs})
