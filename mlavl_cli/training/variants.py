"""Rows of the paper's tables: methods with and without MAG2 (table 4), and MLAVL without one of its parts (table 5)."""

from dataclasses import dataclass, field
from typing import Any

from mlavl_cli.datasets.public import TABLE_4
from mlavl_cli.errors import UsageError
from mlavl_cli.heads.base import Head
from mlavl_cli.heads.methods import head_class
from mlavl_cli.training.choices import Modalities

_NO_LANGUAGE = {"language": False, "mag2": False}
MODALITIES: dict[Modalities, dict[str, Any]] = {
    "V": {"audio_dim": 0, **_NO_LANGUAGE},
    "V+A": _NO_LANGUAGE,
    "V+L": {"audio_dim": 0},
    "V+A+L": {},
}


@dataclass(frozen=True)
class Variant:
    """A row of a table: what differs from the whole method, and the paper's SRCC where it has one."""

    name: str
    dims: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    model: str = "mlavl"
    published: float | None = None


def _without(*boxes: str) -> dict[str, bool]:
    return dict.fromkeys(boxes, False)


# Table 5 (FS1000, TES): boxes added one by one, then losses and modalities taken away.
ABLATION = [
    Variant("baseline", _without("s2ce", "mag2", "avcf", "dpg"), published=0.835),
    Variant("+ S2CE", _without("mag2", "avcf", "dpg"), published=0.848),
    Variant("+ MAG2", _without("avcf", "dpg"), published=0.876),
    Variant("+ AVCF", _without("dpg"), published=0.887),
    Variant("+ DPG (all)", published=0.917),
    Variant("without TL", loss={"triplet": 0.0}, published=0.886),
    Variant("without CE", loss={"cross_entropy": 0.0}, published=0.894),
    *(Variant(f"only {name}", MODALITIES[name]) for name in ("V", "V+A", "V+L")),
]


def method_of(model: Head) -> str:
    """What a head is called on the command line, like gdlt or gdlt+mag2."""
    return model.name + ("+mag2" if model.prompt_kind == "actions" and model.dims.mag2 else "")


def of_model(name: str) -> Variant:
    """A method of the field by its name; "gdlt+mag2" puts MAG2 into a visual one (table 4).

    Raises:
        UsageError: no such method, or MAG2 is a part of it already.
    """
    model, plus, box = name.partition("+")
    kind = head_class(model)
    if plus and (box != "mag2" or kind.prompt_kind != "actions"):
        raise UsageError(f"no such model: {name!r:.40}", hint="+mag2 goes with the visual methods, as in gdlt+mag2.")
    if kind.prompt_kind == "all":
        return Variant(model, model=model)
    published = {known.lower(): pair for known, pair in TABLE_4.items()}.get(model, (None, None))
    with_mag2 = {"mag2": bool(plus), "language": bool(plus)}
    return Variant(name, with_mag2, model=model, published=published[bool(plus)])
