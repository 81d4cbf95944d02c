"""mlavl weights: what can score here, and whether it is whole."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mlavl_cli.bundle import BackboneSpec, Bundle, bundled_names, find_bundle, verify_bundle
from mlavl_cli.cli import console, dataset, options
from mlavl_cli.cli import prompts as prompt_options
from mlavl_cli.errors import UsageError, WeightsError, one_line
from mlavl_cli.untrusted import plain_name

app = typer.Typer(no_args_is_help=True, help="The weights that can be used: list, info, verify.")
_Name = Annotated[str, typer.Argument(metavar="NAME_OR_FOLDER")]


@app.command("list")
def list_() -> None:
    """The bundled weights, their targets, and what they were trained on."""
    for name in bundled_names():
        bundle = find_bundle(name)
        targets = ", ".join(bundle.heads) or "features only"
        typer.echo("\t".join(map(one_line, (name, bundle.sport, targets, bundle.trained_on))))


@app.command()
def info(name: _Name) -> None:
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
        "prompts": _prompts(bundle) or "none",
        "metrics": bundle.metrics or "none measured",
        "consistency": bundle.consistency or "not validated for these weights",
    }
    for key, value in rows.items():
        typer.echo(one_line(f"{key:<12} {value}"))


@app.command()
def verify(name: _Name) -> None:
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


@app.command("import")
def import_(
    checkpoint: Annotated[Path, typer.Argument(metavar="OFFICIAL.pkl", help="A state dict of the official code.")],
    text_features: Annotated[
        Path, typer.Option("--text-features", help="The official *_text_feature.npy, or your own.")
    ],
    target: Annotated[str, typer.Option("--target", "-t", help="What it scores: TES, PCS, ..., Ball, ...")],
    score_range: Annotated[
        Any,
        typer.Option("--range", metavar="LOW:HIGH", parser=dataset.range_of, help="Of that score, in points: 0:130."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle; other targets in it are kept.")],
    backbones: Annotated[str, typer.Option("--backbones", help="Whose features it was trained on: fs1000, fisv, rg.")],
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
    heads: Annotated[int, typer.Option(min=1, help="Attention heads, which tensors don't show.")] = 8,
    trained_on: Annotated[str, typer.Option(help="The sentence shown with every score.")] = "an imported checkpoint",
    licence: Annotated[
        str, typer.Option(help="Of the weights, as the bundle says it.")
    ] = "of the checkpoint's authors",
) -> None:
    """Bring a checkpoint of the official code: a .pkl becomes a head in a bundle that `mlavl score` takes.

    mlavl weights import TES.pkl --text-features text_feature.npy --prompts labels.csv -t TES --range 0:130
    --backbones fs1000 -o my-weights
    """
    from mlavl_cli.features.prompts import read_prompts
    from mlavl_cli.training.imported import Meaning, import_head

    meaning = Meaning(plain_name(target, "a target", UsageError), score_range, backbones, window, heads)
    text = prompt_options.read_features(text_features, grade_order == "blocks")
    listed = read_prompts(prompts) if prompts else None
    found = import_head(checkpoint, text, listed, meaning, output, trained_on, licence)
    for warning in found.warnings:
        console.warning(f"{checkpoint}: {warning}")
    dims = found.head.model.dims
    typer.echo(f"{found.bundle.heads[target]}\t{target}\tD_v {dims.visual_dim}, M {dims.actions}")


def _prompts(bundle: Bundle) -> str:
    """In which forms the heads had their prompts, each with the targets of that form."""
    from mlavl_cli.heads.checkpoint import load_head

    stops = {True: "a full stop behind each", False: "no full stops", None: "not known whether with full stops"}
    forms: dict[str, list[str]] = {}
    for target, path in bundle.heads.items():
        head = load_head(path)
        dims = head.model.dims
        form = f"{dims.prompts} texts, {stops[head.full_stop]}, grades {dims.grade_order}, T {head.window or 'any'}"
        forms.setdefault(form, []).append(target)
    return "; ".join(f"{', '.join(targets)}: {form}" for form, targets in forms.items())


def _backbone(bundle: Bundle, spec: BackboneSpec) -> str:
    if spec.folder is not None and spec.folder.is_relative_to(bundle.folder):
        return f"in the bundle, {spec.folder.relative_to(bundle.folder)}"
    return f"{spec.source} at {spec.revision or 'main'}"
