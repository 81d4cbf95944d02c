"""How a head is trained, as one frozen value."""

from dataclasses import dataclass, field

from mlavl_cli.heads.mlavl.losses import LossWeights
from mlavl_cli.training.choices import OptimizerName, Schedule


@dataclass(frozen=True)
class TrainConfig:
    """How a head is trained; the defaults are ours (recipes.py has the official code's)."""

    epochs: int = 300
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 1e-4
    optimizer: OptimizerName = "adam"
    schedule: Schedule = "cosine"
    warmup: int = 0  # epochs
    milestones: tuple[int, ...] = ()  # of a multistep schedule
    seed: int = 0
    clip_grad: float | None = None
    patience: int | None = None  # epochs without a better one (history.py) before it stops; None: never
    save_every: int = 10  # epochs between states to resume from
    align_epochs: int = 10  # before the first epoch, where there is a consistency objective (align.py)
    consistency_every: int = 1  # steps of which one has the consistency objective, which costs twice the rest
    loss: LossWeights = field(default_factory=LossWeights)
    start: str = ""  # SHA-256 of the head that it begins with
