"""mlavl train: features and labels -> heads in a bundle that `mlavl score` takes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import typer

from mlavl_cli.cli import console, dataset, options, training_rows
from mlavl_cli.cli import loop_options as loop
from mlavl_cli.cli import prompts as prompt_options
from mlavl_cli.cli.tables import TableFormat, print_rows
from mlavl_cli.cli.training_progress import report_progress
from mlavl_cli.cli.training_request import (
    asked_for,
    refuse_idle,
    tensorboard_writer,
    texts_of,
    validated,
    variants_of,
    wanted_backbones,
)
from mlavl_cli.datasets.rows import GROUP
from mlavl_cli.device import FloatPrecision
from mlavl_cli.heads.dims import Behaviour, Graph, Plug, Regressor
from mlavl_cli.heads.methods import HEADS
from mlavl_cli.output.plot import Sheet
from mlavl_cli.training.choices import Modalities, Part, RecipeName


def train(
    kind: dataset.KindArgument,
    path: dataset.PathArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The bundle; a killed run resumes there.", file_okay=False)
    ],
    target: dataset.Targets = None,
    backbones: Annotated[
        str | None,
        typer.Option(
            "--backbones",
            "-w",
            help="Whose features a manifest's are: a bundled name or a folder.  \\[default: of what is there, or mini]",
        ),
    ] = None,
    visual: options.Visual = None,
    audio: options.Audio = None,
    extract_again: dataset.ExtractAgain = False,
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
            help="Whose epochs, rate and dropout: ours, the official README's example, its options file; published: of "
            "each other method's public code, with its optimizer and batches.",
            rich_help_panel="Recipe",
        ),
    ] = "mlavl",
    epochs: loop.Epochs = None,
    batch_size: loop.BatchSize = None,
    lr: loop.Rate = None,
    weight_decay: loop.WeightDecay = None,
    optimizer: loop.Optimizer = None,
    schedule: loop.RateSchedule = None,
    warmup: loop.Warmup = 0,
    milestone: loop.Milestones = None,
    dropout: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="\\[default: the method's; 0.3]", rich_help_panel="Method")
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(min=2, help="d, the hidden width.  \\[default: the method's; 256]", rich_help_panel="Method"),
    ] = None,
    window: Annotated[
        Any,
        typer.Option(
            metavar="CLIPS",
            parser=options.window_of,
            help="Clips a routine: a number, full (all, masked), or auto: the dataset's own.",
        ),
    ] = "auto",
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of all that is drawn.", rich_help_panel="Recipe")
    ] = 0,
    folds: loop.Folds = None,
    group: dataset.Group = GROUP,
    validation: loop.ValidationBy = "auto",
    clip_grad: loop.ClipGrad = None,
    patience: loop.Patience = None,
    deterministic: loop.Deterministic = False,
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
    mse: loop.MseWeight = 10.0,
    triplet: loop.TripletWeight = 1.0,
    cross_entropy: loop.CrossEntropyWeight = 0.01,
    lambda_c: loop.LambdaC = 0.0,
    align_epochs: loop.AlignEpochs = 10,
    consistency_every: loop.ConsistencyEvery = 1,
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
    temperature: loop.Temperature = 1.0,
    triplets: loop.TripletsOver = "all",
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
            f"{', '.join(HEADS)}; or all.  \\[default: mlavl]",
            rich_help_panel="Method",
        ),
    ] = None,
    behaviour: Annotated[
        Behaviour,
        typer.Option(
            help="Of other methods: a careful reading, or what their public code does, padding and noise included.",
            rich_help_panel="Method",
        ),
    ] = "careful",
    plug: Annotated[
        Plug,
        typer.Option(
            help="MAG2 in a method without a projection: behind one of width 256, or as it is.",
            rich_help_panel="Method",
        ),
    ] = "project",
    mag2: Annotated[
        bool, typer.Option("--mag2", help="Each --model as it is and with MAG2 (table 4).", rich_help_panel="Method")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Print a table of each --model with so many seeds; what is there already is kept.  "
            "\\[default: 1 with --model all]",
            rich_help_panel="Method",
        ),
    ] = None,
    sport: dataset.SportOption = "skating",
    score_range: dataset.Ranges = None,
    features: dataset.Features = None,
    trained_on: Annotated[
        str | None,
        typer.Option(callback=options.words, help="The sentence shown with every score.", rich_help_panel="Output"),
    ] = None,
    licence: Annotated[
        str,
        typer.Option(callback=options.words, help="Of the weights, as the bundle says it.", rich_help_panel="Output"),
    ] = "not stated",
    half: Annotated[
        bool,
        typer.Option("--half", help="Write the heads' matrices in 16 bits: half the size.", rich_help_panel="Output"),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also log for TensorBoard, in OUTPUT/runs.", rich_help_panel="Output")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the epochs of all runs: .png, .svg or .pdf.", dir_okay=False, rich_help_panel="Output"),
    ] = None,
    form: Annotated[
        TableFormat, typer.Option("--format", "-f", help="How the rows are printed.", rich_help_panel="Output")
    ] = "table",
    device: options.Device = "auto",
    precision: Annotated[FloatPrecision, typer.Option(help="Of the head's forward pass.")] = "fp32",
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
    table = seeds is not None or model == ["all"]
    refuse_idle(given, table)
    dataset.check_labels(given, folds is not None)
    from mlavl_cli.features import apart

    apart.start()  # before torch is loaded
    with console.loading("libraries"):
        from mlavl_cli.cli.bench_rows import print_table
        from mlavl_cli.device import compute_deterministically, place
        from mlavl_cli.training.bench import run_table
        from mlavl_cli.training.bundle import train_bundle
        from mlavl_cli.training.folds import train_folds

    variants = variants_of(model or ["mlavl"], mag2, ablation is not None)
    writer, sheet = tensorboard_writer() if tensorboard else None, Sheet(plot) if plot else None
    placement = place(device, precision)
    if deterministic:
        compute_deterministically()
    data = dataset.load(given, wanted_backbones(given, saved=len(variants) == 1 and not table))
    data = data if folds or table else validated(data, validation)
    asked = asked_for(given, data, variants)
    texts = texts_of(given, data) if asked.reads_prompts else None

    def watch(job: Any, folder: Path) -> Any:
        return report_progress(job, writer and writer(str(folder)))

    if table:
        print_table(run_table(data, texts, output, asked, seeds or 1, placement, watch), data, form)
        return
    if folds:
        found, bundle = train_folds(data, texts, output, asked, folds, placement, watch)
        training_rows.tell(bundle, [one.target for one in found])
        print_rows(training_rows.of_folds(found), form, f"{data.name}, {folds} folds")
        return
    done = train_bundle(data, texts, output, asked, placement, watch)
    training_rows.tell(done.bundle, [job.target for job, _ in done.runs])
    print_rows(training_rows.of_all(done.runs, len(variants)), form, f"{data.name}, split {data.judged_split}")
    if sheet:
        sheet.curves({f"{job.target} {job.variant.name}": trained.history for job, trained in done.runs})
