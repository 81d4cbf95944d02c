"""What a head learns before scores, where it is to judge whether pictures and music fit (docs/method.md, section 14).

Whether two clips fit is a product of both: neither says anything alone, and from a random start the consistency
objective finds no gradient. So first a moment's pictures and its music are given similar tokens, which costs next to
nothing, and then the consistency is learned by itself. Neither asks for scores: all targets begin with the same.
"""

from collections.abc import Callable, Iterator

import torch

from mlavl_cli.errors import DataError
from mlavl_cli.heads.base import Batch, Head, added
from mlavl_cli.heads.mlavl.losses import LossWeights
from mlavl_cli.training.batches import Batches

FIT_ALONE = LossWeights(mse=0, triplet=0, cross_entropy=0, consistency=1)


def align(
    head: Head, train: Batches, epochs: int, lr: float, seed: int, on_epoch: Callable[[int], None] | None = None
) -> None:
    """Trains a head, in place, to tell which music belongs to which pictures.

    Args:
        head: that judges consistency, on its device.
        train: routines with sound.
        epochs: passes over them in which the whole head learns its consistency; three times as many before them, which
            cost next to nothing, bring the projections alone together.
        lr: the highest; each part warms up for a tenth and ends near nothing.
        seed: of all that is drawn.
        on_epoch: told how many of the 4 * epochs passes are done.

    Raises:
        DataError: the loss is no number any more.
    """
    generator = torch.Generator().manual_seed(seed)

    def whole(batch: Batch) -> torch.Tensor:
        output = head(batch.visual, batch.audio, batch.mask)
        return added(head.loss(output, batch, FIT_ALONE, generator))

    head.train()
    done = 0
    for objective, passes in ((head.alignment, 3 * epochs), (whole, epochs)):
        for _ in _learn(head, train, objective, passes, lr, generator):
            done += 1
            if on_epoch:
                on_epoch(done)


def _learn(
    head: Head,
    train: Batches,
    objective: Callable[[Batch], torch.Tensor],
    epochs: int,
    lr: float,
    generator: torch.Generator,
) -> Iterator[None]:
    """Adam on one objective; yields behind every epoch."""
    device = next(head.parameters()).device
    optimizer = torch.optim.Adam(head.parameters(), lr=lr)
    steps = epochs * -(-len(train.routines) // train.batch_size)
    warm = 0.1 if steps >= 20 else 0.3  # with a single step to warm up, torch divides by zero
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=warm)
    for _ in range(epochs):
        for batch in train.shuffled(generator):
            optimizer.zero_grad(set_to_none=True)
            loss = objective(batch.to(device))
            loss.backward()
            optimizer.step()
            schedule.step()
        if not torch.isfinite(loss):
            raise DataError("the alignment's loss is no number any more", hint="Lower --lr.")
        yield
