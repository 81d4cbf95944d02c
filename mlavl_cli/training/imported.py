"""A checkpoint of a method's public code -> a head in a bundle."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlavl_cli.bundle import Bundle, find_bundle
from mlavl_cli.datasets.dataset import Routine
from mlavl_cli.datasets.public import PUBLIC_SETS, PublicSet, set_of_range
from mlavl_cli.errors import UsageError
from mlavl_cli.features.prompts import Prompts, grade_names
from mlavl_cli.features.text_features import TextFeatures, refuse_other_texts
from mlavl_cli.heads.checkpoint import TargetHead
from mlavl_cli.heads.dims import Behaviour, HeadDims
from mlavl_cli.heads.mlavl.official import import_official
from mlavl_cli.heads.published import LAYOUTS, Layout, import_published
from mlavl_cli.score_range import Range
from mlavl_cli.training.evaluate import of_head
from mlavl_cli.training.published import published_dims
from mlavl_cli.training.write import About, refuse_other_backbones, refuse_other_data, write_heads


@dataclass(frozen=True)
class Meaning:
    """What a checkpoint's numbers mean, which no tensor shows.

    Attributes:
        target: what it scores.
        score_range: of that score, in points.
        backbones: the preset or bundle whose features it was trained on.
        window: clips it was trained on; None: any; "auto": the window of the dataset that has this range or preset.
        heads: of its attention; None: as many as the public code has.
        model: the method.
        behaviour: of another method than MLAVL: as its public code, or careful (docs/methods.md).
        points: whether it puts out points; None: as its public code does.
    """

    target: str
    score_range: Range
    backbones: str
    window: int | Literal["auto"] | None = "auto"
    heads: int | None = None
    model: str = "mlavl"
    behaviour: Behaviour = "official"
    points: bool | None = None


@dataclass(frozen=True)
class ImportedHead:
    """The bundle that holds the head now, the head, and what a user should know of it."""

    bundle: Bundle
    head: TargetHead
    warnings: tuple[str, ...]


def import_head(
    checkpoint: Path,
    text: TextFeatures | None,
    prompts: Prompts | None,
    meaning: Meaning,
    output: Path,
    trained_on: str,
    licence: str,
    exemplars: list[Routine] | None = None,
) -> ImportedHead:
    """Writes the head into the bundle `output`, whose other targets are kept.

    Args:
        checkpoint: a state dict of a method's public code.
        text, prompts: of MLAVL: the prompts' features, and the prompts where they are known.
        meaning: what the checkpoint doesn't say.
        output: the bundle's folder.
        trained_on, licence: what the bundle says of it.
        exemplars: the training routines, for methods that compare with some of them.

    Raises:
        UsageError: MLAVL without text features, or a method that compares without routines to compare with.
        WeightsError: the checkpoint or the bundle doesn't fit; or its other heads are of other data.
        DataError: prompts and text features don't belong together.
    """
    base, about = find_bundle(meaning.backbones), About(trained_on, licence)
    refuse_other_backbones(output, base)
    refuse_other_data(output, [meaning.target], about)
    known = set_of_range(meaning.target, meaning.score_range) or PUBLIC_SETS.get(meaning.backbones)
    if meaning.model == "mlavl":
        head, warnings = _mlavl(checkpoint, text, prompts, meaning, known)
        assert text is not None
        warnings += _misfits(head.model.dims, base, len(text.rows), known)
    else:
        head, warnings = _other(checkpoint, meaning, known, exemplars), []
        warnings += [*_guessed(head.model.dims, meaning, known), *_widths(head.model.dims, base)]
    if meaning.window == "auto" and known is None and head.window is None:
        warnings.append(
            "no dataset is known that has this range or these backbones, so all clips of a routine are scored; a head "
            "that was trained on a fixed number of clips needs it as --window"
        )
    bundle = write_heads(output, base, {meaning.target: head}, about)
    return ImportedHead(bundle, head, tuple(warnings))


def _window(meaning: Meaning, known: PublicSet | None) -> int | None:
    if meaning.window != "auto":
        return meaning.window
    return known.window if known else None


def _mlavl(
    checkpoint: Path, text: TextFeatures | None, prompts: Prompts | None, meaning: Meaning, known: PublicSet | None
) -> tuple[TargetHead, list[str]]:
    if text is None:
        raise UsageError("MLAVL needs its prompts' features", hint="Give --text-features, or another --model.")
    if prompts:
        refuse_other_texts(text, prompts)
    found = import_official(checkpoint, text.rows, meaning.heads or 8)
    words = grade_names(found.model.dims.grades)
    texts = prompts.texts if prompts else text.texts
    window = _window(meaning, known)
    head = TargetHead(found.model, meaning.target, meaning.score_range, words, texts, window, text.full_stop)
    return head, list(found.warnings)


def _other(checkpoint: Path, meaning: Meaning, known: PublicSet | None, exemplars: list[Routine] | None) -> TargetHead:
    layout = LAYOUTS.get(meaning.model, Layout())
    low, high = meaning.score_range
    points = layout.points if meaning.points is None else meaning.points
    if points and not layout.points:
        raise UsageError(f"--outputs points: {meaning.model} puts out shares of a range")
    if meaning.heads and not layout.attends:
        raise UsageError(f"--heads {meaning.heads}: {meaning.model} has no attention whose heads could be chosen")
    if points and low:
        raise UsageError(f"{meaning.model} puts out points, which begin at 0", hint=f"Give --range 0:{high:g}.")
    official = meaning.behaviour == "official"
    choices = published_dims(meaning.model, meaning.target, known.name if known else "")
    choices.pop("alpha", None)  # of training alone
    choices.pop("candidates", None)  # seen in the tensors
    model = import_published(checkpoint, meaning.model, meaning.heads, official, high if points else 1.0, choices)
    window = None if layout.whole and meaning.window == "auto" else _window(meaning, known)
    if model.dims.clips:
        if meaning.window not in ("auto", model.dims.clips):
            raise UsageError(f"--window {meaning.window}: the checkpoint's tensors are those of {model.dims.clips}")
        window = model.dims.clips
    head = TargetHead(
        model, meaning.target, meaning.score_range, grade_names(model.dims.grades), window=window, full_stop=None
    )
    if model.exemplar_count:
        if exemplars is None:
            cause = f"{meaning.model} compares with training routines, which its checkpoints don't hold"
            raise UsageError(cause, hint="Give --exemplars KIND PATH, the dataset that it was trained on.")
        for one in exemplars:
            if wrong := head.wrong_width(one.visual.shape[1], None, clips=len(one.visual)):
                raise UsageError(f"--exemplars: {one.id}: {wrong}")
        batches = of_head(head, exemplars, batch_size=len(exemplars))
        model.prepare(batches.labels)
        model.remember(batches.spread(model.exemplar_count))
    return head


# By which the public code divides TES and PCS of Fis-V, where it isn't their range.
_DIVISORS = {"cofinal": 25, "usdl": 25, "core": 25, "tpt": 25, "gdlt": 30, "qtd": 43, "pamfn": 45}


def _guessed(dims: HeadDims, meaning: Meaning, known: PublicSet | None) -> Iterator[str]:
    """What is taken for granted, and no tensor shows."""
    divisor = _DIVISORS.get(meaning.model)
    if known and known.name == "Fis-V" and divisor and meaning.score_range[1] != divisor and not meaning.points:
        yield (
            f"the public code of {meaning.model} learned Fis-V's scores divided by {divisor}; if this file did, "
            f"give --range 0:{divisor}"
        )
    if meaning.model == "lstm" and meaning.points is None:
        yield (
            "its outputs are taken for points; if it learned scores divided by 100 and their standard deviation s, as "
            "C3D-LSTM does, give --outputs shares --range 0:(100 s)"
        )
    if getattr(dims, "sparse", 0):
        yield "its sparse clips are taken evenly from the dense ones, where its public code cuts them from the video"


def _widths(dims: HeadDims, base: Bundle) -> Iterator[str]:
    for name, takes, spec in (("visual", dims.visual_dim, base.visual), ("audio", dims.audio_dim, base.audio)):
        if takes and spec.dim not in (None, takes):
            yield f"it takes {name} features of width {takes}, but those of {base.name} have {spec.dim}: it can't score"


def _misfits(dims: HeadDims, base: Bundle, prompts: int, known: PublicSet | None) -> Iterator[str]:
    yield from _widths(dims, base)
    other = [public for public in PUBLIC_SETS.values() if public.prompts == prompts]
    if known and prompts != known.prompts and other:
        sports = sorted({public.sport for public in other})
        yield f"{prompts} text features are those of {', '.join(sports)}, but {known.name} is {known.sport}"
