"""A checkpoint of the official code -> a head in a bundle."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlavl_cli.bundle import Bundle, find_bundle
from mlavl_cli.datasets.public import PUBLIC_SETS, PublicSet, set_of_range
from mlavl_cli.features.prompts import GRADES, Prompts
from mlavl_cli.features.text_features import TextFeatures, refuse_other_texts
from mlavl_cli.heads.checkpoint import TargetHead
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.mlavl.official import import_official
from mlavl_cli.score_range import Range
from mlavl_cli.training.write import About, refuse_other_backbones, write_heads


@dataclass(frozen=True)
class Meaning:
    """What a checkpoint's numbers mean, which no tensor shows.

    Attributes:
        target: what it scores.
        score_range: of that score, in points.
        backbones: the preset or bundle whose features it was trained on.
        window: clips it was trained on; None: any; "auto": the window of the dataset that has this range or preset.
        heads: of its attention.
    """

    target: str
    score_range: Range
    backbones: str
    window: int | Literal["auto"] | None = "auto"
    heads: int = 8


@dataclass(frozen=True)
class ImportedHead:
    """The bundle that holds the head now, the head, and what a user should know of it."""

    bundle: Bundle
    head: TargetHead
    warnings: tuple[str, ...]


def import_head(
    checkpoint: Path,
    text: TextFeatures,
    prompts: Prompts | None,
    meaning: Meaning,
    output: Path,
    trained_on: str,
    licence: str,
) -> ImportedHead:
    """Writes the head into the bundle `output`, whose other targets are kept.

    Raises:
        WeightsError: the checkpoint or the bundle doesn't fit.
        DataError: prompts and text features don't belong together.
    """
    base = find_bundle(meaning.backbones)
    refuse_other_backbones(output, base)
    if prompts:
        refuse_other_texts(text, prompts)
    found = import_official(checkpoint, text.rows, meaning.heads)
    dims = found.model.dims
    known = set_of_range(meaning.target, meaning.score_range) or PUBLIC_SETS.get(meaning.backbones)
    unsure = meaning.window == "auto" and known is None
    of_set = known.window if known else None
    window = of_set if meaning.window == "auto" else meaning.window
    grades = GRADES if dims.grades == len(GRADES) else tuple(f"grade {i + 1}" for i in range(dims.grades))
    texts = prompts.texts if prompts else text.texts
    head = TargetHead(found.model, meaning.target, meaning.score_range, grades, texts, window, text.full_stop)
    bundle = write_heads(output, base, {meaning.target: head}, About(trained_on, licence))
    warnings = [*found.warnings, *_misfits(dims, base, len(text.rows), known)]
    if unsure:
        warnings.append(
            "no dataset is known that has this range or these backbones, so all clips of a routine are scored; a head "
            "that was trained on a fixed number of clips needs it as --window"
        )
    return ImportedHead(bundle, head, tuple(warnings))


def _misfits(dims: HeadDims, base: Bundle, prompts: int, known: PublicSet | None) -> Iterator[str]:
    for name, takes, spec in (("visual", dims.visual_dim, base.visual), ("audio", dims.audio_dim, base.audio)):
        if spec.dim not in (None, takes):
            yield f"it takes {name} features of width {takes}, but those of {base.name} have {spec.dim}: it can't score"
    other = [public for public in PUBLIC_SETS.values() if public.prompts == prompts]
    if known and prompts != known.prompts and other:
        sports = sorted({public.sport for public in other})
        yield f"{prompts} text features are those of {', '.join(sports)}, but {known.name} is {known.sport}"
