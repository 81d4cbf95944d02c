"""Recipes by name, and how the learning rate runs (docs/method.md, section 9)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from mlavl_cli.datasets.public import PublicSet
from mlavl_cli.errors import UsageError
from mlavl_cli.training.choices import OptimizerName, RecipeName, Schedule

OPTIMIZERS: dict[OptimizerName, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "rmsprop": torch.optim.RMSprop,
}
_COSINE_END = 0.01  # of the rate
_STEP = 0.1  # by which each milestone multiplies the rate


@dataclass(frozen=True)
class Recipe:
    """What the official code's two sets of settings, and ours, disagree about."""

    epochs: int
    lr: float
    dropout: float | None  # None: the method's own


def recipe(name: RecipeName, public: PublicSet | None) -> Recipe:
    """The settings of a recipe for a dataset.

    mlavl: ours. official-example: of the example in the official code's README, whose epochs go by the dataset.
    official-options: of its options file. published: the same as mlavl for MLAVL; of other methods what their own
    public code does (published.py).

    Raises:
        UsageError: the example has no epochs for this dataset.
    """
    if name == "official-example":
        if public is None:
            raise UsageError(f"--recipe {name} knows the public datasets alone", hint="Give --epochs and --lr.")
        return Recipe(public.example_epochs, lr=1e-2, dropout=0.3)
    if name == "official-options":
        return Recipe(400, lr=1e-3, dropout=0.0)
    return Recipe(300, lr=1e-3, dropout=None)


def rate(epoch: int, epochs: int, schedule: Schedule, warmup: int = 0, milestones: tuple[int, ...] = ()) -> float:
    """What multiplies the learning rate in an epoch, from 0.

    Args:
        epoch, epochs: which of how many.
        schedule: cosine falls to 1 %, multistep to a tenth at each milestone.
        warmup: epochs in which the rate grows linearly to its full value.
        milestones: epochs; by default half and three quarters of them all.
    """
    if epoch < warmup:
        return (epoch + 1) / warmup
    if schedule == "cosine":
        share = (epoch - warmup) / max(epochs - warmup, 1)
        return _COSINE_END + (1 - _COSINE_END) * (1 + math.cos(math.pi * share)) / 2
    if schedule == "multistep":
        steps = milestones or (epochs // 2, epochs * 3 // 4)
        return _STEP ** sum(epoch >= step for step in steps)
    return 1.0
