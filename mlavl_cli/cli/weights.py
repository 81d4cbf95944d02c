"""mlavl weights: what can score here, and whether it is whole."""

from typing import Annotated

import typer

from mlavl_cli.bundle import BackboneSpec, Bundle, bundled_names, find_bundle, verify_bundle
from mlavl_cli.cli import console

app = typer.Typer(no_args_is_help=True, help="The weights that can be used: list, info, verify.")
_Name = Annotated[str, typer.Argument(metavar="NAME_OR_FOLDER")]


@app.command("list")
def list_() -> None:
    """The bundled weights, their targets, and what they were trained on."""
    for name in bundled_names():
        bundle = find_bundle(name)
        targets = ", ".join(bundle.heads) or "features only"
        typer.echo(f"{name}\t{bundle.sport}\t{targets}\t{bundle.trained_on}")


@app.command()
def info(name: _Name) -> None:
    """All that a bundle says of itself."""
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
        "metrics": bundle.metrics or "none measured",
        "consistency": bundle.consistency or "not validated for these weights",
    }
    for key, value in rows.items():
        typer.echo(f"{key:<12} {value}")


@app.command()
def verify(name: _Name) -> None:
    """Compare every file of a bundle with its recorded checksum and load its heads."""
    from mlavl_cli.errors import WeightsError
    from mlavl_cli.head.checkpoint import load_head

    bundle = find_bundle(name)
    problems = [WeightsError(text, path=bundle.folder) for text in verify_bundle(bundle)]
    for path in bundle.heads.values():
        try:
            load_head(path)
        except WeightsError as problem:
            problems.append(problem)
    for problem in problems:
        console.error(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{bundle.name}: {len(bundle.files)} files and {len(bundle.heads)} heads are whole")


def _backbone(bundle: Bundle, spec: BackboneSpec) -> str:
    if spec.folder is not None:
        return f"in the bundle, {spec.folder.relative_to(bundle.folder)}"
    return f"{spec.source} at {spec.revision or 'main'}"
