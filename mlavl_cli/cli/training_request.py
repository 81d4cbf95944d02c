"""What the options of `mlavl train` come to: those of `train_bundle`."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mlavl_cli.cli import console
from mlavl_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from mlavl_cli.bundle import Bundle
    from mlavl_cli.datasets.dataset import Dataset
    from mlavl_cli.training.bundle import TrainingOptions
    from mlavl_cli.training.prompt_features import PromptFeatures
    from mlavl_cli.training.variants import Variant


# Options of MLAVL alone, and their defaults.
_OF_MLAVL = {
    "graph": "sage", "regressor": "linear", "mse": 10.0, "triplet": 1.0, "cross_entropy": 0.01, "lambda_c": 0.0,
    "align_epochs": 10, "consistency_every": 1, "temporal_conv": 0, "consistency_decay": 0, "total": None,
    "temperature": 1.0, "triplets": "all", "without": None, "modalities": "V+A+L",
}  # fmt: skip


def refuse_idle(given: SimpleNamespace, table: bool) -> None:
    """Options that would change nothing: whoever gave them would believe that they did.

    Raises:
        UsageError: there are some.
    """
    models = given.model or ["mlavl"]
    if (given.mag2 and not given.model) or (given.ablation and given.model):
        raise UsageError("--mag2 goes with --model, --ablation with the whole method")
    if given.folds and (table or given.ablation or given.plot or given.start_from or len(models) > 1 or given.mag2):
        raise UsageError("--folds judges one method, anew: no table, no --ablation, --mag2, --plot or --start-from")
    if table and (given.plot or given.start_from):
        raise UsageError("--plot and --start-from don't go with a table of methods")
    if not {"mlavl", "all"} & set(models):
        idle = [name for name, default in _OF_MLAVL.items() if getattr(given, name) != default]
        if idle:
            option = {"mse": "mse-weight", "triplet": "triplet-weight"}.get(idle[0], idle[0].replace("_", "-"))
            raise UsageError(f"--{option} is an option of mlavl; {', '.join(models)} has none such")
    elif models == ["mlavl"] and given.behaviour == "official":
        hint = "Give --model; docs/method.md says where mlavl differs from its public code."
        raise UsageError("--behaviour official is of the other methods", hint=hint)
    if given.plug != "project" and not given.mag2 and not any("+mag2" in name for name in models):
        raise UsageError(f"--plug {given.plug} is of MAG2 in another method", hint="Give --model NAME+mag2.")


def variants_of(models: list[str], mag2: bool, ablation: bool) -> "tuple[Variant, ...]":
    """The rows of a table; "all" means every method, and MAG2 then goes into those that can have it."""
    from mlavl_cli.heads.methods import HEADS, head_class
    from mlavl_cli.training import variants

    if ablation:
        return tuple(variants.ABLATION)
    names = list(HEADS) if models == ["all"] else models
    if mag2:
        can = [name for name in names if models != ["all"] or head_class(name).prompt_kind == "actions"]
        names = [one for name in names for one in ([name, f"{name}+mag2"] if name in can else [name])]
    return tuple(variants.of_model(name) for name in dict.fromkeys(names))


def wanted_backbones(given: SimpleNamespace, saved: bool) -> "Bundle | None":
    """Whose features a manifest's must be: those of the options, else of the heads in --output; None: any.

    Raises:
        WeightsError: --output holds heads on others, which is told before hours of extraction.
    """
    from mlavl_cli.bundle import MANIFEST, find_bundle
    from mlavl_cli.datasets.public import PUBLIC_SETS
    from mlavl_cli.datasets.videos import with_backbones
    from mlavl_cli.training.write import refuse_other_backbones

    begun = saved and (given.output / MANIFEST).exists()
    if public := PUBLIC_SETS.get(given.kind):
        if begun:
            refuse_other_backbones(given.output, public.backbones)
        return None
    if given.backbones or given.visual or given.audio:
        wanted = with_backbones(find_bundle(given.backbones or "mini"), given.visual, given.audio)
        if begun:
            refuse_other_backbones(given.output, wanted)
        return wanted
    there = find_bundle(given.output) if begun else None
    return there if there and there.heads else None


def asked_for(given: SimpleNamespace, data: "Dataset", variants: "tuple[Variant, ...]") -> "TrainingOptions":
    """The options of the command line as those of `train_bundle`; what isn't given is the recipe's."""
    from mlavl_cli.heads.mlavl.losses import LossWeights
    from mlavl_cli.training import recipes
    from mlavl_cli.training.bundle import TrainingOptions
    from mlavl_cli.training.config import TrainConfig
    from mlavl_cli.training.variants import MODALITIES

    _say_what_is_replaced(given, data, variants)
    _say_what_was_learned(given, data)
    chosen = recipes.recipe(given.recipe, data.public)
    left_out = {part.value for part in given.without or []}
    loss = LossWeights(
        mse=given.mse, consistency=given.lambda_c, temperature=given.temperature, triplets=given.triplets,
        triplet=given.triplet * ("tl" not in left_out), cross_entropy=given.cross_entropy * ("ce" not in left_out),
    )  # fmt: skip
    same = ["warmup", "seed", "patience", "align_epochs", "consistency_every"]
    words = ["epochs", "lr", "batch_size", "weight_decay", "optimizer", "schedule", "clip_grad"]
    asked = {name: value for name in words if (value := getattr(given, name)) is not None}
    asked |= {"milestones": tuple(given.milestone)} if given.milestone else {}
    of_recipe = {"epochs": chosen.epochs, "lr": chosen.lr}
    config = TrainConfig(**of_recipe | asked | {name: getattr(given, name) for name in same}, loss=loss)
    sizes = ["graph", "regressor", "width", "temporal_conv", "consistency_decay", "dropout", "behaviour", "plug"]
    dims: dict[str, Any] = {name: value for name in sizes if (value := getattr(given, name)) is not None}
    if chosen.dropout is not None:
        dims.setdefault("dropout", chosen.dropout)
    dims |= dict.fromkeys(left_out - {"tl", "ce"}, False) | MODALITIES[given.modalities]
    return TrainingOptions(
        targets=tuple(given.target or ()), variants=variants, config=config, dims=dims, window=given.window,
        published=given.recipe == "published", given=frozenset(asked),
        totals=tuple(given.total or ()), start_from=given.start_from, trained_on=given.trained_on,
        licence=given.licence, half=given.half,
    )  # fmt: skip


def _say_what_is_replaced(given: SimpleNamespace, data: "Dataset", variants: "tuple[Variant, ...]") -> None:
    """A head of a bundle that is there is replaced by one that is trained into it, unless this resumes its run."""
    from mlavl_cli.bundle import MANIFEST, find_bundle

    if len(variants) != 1 or not (given.output / MANIFEST).is_file():
        return
    runs = given.output / "runs"
    for target in find_bundle(given.output).heads:
        again = (runs / target / variants[0].name).exists()
        if target in (given.target or data.targets) and not again:
            console.warning(f"{given.output}: its head for {target} will be replaced by a {variants[0].name} head")


def _say_what_was_learned(given: SimpleNamespace, data: "Dataset") -> None:
    """Figures of routines that the heads of --start-from learned from flatter whatever begins with them."""
    from mlavl_cli.bundle import find_bundle
    from mlavl_cli.training.evaluate import learned_from

    for split in data.splits if given.start_from else ():
        if split != "train" and (told := learned_from(find_bundle(given.start_from), data, split)):
            console.warning(f"split {split}: {told.replace('these heads', 'the heads of --start-from')}")


def validated(data: "Dataset", by: str) -> "Dataset":
    """The dataset with a split by which epochs are chosen, cut from the training split where it has none.

    Args:
        data: as it was loaded.
        by: cut; test, as the official code chooses on the public datasets; auto: cut for one's own data.

    Raises:
        DataError: it is to be cut from too few routines.
    """
    from mlavl_cli.datasets.splits import with_validation

    if data.judged_split == "val":
        return data
    try:
        if by == "cut" or (by == "auto" and not data.public):
            cut = with_validation(data)
            count, all_of_it = len(cut.splits["val"]), len(data.splits["train"])
            console.told(f"no split val: {count} of {all_of_it} training routines choose the epochs and teach nothing")
            return cut
    except DataError:
        if by == "cut":
            raise
    console.note("The best epoch is chosen on the test split, as the official code does; a val split is fairer.")
    return data


def texts_of(given: SimpleNamespace, data: "Dataset") -> "PromptFeatures":
    """The prompts' features: those that are given, or of the text tower that belongs to the dataset's backbones."""
    from mlavl_cli.cli.prompts import read_features
    from mlavl_cli.training.prompt_features import prompt_features

    path = given.text_features
    encoded = read_features(path, given.grade_order == "blocks") if path else None
    return prompt_features(data.sport, data.backbones, encoded, given.prompts)


def tensorboard_writer() -> Any:
    """TensorBoard's writer, asked for before hours of work and not after."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard isn't installed", hint="Run: pip install 'mlavl[train]'.") from error
    return SummaryWriter
