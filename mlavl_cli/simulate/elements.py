"""Elements of the rule books: what there is to do, and what it is worth before it is judged.

Base values are rounded after the ISU's scale of values; a grade of execution adds a tenth of the base value a step.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["jump", "spin", "steps", "spiral"]


@dataclass(frozen=True)
class Element:
    """An element as planned.

    Attributes:
        action: its name among the skating prompts.
        kind: how it is performed.
        base: base value, points.
        rotations: turns in the air; 0 for others than jumps.
        level: 0 to 4, of spins and step sequences.
        entry: of a jump: off the toe, the edge, or forward.
        positions: of a spin, in their order.
    """

    action: str
    kind: Kind
    base: float
    rotations: float = 0.0
    level: int = 0
    entry: Literal["toe", "edge", "forward"] = "edge"
    positions: tuple[str, ...] = ()


_TIMES = ("", "double ", "triple ", "quadruple ")
_JUMPS: dict[str, tuple[Literal["toe", "edge", "forward"], tuple[float, ...]]] = {
    "toe loop": ("toe", (0.4, 1.3, 4.2, 9.5)),
    "Salchow": ("edge", (0.4, 1.3, 4.3, 9.7)),
    "loop": ("edge", (0.5, 1.7, 4.9)),
    "flip": ("toe", (0.5, 1.8, 5.3)),
    "Lutz": ("toe", (0.6, 2.1, 5.9, 11.5)),
    "Axel": ("forward", (1.1, 3.3, 8.0)),
}
_SPINS: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "upright spin": (("upright",), (1.0, 1.2, 1.5, 1.9, 2.4)),
    "sit spin": (("sit",), (1.1, 1.3, 1.6, 2.1, 2.5)),
    "camel spin": (("camel",), (1.1, 1.4, 1.8, 2.3, 2.6)),
    "layback spin": (("layback",), (1.2, 1.5, 1.9, 2.4, 2.7)),
    "Biellmann spin": (("biellmann",), (1.2, 1.5, 1.9, 2.4, 2.7)),
    "combination spin with change of foot": (("camel", "sit", "upright"), (1.7, 2.0, 2.5, 3.0, 3.5)),
}
_STEPS = (1.5, 1.8, 2.6, 3.3, 3.9)

JUMPS: dict[int, list[Element]] = {turns: [] for turns in (1, 2, 3, 4)}
for _name, (_entry, _values) in _JUMPS.items():
    for _turns, _base in enumerate(_values, 1):
        _times = "single " if (_name, _turns) == ("Axel", 1) else _TIMES[_turns - 1]
        JUMPS[_turns].append(
            Element(f"{_times}{_name} jump", "jump", _base, _turns + 0.5 * (_name == "Axel"), entry=_entry)
        )
SPINS: dict[int, list[Element]] = {
    level: [
        Element(name, "spin", values[level], level=level, positions=positions)
        for name, (positions, values) in _SPINS.items()
    ]
    for level in range(5)
}
STEPS = [Element("step sequence with turns and edges", "steps", base, level=level) for level, base in enumerate(_STEPS)]
SPIRAL = Element("choreographic sequence", "spiral", 3.0)

# Between the elements.
TRANSITIONS = ("spread eagle", "Ina Bauer", "hydroblading glide", "spiral on a deep edge")
STROKING = "crossovers gathering speed"
POSE = "opening pose and entry into the program"
FALL = "fall on a jump landing"


def goe(base: float, grade: int) -> float:
    """Points that a grade of execution, -5 to 5, adds to a base value."""
    return 0.1 * grade * base
