"""The prompts that guide a head, as their text tower encodes them."""

from dataclasses import dataclass
from pathlib import Path

import torch

from mlavl_cli.bundle import Bundle, find_bundle
from mlavl_cli.errors import DataError, UsageError
from mlavl_cli.features.prompts import GRADES, Prompts, read_prompts, sport_prompts
from mlavl_cli.features.text import encode_prompts
from mlavl_cli.features.text_features import TextFeatures, refuse_other_texts
from mlavl_cli.heads.dims import HeadDims


@dataclass(frozen=True)
class PromptFeatures:
    """The prompts' features and, where they are known, the prompts."""

    encoded: TextFeatures
    prompts: Prompts | None = None

    @property
    def features(self) -> torch.Tensor:
        """(P, D_t)."""
        return self.encoded.rows

    def rows(self, dims: HeadDims, actions_alone: bool = False) -> torch.Tensor:
        """The features of the prompts that these dims use, or of their visual actions alone.

        Raises:
            DataError: another number of rows.
        """
        if actions_alone:
            return self.features[: dims.actions]
        rows = self.features[_used(len(self.features), dims)]
        if len(rows) != dims.prompts:
            cause = f"{len(self.features)} text features, where {dims.prompts} prompts are needed"
            raise DataError(cause, hint="Make them with `mlavl prompts encode`.")
        return rows

    def texts(self, dims: HeadDims, actions_alone: bool = False) -> tuple[str, ...]:
        """Those of `rows`; none where they aren't known."""
        texts = self.prompts.texts if self.prompts else self.encoded.texts
        if actions_alone:
            return tuple(texts[: dims.actions])
        return tuple(texts[row] for row in _used(len(texts), dims))

    def actions(self, hears: bool) -> int:
        """M, from the prompts or from the number of rows."""
        if self.prompts is not None:
            return len(self.prompts.actions)
        spare = len(self.features) - 3 * len(GRADES)
        if spare > 1 and spare % 2 == 0:
            return spare // 2
        if not hears and len(self.features) > len(GRADES):
            return len(self.features) - len(GRADES)
        raise DataError(f"{len(self.features)} text features are no 2 M + 3 N", hint="Give the prompts' csv too.")


def _used(count: int, dims: HeadDims) -> list[int]:
    """Which of the prompts these dims use, in their order: a head that only sees leaves out what is about music, and
    one of mlavl 0.1 has its audio-visual grades in two blocks."""
    first, end = 2 * dims.actions, 2 * dims.actions + 2 * dims.grades
    if count != end + dims.grades:  # they may have been left out already
        return list(range(count))
    if not dims.has_audio:
        return [*range(dims.actions), *range(end, count)]
    return [*range(first), *(first + 2 * grade + fits for grade, fits in dims.audio_visual), *range(end, count)]


def prompt_features(
    sport: str, backbones: str | Bundle, encoded: TextFeatures | None = None, prompts: Path | None = None
) -> PromptFeatures:
    """Prompts as they were encoded elsewhere, or by the text tower that belongs to the backbones.

    Args:
        sport: whose prompts they are, where no list of one's own is given.
        backbones: a bundled name or a bundle's folder.
        encoded: what another tool, or `mlavl prompts encode`, made of them.
        prompts: a csv of one's own.

    Raises:
        UsageError: the backbones have no text tower.
        DataError: the list and the encoded prompts don't belong together.
    """
    own = read_prompts(prompts) if prompts else None
    if encoded:
        # Without a list of our own these may be the official prompts, whose texts we don't have.
        if own and encoded.texts:  # else a head that only sees may leave out what is about music
            refuse_other_texts(encoded, own)
        return PromptFeatures(encoded, own)
    own = own or sport_prompts(sport)
    bundle = find_bundle(backbones)
    tower = bundle.text
    if tower is None:
        raise UsageError(f"{bundle.name} has no text tower", hint="Give --text-features.")
    return PromptFeatures(encode_prompts(own.texts, tower), own)
