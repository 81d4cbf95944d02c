"""The prompts as the text tower encodes them, in a file: a plain `.npy`, the official torch file, or safetensors.

Only safetensors say which texts they are of.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save

from mlavl_cli.errors import DataError, WeightsError, one_line
from mlavl_cli.features.prompts import GRADES, MOST_LETTERS, Prompts
from mlavl_cli.files import atomic_write, refuse_irregular
from mlavl_cli.untrusted import open_safetensors, read_npy, read_torch, wrong_numbers

SUFFIX = ".safetensors"
_METADATA = "mlavl"
_CLEARER = 4  # times smaller must be what grade and music don't explain, for an order to be the likelier one
_MOST_BYTES = 256 << 20  # some thousand prompts of 8192 features


@dataclass(frozen=True)
class TextFeatures:
    """Features of P prompts.

    Attributes:
        rows: (P, D_t) float32.
        texts: (P,) what they are of; empty where the file doesn't say.
        full_stop: whether a full stop stood behind each text, as in the public code; None: not known.
    """

    rows: torch.Tensor
    texts: tuple[str, ...] = ()
    full_stop: bool | None = None

    @property
    def looks_like_blocks(self) -> bool:
        """Whether the audio-visual grades seem to stand in two blocks, as mlavl 0.1 had them.

        In the right order a row is nearly the sum of what its grade and its music say.
        """
        found = self.rows[-3 * len(GRADES) : -len(GRADES)]
        if len(found) < 2 * len(GRADES):
            return False
        arranged = (found.view(len(GRADES), 2, -1), found.view(2, len(GRADES), -1).transpose(0, 1))
        interleaved, blocks = (
            (x - x.mean(0, keepdim=True) - x.mean(1, keepdim=True) + x.mean((0, 1))).square().sum() for x in arranged
        )
        return bool(blocks * _CLEARER < interleaved)


def refuse_other_texts(features: TextFeatures, prompts: Prompts) -> None:
    """Compares what a file says that its features are of with the prompts that are to be used.

    Raises:
        DataError: another number of them, or other texts.
    """
    hint = "Do prompts and text features belong together?"
    if len(prompts.texts) != len(features.rows):
        raise DataError(f"{len(prompts.texts)} prompts, but {len(features.rows)} text features", hint=hint)
    for row, pair in enumerate(zip(features.texts, prompts.texts, strict=False), 1):
        if pair[0] != pair[1]:
            raise DataError(f"text feature {row} is of {pair[0]!r:.60}, the prompt is {pair[1]!r:.60}", hint=hint)


def interleaved(features: TextFeatures) -> TextFeatures:
    """Features whose audio-visual grades stand in two blocks -> the same in the order of the prompts.

    Raises:
        DataError: there are too few of them.
    """
    if len(features.rows) < 3 * len(GRADES):
        raise DataError(f"{len(features.rows)} text features hold no audio-visual grades in blocks")
    end = len(features.rows) - len(GRADES)
    first = end - 2 * len(GRADES)
    order = [first + i + half * len(GRADES) for i in range(len(GRADES)) for half in range(2)]
    rows = torch.cat([features.rows[:first], features.rows[order], features.rows[end:]])
    return replace(features, rows=rows)


def write_text_features(path: Path, features: TextFeatures) -> None:
    """Writes `.npy`, or safetensors with the texts by that ending.

    Raises:
        MlavlError: it can't be written.
    """
    with atomic_write(path, named=True) as file:
        if path.suffix == SUFFIX:
            about = {"texts": features.texts, "full_stop": features.full_stop}
            file.write(save({"text_features": features.rows}, {_METADATA: json.dumps(about)}))
        else:
            np.save(file, features.rows.numpy())


def read_text_features(path: Path) -> TextFeatures:
    """Reads what `write_text_features` wrote, or the official file, a torch file by the name of `.npy`.

    Raises:
        WeightsError: none of them, or not a matrix of numbers.
    """
    try:
        refuse_irregular(path, _MOST_BYTES)
        with path.open("rb") as file:
            plain = file.read(6) == np.lib.format.MAGIC_PREFIX
        if path.suffix == SUFFIX:
            features = _read_safetensors(path)
        elif plain:
            features = TextFeatures(torch.from_numpy(read_npy(path, _MOST_BYTES)))
        else:
            features = TextFeatures(read_torch(path, _MOST_BYTES), full_stop=True)
    except FileNotFoundError as error:
        raise WeightsError("no such file", path=path) from error
    except Exception as error:  # torch raises many kinds for a file that isn't its own
        hint = "Expected a numpy array or a torch tensor of shape (P, D_t)."
        raise WeightsError("can't be read as text features", path=path, hint=hint) from error
    rows = features.rows
    if not isinstance(rows, torch.Tensor) or rows.ndim != 2 or not rows.is_floating_point():
        raise WeightsError("holds no matrix of text features", path=path, hint="Expected shape (P, D_t).")
    if max((len(one_line(text)) for text in features.texts), default=0) > MOST_LETTERS:
        raise WeightsError(f"is of a text of more than {MOST_LETTERS:,} letters", path=path, hint="Is it a prompt?")
    if wrong := wrong_numbers(path.name, rows):
        raise WeightsError(wrong, path=path)
    return replace(features, rows=rows.float())


def _read_safetensors(path: Path) -> TextFeatures:
    with open_safetensors(path, "pt") as file:
        about = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
        rows = file.get_tensor("text_features")
    texts, full_stop = tuple(map(str, about.get("texts", ()))), about.get("full_stop")
    if texts and len(texts) != len(rows):
        raise SafetensorError("as many texts as rows are needed")
    return TextFeatures(rows, texts, full_stop if isinstance(full_stop, bool) else None)
