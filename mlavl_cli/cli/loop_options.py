"""Options of how a head is trained: the loop's, and the losses' weights."""

from typing import Annotated, Literal

import typer

from mlavl_cli.training.choices import OptimizerName, Schedule

Epochs = Annotated[int | None, typer.Option(min=1, help="\\[default: the recipe's; 300]", rich_help_panel="Recipe")]
BatchSize = Annotated[
    int | None, typer.Option(min=2, help="Routines a step.  \\[default: the recipe's; 64]", rich_help_panel="Recipe")
]
Rate = Annotated[
    float | None,
    typer.Option(min=0, help="The highest rate.  \\[default: the recipe's; 0.001]", rich_help_panel="Recipe"),
]
WeightDecay = Annotated[
    float | None,
    typer.Option(min=0, help="Of the optimizer.  \\[default: the recipe's; 0.0001]", rich_help_panel="Recipe"),
]
Optimizer = Annotated[
    OptimizerName | None,
    typer.Option(help="SGD has a momentum of 0.9.  \\[default: the recipe's; adam]", rich_help_panel="Recipe"),
]
RateSchedule = Annotated[
    Schedule | None,
    typer.Option(
        help="Of the rate: to 1 %, to a tenth at each --milestone, or constant.  \\[default: the recipe's; cosine]",
        rich_help_panel="Recipe",
    ),
]
Warmup = Annotated[
    int, typer.Option(min=0, help="Epochs in which the rate grows to its full value.", rich_help_panel="Recipe")
]
Milestones = Annotated[
    list[int] | None,
    typer.Option(
        min=1,
        help="An epoch of --schedule multistep (again for more).  \\[default: at 50 % and 75 %]",
        rich_help_panel="Recipe",
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(
        min=2, help="Judge by so many folds over all routines, then train on them all.", rich_help_panel="Recipe"
    ),
]
ValidationBy = Annotated[
    Literal["auto", "cut", "test"],
    typer.Option(
        "--validation",
        help="Without a split val: cut a fifth off the training split, or choose epochs on test.  "
        "\\[default: cut for a manifest, test for a public set, as its official code does]",
        rich_help_panel="Recipe",
        show_default=False,
    ),
]
ClipGrad = Annotated[float | None, typer.Option(min=0, help="Largest norm of the gradient.", rich_help_panel="Recipe")]
Patience = Annotated[
    int | None,
    typer.Option(min=1, help="Stop after so many epochs without a better SRCC.", rich_help_panel="Recipe"),
]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="On a GPU: the same numbers each time, but slower.", rich_help_panel="Recipe"),
]
MseWeight = Annotated[
    float, typer.Option("--mse-weight", min=0, help="Weight of the squared error.", rich_help_panel="Losses")
]
TripletWeight = Annotated[
    float, typer.Option("--triplet-weight", min=0, help="Weight of the hardest triplets.", rich_help_panel="Losses")
]
CrossEntropyWeight = Annotated[
    float, typer.Option("--ce-weight", min=0, help="Weight of the cross-entropy.", rich_help_panel="Losses")
]
LambdaC = Annotated[
    float, typer.Option(min=0, help="Weight of the consistency objective; 0: the paper.", rich_help_panel="Losses")
]
AlignEpochs = Annotated[
    int,
    typer.Option(
        min=0,
        help="With --lambda-c: epochs at first in which only consistency is learned.",
        rich_help_panel="Losses",
    ),
]
ConsistencyEvery = Annotated[
    int,
    typer.Option(
        min=1,
        help="With --lambda-c: one step in so many learns it; the others cost a third.",
        rich_help_panel="Losses",
    ),
]
Temperature = Annotated[float, typer.Option(min=1e-3, help="Of the cross-entropy.", rich_help_panel="Losses")]
TripletsOver = Annotated[
    Literal["all", "patterns"], typer.Option(help="Over patterns, or prompts too.", rich_help_panel="Losses")
]
