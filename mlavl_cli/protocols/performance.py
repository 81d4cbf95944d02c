"""One performance as its protocol prints it, and the sums by which a misread one is found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

FIVE, THREE = ("SS", "TR", "PE", "CO", "IN"), ("CO", "PR", "SK")  # components until 2021/22, and since, as printed
# By which sums may differ: exact ones, a mean that is rounded, and sums of one and of several rounded numbers.
_EXACT, _MEAN, _CENT, _ROUNDED = 0.005, 0.0051, 0.011, 0.021


@dataclass(frozen=True)
class Element:
    """Points of an element: base value + grade of execution = panel score."""

    base: float
    goe: float
    panel: float


@dataclass(frozen=True)
class Component:
    """A programme component: the panel's mean of its marks, and the factor that it counts with."""

    factor: float
    marks: tuple[float, ...]
    mean: float


@dataclass(frozen=True)
class Performance:
    """A row of a protocol.

    Attributes:
        skater: one name, or two with " / " between them.
        nation: three letters.
        event, category, segment: as the head of the page names them, like MEN and SHORT PROGRAM; empty: it doesn't.
        rank: in this segment.
        tss, tes, pcs: total segment, element and component scores as printed, in points.
        deductions: points that are taken off, 0 or more.
        elements: in their order.
        components: by their letters, SS TR PE CO IN or CO PR SK.
        protocol, page: the file's name, and where in it the row begins, from 1.
        misread: what of it could not be read.
    """

    skater: str
    nation: str
    event: str
    category: str
    segment: str
    rank: int | None
    tss: float
    tes: float
    pcs: float
    deductions: float
    elements: tuple[Element, ...]
    components: Mapping[str, Component]
    protocol: str
    page: int
    misread: tuple[str, ...] = field(default=())

    @property
    def system(self) -> int:
        """How many components its season has: 5 or 3."""
        return len(self.components)

    @property
    def factor(self) -> float:
        """The components' factor, or the mean of theirs where they differ, as in ice dance before 2014."""
        return sum(one.factor for one in self.components.values()) / len(self.components)

    @property
    def pcs_by_factor(self) -> float:
        """PCS divided by its factor: 50 at the most with five components, 30 with three."""
        return self.pcs / self.factor

    def wrong(self) -> list[str]:
        """What doesn't add up; empty for a row that can be trusted."""
        return [*self.misread, *self._sums()]

    def _sums(self) -> Iterator[str]:
        if not self.elements:
            yield "no elements were found"
        total = sum(one.panel for one in self.elements)
        if self.elements and abs(total - self.tes) > _EXACT:
            yield f"its elements add up to {total:.2f}, not to a TES of {self.tes:.2f}"
        for number, one in enumerate(self.elements, 1):
            if abs(one.base + one.goe - one.panel) > _CENT:
                yield f"element {number}: {one.base:.2f} and {one.goe:.2f} are not {one.panel:.2f}"
        if tuple(self.components) not in (FIVE, THREE):
            yield f"its components are {', '.join(self.components) or 'missing'}"
            return
        if any(one.factor <= 0 for one in self.components.values()):
            yield "a component counts with a factor of 0"
        for name, component in self.components.items():
            if component.marks and not _is_mean(component.marks, component.mean):
                yield f"the marks of {name} have another mean than {component.mean:.2f}"
        total = sum(one.mean * one.factor for one in self.components.values())
        if abs(total - self.pcs) > _ROUNDED:
            yield f"its components come to {total:.2f}, not to a PCS of {self.pcs:.2f}"
        total = self.tes + self.pcs - self.deductions
        if abs(total - self.tss) > _EXACT:
            yield f"TES, PCS and deductions come to {total:.2f}, not to a TSS of {self.tss:.2f}"


def _is_mean(marks: tuple[float, ...], mean: float) -> bool:
    """Without the highest and the lowest mark, or of all where a panel is so small that none is left out."""
    inner = sorted(marks)[1:-1]
    means = [sum(some) / len(some) for some in (inner, marks) if some]
    return abs(means[0] - mean) < _MEAN or (len(marks) < 5 and abs(means[-1] - mean) < _MEAN)
