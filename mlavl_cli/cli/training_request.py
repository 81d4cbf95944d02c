"""What the options of `mlavl train` come to: those of `train_bundle`."""

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mlavl_cli.errors import UsageError

if TYPE_CHECKING:
    from mlavl_cli.datasets.dataset import Dataset
    from mlavl_cli.training.bundle import TrainingOptions
    from mlavl_cli.training.variants import Variant


def variants_of(models: list[str], mag2: bool, ablation: bool) -> "tuple[Variant, ...]":
    from mlavl_cli.training import variants

    if ablation:
        return tuple(variants.ABLATION)
    return tuple(variants.native_and_mag2(models) if mag2 else map(variants.of_model, models))


def refuse_other_backbones_early(output: Path, kind: str, backbones: str) -> None:
    from mlavl_cli.datasets.public import PUBLIC_SETS
    from mlavl_cli.training.write import refuse_other_backbones

    public = PUBLIC_SETS.get(kind)
    refuse_other_backbones(output, public.backbones if public else backbones)


def asked_for(given: SimpleNamespace, data: "Dataset", variants: "tuple[Variant, ...]") -> "TrainingOptions":
    """The options of the command line as those of `train_bundle`; what isn't given is the recipe's."""
    from mlavl_cli.heads.mlavl.losses import LossWeights
    from mlavl_cli.training import recipes
    from mlavl_cli.training.bundle import TrainingOptions
    from mlavl_cli.training.config import TrainConfig
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
    dims: dict[str, Any] = {
        name: getattr(given, name) for name in ("graph", "regressor", "width", "temporal_conv", "consistency_decay")
    }
    dims["dropout"] = chosen.dropout if given.dropout is None else given.dropout
    dims |= dict.fromkeys(left_out - {"tl", "ce"}, False) | MODALITIES[given.modalities]
    return TrainingOptions(
        targets=tuple(given.target or ()), variants=variants, config=config, dims=dims, window=given.window,
        totals=tuple(given.total or ()), start_from=given.start_from, trained_on=given.trained_on,
        licence=given.licence, half=given.half,
    )  # fmt: skip


def as_folder(path: Path) -> str:
    """A path that can't be mistaken for the name of bundled weights."""
    return str(path) if len(path.parts) > 1 else f"./{path}"


def tensorboard_writer() -> Any:
    """TensorBoard's writer, asked for before hours of work and not after."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard isn't installed", hint="Run: pip install 'mlavl[train]'.") from error
    return SummaryWriter
