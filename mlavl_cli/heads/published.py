"""Checkpoints of the other methods' public code -> heads. Their tensors have our heads' names, but for what is here."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mlavl_cli.errors import WeightsError, refusing
from mlavl_cli.heads.base import Head
from mlavl_cli.heads.methods import head_class
from mlavl_cli.heads.state_dicts import Tensors, read_state

_WRAPPERS = re.compile(r"(?:module\.|_orig_mod\.)+")  # of torch's own, around the model


@dataclass(frozen=True)
class Layout:
    """How a method's public files differ from its head.

    Attributes:
        parts: entries that hold a state dict each, and what our names begin with there.
        renamed: patterns of names and what stands there in ours, in this order.
        unused: a pattern of tensors that change no score: constants, and parts that are never called.
        points: whether scores are points, and not shares of a range.
        whole: whether routines are scored whole, and not in the window of training.
        attends: whether its attention has heads, whose number no tensor shows.
    """

    parts: dict[str, str] = field(default_factory=dict)
    renamed: tuple[tuple[str, str], ...] = ()
    unused: str = r"(.+\.)?pos_encoder\..+"
    points: bool = False
    whole: bool = False
    attends: bool = False


_IN_BENCHMARK = (r"head\.", "")  # AQA-Benchmark, around the method
LAYOUTS = {
    "lstm": Layout(points=True),
    "ms-lstm": Layout(points=True),
    "action-net": Layout(unused=r"adj[12]"),
    "usdl": Layout({"evaluator": ""}, (_IN_BENCHMARK, (r"layer", "evaluator.layer"))),
    "core": Layout({"regressor": ""}, (_IN_BENCHMARK,)),
    "gdlt": Layout(renamed=(_IN_BENCHMARK,), whole=True, attends=True),
    "tpt": Layout(attends=True),
    "hgcn": Layout(renamed=(_IN_BENCHMARK, (r"mot_agg\.mlp\.", "mot_agg.mot_agg.")), points=True),
    "t2cr": Layout(
        {"taa": "taa.", "decoder": "decoder.", "regressor": "regressor."}, (_IN_BENCHMARK,),
        r"taa\.(mlp|ca|fc_class)\..+", points=True,
    ),
    "cofinal": Layout(renamed=(_IN_BENCHMARK, (r"regressor_neg\.", "regressor_revert.")), whole=True, attends=True),
    "qtd": Layout(
        {"neck": "neck.", "head": "head."},
        ((r"neck\.module\.", "neck."), (r"head\.module\.", "head."), (r"(?=decoder\.|query_embed\.)", "neck."),
         (r"(?=layer\d_)", "head.")),
        r"(neck\.)?pos_encoder\..+", attends=True,
    ),
    "mlp-mixer": Layout(unused=r"layer_norm\..+", points=True),
    "pamfn": Layout(unused=r".+\.norm\.(weight|bias)", whole=True),
    "mcmoe": Layout(attends=True),
}  # fmt: skip


def import_published(
    path: Path,
    model: str,
    heads: int | None = None,
    official: bool = True,
    unit: float = 1.0,
    choices: dict[str, Any] | None = None,
) -> Head:
    """A state dict of a method's public code -> the same head in ours, in eval mode.

    Sizes come from the tensors; the number of attention heads can't be seen in them.

    Args:
        path: the file.
        model: the method's name.
        heads: of its attention; None: the public code's.
        official: whether it behaves as the public code (docs/methods.md).
        unit: what it puts out for a normalised 1, for methods that learn points.
        choices: other fields of the method's `Dims` that no tensor shows.

    Raises:
        UsageError: no such method.
        WeightsError: no checkpoints of it are known; it can't be read safely; or tensors are missing, unknown, of a
            wrong shape or kind, or hold what is no number. They are named as in the file.
    """
    kind = head_class(model)
    if model not in LAYOUTS:
        raise WeightsError(f"no public checkpoints of {model} are known", path=path)
    tensors = _named(path, LAYOUTS[model])
    try:
        sizes = (choices or {}) | _sizes(kind, tensors) | ({"heads": heads} if heads else {})
        switches = {"actions": 1, "mag2": False, "language": False, "unit": unit}
        behaviour = "official" if official else "careful"
        dims = kind.Dims(**{"audio_dim": 0, **switches, "behaviour": behaviour, **sizes})
    except WeightsError as error:
        raise WeightsError(error.message, path=path, hint=error.hint) from error
    if empty := next((name for name, shape in tensors.shapes().items() if 0 in shape), None):
        raise WeightsError(f"{empty} is empty", path=path)
    with refusing(WeightsError, f"has sizes that no {model} head has", path), torch.device("meta"):
        wanted = _public(kind(dims))  # no memory before the shapes were found to be the same
    tensors.refuse_misfits(wanted)
    head = kind(dims)
    head.load_state_dict(head.state_dict() | tensors.fitted(_public(head)))
    return head.eval().requires_grad_(False)


def _named(path: Path, layout: Layout) -> Tensors:
    """The file's tensors by our names, without those that change nothing."""
    tensors = Tensors(path)
    for full, tensor in read_state(path, layout.parts).items():
        name = _WRAPPERS.sub("", full, count=1) if _WRAPPERS.match(full) else full
        for pattern, ours in layout.renamed:
            name = re.sub(rf"^(?:{pattern})", ours, name)
        if not re.fullmatch(layout.unused, name, re.DOTALL):
            tensors.add(name, full, tensor)
    return tensors


def _sizes(kind: type[Head], tensors: Tensors) -> dict[str, Any]:
    try:
        return kind.sizes(tensors.shapes())
    except KeyError as error:
        cause = f"the tensor {error.args[0]} is missing"
        raise WeightsError(cause, hint=f"Is it a checkpoint of {kind.name}?") from error
    except (IndexError, ValueError, ZeroDivisionError) as error:
        cause = f"its tensors have shapes that no head of {kind.name} has"
        raise WeightsError(cause, hint=f"Is it a checkpoint of {kind.name}?") from error


def _public(head: Head) -> dict[str, torch.Tensor]:
    """The head's tensors but for those that only we keep."""
    return {name: tensor for name, tensor in head.state_dict().items() if not name.startswith(head.private)}
