"""mlavl weights: what can score here, and whether it is whole."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mlavl_cli.backbone import ELSEWHERE, BackboneSpec
from mlavl_cli.bundle import Bundle, bundled_names, find_bundle, verify_bundle
from mlavl_cli.cli import console, dataset, options
from mlavl_cli.cli import prompts as prompt_options
from mlavl_cli.errors import UsageError, WeightsError, one_line
from mlavl_cli.heads.dims import Behaviour
from mlavl_cli.heads.methods import HEADS
from mlavl_cli.untrusted import plain_targets

if TYPE_CHECKING:
    from mlavl_cli.datasets.dataset import Routine

app = typer.Typer(
    no_args_is_help=True,
    help="The weights that can be used: list, info, verify, import (checkpoints), push (to the hub).",
)
_Name = Annotated[str, typer.Argument(metavar="NAME_OR_FOLDER")]


@app.command("list")
def list_(quiet: options.Quiet = False, verbose: options.Verbose = False) -> None:
    """The bundled weights, their targets, and what they were trained on."""
    for name in bundled_names():
        bundle = find_bundle(name)
        targets = ", ".join(bundle.heads) or "features only"
        typer.echo("\t".join(map(one_line, (name, bundle.sport, targets, bundle.trained_on))))


@app.command()
def info(name: _Name, quiet: options.Quiet = False, verbose: options.Verbose = False) -> None:
    """Show a bundle's metadata."""
    bundle = find_bundle(name)
    rows = {
        "name": bundle.name,
        "folder": bundle.folder,
        "sport": bundle.sport,
        "targets": ", ".join(bundle.heads) or "none: for extraction, or to train a head on",
        "trained on": bundle.trained_on,
        "licence": bundle.licence,
        "visual": _backbone(bundle, bundle.visual),
        "audio": _backbone(bundle, bundle.audio),
        "text": _backbone(bundle, bundle.text) if bundle.text else "none",
        "heads": _heads(bundle) or "none",
        "metrics": _figures(bundle.metrics) or "none measured",
        "consistency": _consistency(bundle) or "not validated for these weights",
    }
    for key, value in rows.items():
        typer.echo(one_line(f"{key:<12} {value}"))


def _figures(values: Any, levels: int = 2) -> str:
    """Words and numbers of a mapping, and of those in it."""
    if isinstance(values, dict):
        nested = {name: _figures(value, levels - 1) for name, value in values.items()} if levels else {}
        return ", ".join(f"{name} ({nested[name]})" if isinstance(values[name], dict) else f"{name} {nested[name]}"
                         for name in nested)  # fmt: skip
    return f"{values:.3g}" if isinstance(values, float) else str(values)


def _consistency(bundle: Bundle) -> str:
    """What was measured of it on all routines: those of the exam by groups are in docs/scores.md."""
    known = bundle.consistency or {}
    exam = known.get("exam")
    if not isinstance(exam, dict):
        return _figures(known)
    told = {name: known[name] for name in ("dataset", "split") if name in known}
    return _figures(told | {name: exam[name] for name in ("routines", "clips", "auc", "spearman") if name in exam})


@app.command()
def verify(name: _Name, quiet: options.Quiet = False, verbose: options.Verbose = False) -> None:
    """Compare every file of a bundle with its recorded checksum and load its heads."""
    from mlavl_cli.heads.checkpoint import load_head

    bundle = find_bundle(name)
    problems = [WeightsError(text, path=bundle.folder) for text in verify_bundle(bundle)]
    for target, path in bundle.heads.items():
        try:
            load_head(path, target)
        except WeightsError as error:
            problems.append(error)
    for problem in problems:
        console.error(problem)
    if problems:
        raise typer.Exit(1)
    if not bundle.files and not bundle.heads:
        typer.echo(f"{bundle.name}: nothing to verify; its backbones come from the hub, and it has no heads")
        return
    typer.echo(f"{bundle.name}: {len(bundle.files)} files and {len(bundle.heads)} heads are whole")


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A bundle of your own.")],
    name: Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository; it is made if it isn't there.")],
    private: Annotated[bool, typer.Option("--private", help="A new repository is seen by you alone.")] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Put a bundle on the Hugging Face hub, with a model card: everybody then says --weights USER/NAME.

    Log in with `hf auth login` first. The card says what the bundle knows of itself: look at it before you push.
    """
    from mlavl_cli.training.push import push_bundle

    typer.echo(one_line(push_bundle(find_bundle(folder), name, private)))


@app.command("import")
def import_(
    checkpoint: Annotated[Path, typer.Argument(metavar="FILE", help="A state dict of a method's public code.")],
    target: Annotated[str, typer.Option("--target", "-t", help="What it scores: TES, PCS, ..., Ball, ...")],
    score_range: Annotated[
        Any,
        typer.Option(
            "--range",
            metavar="LOW:HIGH",
            parser=dataset.range_of_one,
            help="Of that score, in points: 0:130, or TES=0:130.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The bundle; other targets in it are kept.", file_okay=False)
    ],
    backbones: Annotated[str, typer.Option("--backbones", help="Whose features it was trained on: fs1000, fisv, rg.")],
    model: Annotated[
        str, typer.Option("--model", help=f"The method: {', '.join(name for name in HEADS if name != 'svr')}.")
    ] = "mlavl",
    text_features: Annotated[
        Path | None,
        typer.Option("--text-features", help="MLAVL's prompts: the official *_text_feature.npy, or your own."),
    ] = None,
    exemplars: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            "--exemplars",
            metavar="KIND PATH",
            help="Of core, tpt and t2cr: the dataset they were trained on, with some of which they compare.",
        ),
    ] = None,
    behaviour: Annotated[
        Behaviour, typer.Option(help="Of other methods than MLAVL: as their public code, or a careful reading.")
    ] = "official",
    outputs: Annotated[
        Literal["points", "shares"] | None,
        typer.Option(help="Whether it puts out points, or shares of the range.  \\[default: the method's]"),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="The official csv of all prompts, or of actions: columns id,name.")
    ] = None,
    grade_order: prompt_options.GradeOrder = "interleaved",
    window: Annotated[
        Any,
        typer.Option(
            metavar="CLIPS",
            parser=options.window_of,
            help="Clips it was trained on: a number, full, or auto: the dataset's of that range or those backbones.",
        ),
    ] = "auto",
    heads: Annotated[
        int | None,
        typer.Option(min=1, help="Attention heads, which tensors don't show.  \\[default: the public code's]"),
    ] = None,
    trained_on: Annotated[
        str, typer.Option(callback=options.words, help="The sentence shown with every score.")
    ] = "an imported checkpoint",
    licence: Annotated[
        str, typer.Option(callback=options.words, help="Of the weights, as the bundle says it.")
    ] = "of the checkpoint's authors",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Bring a checkpoint of a method's public code: it becomes a head in a bundle that `mlavl score` takes.

    mlavl weights import TES.pkl --text-features text_feature.npy --prompts labels.csv -t TES --range 0:130
    --backbones fs1000 -o my-weights

    mlavl weights import Ball_best.pkl --model cofinal -t Ball --range 0:25 --backbones rg -o my-weights
    """
    from mlavl_cli.features.prompts import read_prompts
    from mlavl_cli.training.imported import Meaning, import_head

    meaning = Meaning(
        plain_targets([target], UsageError)[0], score_range, backbones, window, heads, model, behaviour,
        None if outputs is None else outputs == "points",
    )  # fmt: skip
    text = prompt_options.read_features(text_features, grade_order == "blocks") if text_features else None
    listed = read_prompts(prompts) if prompts else None
    known = _routines(exemplars, backbones, target, score_range) if exemplars else None
    found = import_head(checkpoint, text, listed, meaning, output, trained_on, licence, known)
    for warning in found.warnings:
        console.warning(f"{checkpoint}: {warning}")
    dims = found.head.model.dims
    size = f"M {dims.actions}" if model == "mlavl" else model
    window = f"T {found.head.window or 'any'}"
    typer.echo(f"{found.bundle.heads[target]}\t{target}\tD_v {dims.visual_dim}, {size}, {window}")


def _routines(exemplars: tuple[str, Path], backbones: str, target: str, score_range: Any) -> "list[Routine]":
    from mlavl_cli.datasets.load import load_dataset
    from mlavl_cli.device import place

    kind, path = exemplars
    ranges = {target: score_range}
    return load_dataset(kind, path, place("auto"), backbones, ranges=ranges).of_target(target, "train")


def _heads(bundle: Bundle) -> str:
    """What kinds of heads there are, each with the targets of that kind: method, features, window, range, prompts."""
    from mlavl_cli.heads.checkpoint import load_head
    from mlavl_cli.training.variants import method_of

    stops = {True: "a full stop behind each", False: "no full stops", None: "not known whether with full stops"}
    forms: dict[str, list[str]] = {}
    for target, path in bundle.heads.items():
        head = load_head(path)
        dims = head.model.dims
        count = (
            {"all": dims.prompts, "actions": dims.actions, "none": 0}[head.model.prompt_kind] if dims.language else 0
        )
        widths = {"D_v": dims.visual_dim, "K": dims.tokens, "D_a": dims.audio_dim, "D_f": dims.flow_dim}
        form = method_of(head.model) + (" as published" if head.model.official else "")
        form += "".join(f", {name} {width}" for name, width in widths.items() if width > (name == "K"))
        form += f", T {head.window or 'any'}, {head.score_range[0]:g} to {head.score_range[1]:g}, "
        form += f"{count} texts, {stops[head.full_stop]}, grades {dims.grade_order}" if count else "no texts"
        forms.setdefault(form, []).append(target)
    return "; ".join(f"{', '.join(targets)}: {form}" for form, targets in forms.items())


def _backbone(bundle: Bundle, spec: BackboneSpec) -> str:
    if spec.folder is not None and spec.folder.is_relative_to(bundle.folder):
        return f"in the bundle, {spec.folder.relative_to(bundle.folder)}"
    if spec.source == ELSEWHERE:
        return "not at hand: trained on another tool's features"
    return f"{spec.source} at {spec.revision or 'main'}"
