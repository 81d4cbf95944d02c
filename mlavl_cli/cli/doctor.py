"""mlavl doctor: is everything here that scoring needs, and what to do where it isn't."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from mlavl_cli.cli import options
from mlavl_cli.cli.tables import TableFormat, print_rows
from mlavl_cli.errors import MlavlError, one_line

_DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac", "mp3", "opus", "flac", "ac3")
_PACKAGES = ("torch", "torchvision", "torchaudio", "av", "transformers", "librosa")
_COLOURS = {"ok": "green", "note": "yellow", "bad": "red"}
_EXTRAS = {"train": ("tensorboard", "matplotlib"), "ray": ("ray",)}


class Finding(NamedTuple):
    """One line: ok, note (something optional is missing) or bad."""

    check: str
    state: str
    found: str
    fix: str = ""


def doctor(
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    weights: options.Weights = "mini",
    form: Annotated[TableFormat, typer.Option("--format", "-f", help="How the rows are printed.")] = "table",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Check the machine: packages, device, codecs, weights, hub cache, room to write; and say how to mend it.

    Exit code 0: videos can be scored here; 1: something needed is missing.
    """
    checks = {
        "packages": _packages,
        "device": lambda: _device(device, precision),
        "codecs": _codecs,
        "weights": lambda: _weights(weights),
        "hub cache": _cache,
        "folders": _writable,
    }
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            findings += check()
        except (ImportError, OSError) as error:  # what is broken is what is to be told
            findings.append(Finding(name, "bad", str(error), "pip install --force-reinstall mlavl"))
    if form == "table":
        for finding in findings:
            typer.secho(f"{finding.state:<5}", fg=_COLOURS[finding.state], nl=False)
            typer.echo(one_line(f"{finding.check:<12} {finding.found}"))
            if finding.fix:
                typer.echo(one_line(f"{'':<17} -> {finding.fix}"))
    else:
        print_rows([finding._asdict() for finding in findings], form)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def _packages() -> Iterator[Finding]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from mlavl_cli import __version__

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    yield Finding("mlavl", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}")
    found = {name: installed(name) for name in _PACKAGES}
    missing = [name for name, there in found.items() if there is None]
    listed = ", ".join(f"{name} {there}" for name, there in found.items() if there)
    fix = f"pip install {' '.join(missing)}" if missing else ""
    yield Finding("packages", "bad" if missing else "ok", listed, fix)
    for extra, names in _EXTRAS.items():
        if all(map(installed, names)):
            yield Finding(f"extra {extra}", "ok", ", ".join(f"{name} {installed(name)}" for name in names))
        else:
            yield Finding(f"extra {extra}", "note", "not installed", f"pip install 'mlavl[{extra}]', if you need it")


def _device(device: str, precision: str) -> Iterator[Finding]:
    import torch

    from mlavl_cli.device import place

    try:
        placement = place(device, precision)
    except MlavlError as error:
        yield Finding("device", "bad", error.message, error.hint or "")
        return
    threads = f", {torch.get_num_threads()} threads" if placement.device.type == "cpu" else ""
    yield Finding("device", "ok", f"{placement.device}, {placement.precision}{threads}")
    try:
        with torch.inference_mode():
            square = torch.ones(64, 64, device=placement.device, dtype=placement.dtype)
            wrong = None if float((square @ square).float().sum()) == 64.0**3 else "it gives wrong products"
    except RuntimeError as error:
        wrong = str(error).splitlines()[0]
    if wrong:
        yield Finding("arithmetic", "bad", wrong, "Use another --device or --precision.")


def _codecs() -> Iterator[Finding]:
    import av

    missing = [name for name in _DECODERS if not _decodes(av, name)]
    versions = av.library_versions
    fix = "pip install --force-reinstall av" if missing else ""
    found = f"FFmpeg's libavcodec {'.'.join(map(str, versions['libavcodec']))}"
    found += f", without {', '.join(missing)}" if missing else f": {', '.join(_DECODERS)}"
    yield Finding("codecs", "bad" if "h264" in missing or "aac" in missing else "note" if missing else "ok", found, fix)


def _decodes(av: Any, name: str) -> bool:
    try:
        return av.codec.Codec(name, "r") is not None
    except (ValueError, LookupError):
        return False


def _weights(name: str) -> Iterator[Finding]:
    from huggingface_hub import constants, try_to_load_from_cache

    from mlavl_cli.bundle import find_bundle, verify_bundle
    from mlavl_cli.heads.checkpoint import load_head

    try:
        bundle = find_bundle(name)
        problems = verify_bundle(bundle)
        for path in bundle.heads.values():
            load_head(path)
    except MlavlError as error:
        yield Finding("weights", "bad", f"{error.path or name}: {error.message}", error.hint or "")
        return
    if problems:
        yield Finding("weights", "bad", f"{bundle.folder}: {problems[0]}", "Install them again, or copy them again.")
        return
    if not bundle.heads:
        yield Finding("weights", "bad", f"{bundle.name}: no heads, features only", "Train one, or use --weights mini.")
        return
    yield Finding("weights", "ok", f"{bundle.name}: {', '.join(bundle.heads)}; {bundle.trained_on}")
    hub = [spec for spec in (bundle.visual, bundle.audio) if spec.folder is None]
    wanted = [spec for spec in hub if not spec.source.startswith("torchvision/")]
    for spec in wanted:
        if not isinstance(try_to_load_from_cache(spec.source, "config.json", revision=spec.revision), str):
            state = "bad" if constants.HF_HUB_OFFLINE else "note"
            yield Finding("backbone", state, f"{spec.source} isn't in the hub cache", f"hf download {spec.source}")


def _cache() -> Iterator[Finding]:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    models = sorted(path.name.removeprefix("models--").replace("--", "/") for path in cache.glob("models--*"))
    offline = "; HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ""
    if models:
        yield Finding("hub cache", "ok", f"{cache}: {', '.join(models)}{offline}")
    else:
        found = f"{cache}: empty{offline}; only local backbones (as those of mini) can be used offline"
        yield Finding("hub cache", "note", found, "hf download ID where there is a network, for fs1000, fisv or rg")


def _writable() -> Iterator[Finding]:
    import tempfile

    for check, folder in (("here", Path.cwd()), ("temporary", Path(tempfile.gettempdir()))):
        try:
            with tempfile.TemporaryFile(dir=folder):
                yield Finding(check, "ok", f"{folder} can be written")
        except OSError as error:
            fix = "Write elsewhere with --output." if check == "here" else "Set TMPDIR to a folder that can be written."
            yield Finding(check, "bad" if check == "temporary" else "note", f"{folder}: {error.strerror}", fix)
