"""The lines of a protocol -> performances. Cells are told by where they stand: baselines within a row differ."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from mlavl_cli.protocols.performance import Component, Element, Performance
from mlavl_cli.protocols.words import Line, Word

_DECIMAL = re.compile(r"[xX*]?([-+]?\d{1,3}\.\d{2})[xX*]?")
_SEGMENT = re.compile(
    r"\b(SHORT PROGRAM(?:ME)?|FREE SKATING|FREE PROGRAM(?:ME)?|SHORT DANCE|RHYTHM DANCE|FREE DANCE|ORIGINAL DANCE"
    r"|(?:COMPULSORY|PATTERN) DANCE)\b"
)
_CATEGORY = re.compile(
    r"\b((?:(?:SENIOR|JUNIOR|NOVICE|ADVANCED|INTERMEDIATE|BASIC) )*"
    r"(?:MEN|LADIES|WOMEN|PAIRS|PAIR SKATING|ICE DANCE|BOYS|GIRLS))\b"
)
_TITLE = re.compile(r"JUDGES.? DETAILS PER (?:SKATER|PAIR|COUPLE|TEAM)", re.IGNORECASE)
_TITLE_LINES = 12
_LONGEST, _MOST_HEAD, _MOST_TOLD = 300, 400, 5  # letters of a line of titles, words of a head, faults of a performance
_PEOPLE = ("PAIR", "DANCE")  # categories of two
_IN_HEADINGS = frozenset("name nation noc nat rank base info value executed elements #".split())
_OUT = ("WD", "FNR", "DSQ", "DNS")
# What the names of components begin with; ice dance has its own. Skating Skills are SK where there is a PR, else SS.
_COMPONENTS = {
    "skating": "SS", "transition": "TR", "linking": "TR", "performance": "PE", "presentation": "PR",
    "composition": "CO", "choreography": "CO", "interpretation": "IN", "timing": "IN",
}  # fmt: skip
_PAGE = 10_000.0  # points between the tops of two pages, so that a row is near nothing of another page
_NEAR = 30.0  # points by which a cell may stand beside the heading of its column
_ROW = 7.0  # points by which cells of one row may stand apart


@dataclass
class _Block:
    """The lines of one performance, by part, and where its first columns stand."""

    page: int
    titles: tuple[str, str, str]
    rank: float
    nation: float
    head: list[Line] = field(default_factory=list)
    elements: list[Line] = field(default_factory=list)
    components: list[Line] = field(default_factory=list)
    rest: list[Line] = field(default_factory=list)

    @property
    def expects_head(self) -> bool:
        """Whether its row of the head is still to come."""
        found = any(_is_nation(word, self.nation) for line in self.head for word in line)
        return not (found or self.elements or self.components)


@dataclass(frozen=True)
class _Head:
    rank: int | None
    skater: str
    nation: str
    points: list[float]  # TSS, TES, PCS, and deductions where they aren't blank


@dataclass(frozen=True)
class Found:
    """All performances of a protocol; a line for each skater named without a score, and for what can't be read."""

    performances: list[Performance]
    without: list[str]
    lost: list[str]


def performances(pages: Sequence[list[Line]], protocol: str) -> Found:
    """What stands in the lines of a protocol."""
    told = Found([], [], [])
    for block in _blocks(pages, told.without):
        head = _head(block)
        words = head.skater.split()
        if any(word in _OUT for word in words):
            told.without.append(f"page {block.page}: {head.skater}")
        elif len(head.points) >= 3:
            told.performances.append(_performance(block, head, protocol))
        elif block.elements or block.components:
            text = head.skater or " ".join(map(_text, block.head))
            told.lost.append(f"page {block.page}: the head of a performance can't be read: {text:.80}")
        else:
            told.without.append(f"page {block.page}: {head.skater or 'somebody'} has no score")
    totals = sum("judges total" in _text(line).lower() for page in pages for line in page)
    if (more := totals - len(told.performances) - len(told.lost)) > 0:
        told.lost.append(f"{more} performances more stand under headings that can't be told apart")
    return told


def _blocks(pages: Sequence[list[Line]], without: list[str]) -> Iterator[_Block]:
    """Each heading with Name and Nation begins a performance, which may go on on the next page."""
    block: _Block | None = None
    part: list[Line] = []
    for number, page in enumerate(pages, 1):
        lines = [[replace(word, y=word.y + _PAGE * number) for word in line] for line in page]
        start = next((at for at, line in enumerate(lines[:_TITLE_LINES], 1) if _TITLE.search(_text(line))), 0)
        titles = _titles([_text(line)[:_LONGEST] for line in lines[: start + 1]], start - 1) if start else ("", "", "")
        for at, line in enumerate(lines[start:], start):
            text = _text(line).lower()
            if (columns := _columns(lines, at)) is not None:
                if block:
                    yield block
                block = _Block(number, titles, *columns)
                part = block.head
            elif any(word.text in _OUT for word in line) and not _decimals(line) and not (block and block.expects_head):
                without.append(f"page {number}: {_text(line)}")
            elif block:
                if part is block.head and any(word.text in ("#", "Executed", "Elements") for word in line):
                    part = block.elements
                    part.append(line)
                elif part is block.elements and text.startswith("program") and "component" in text:
                    part = block.components
                elif part is block.components and "factored" in text:
                    part = block.rest
                else:
                    part.append(line)
    if block:
        yield block


def _columns(lines: list[Line], at: int) -> tuple[float, float] | None:
    """Where the columns of ranks and of nations stand, if this line heads a performance; its words may stand apart."""
    if not any(word.text.lower() == "name" for word in lines[at]):
        return None
    y = lines[at][0].y
    near = [word for line in lines[max(at - 2, 0) : at + 3] for word in line if abs(word.y - y) < 2 * _ROW]
    nation = next((word.x for word in near if word.text.lower() in ("nation", "noc", "nat")), None)
    rank = next((word.x for word in near if word.text.lower().startswith(("rank", "pl"))), 0.0)
    return None if nation is None else (rank, nation)


def _titles(texts: list[str], at: int) -> tuple[str, str, str]:
    """(event, category, segment) of a page's head, whose line `at` says that judges' details follow.

    Category and segment stand in that line or near it, an event above; its name may hold such words, too.
    """
    near = sorted(range(len(texts)), key=lambda line: (abs(line - at), line > at))
    found = []
    for pattern in (_CATEGORY, _SEGMENT):
        line, match = next(((line, m) for line in near if (m := pattern.search(texts[line].upper()))), (0, None))
        found.append(match[0] if match else "")
        if match:
            texts[line] = texts[line][: match.start()] + texts[line][match.end() :]
    event = " ".join(_TITLE.sub("", " ".join(texts[: at + 1])).split())[:_LONGEST]
    while event and not (event[-1].isalnum() or event[-1] in "_)"):
        event = event[:-1]
    return event, found[0], found[1]


def _head(block: _Block) -> _Head:
    """What stands in one row of the head; a pair's names may stand on two lines."""
    words = [word for line in block.head for word in line if word.text.lower() not in _IN_HEADINGS][:_MOST_HEAD]
    nations = [word for word in words if _is_nation(word, block.nation)]
    nations = [word for word in nations if _points(word, words)] or nations  # a surname may have three letters
    nation = max(nations, key=lambda word: word.left, default=None)
    if nation is None:
        return _Head(None, "", "", [])
    row = [word for word in words if abs(word.y - nation.y) < 2 * _ROW]
    counts = [word for word in row if _is_count(word) and abs(word.x - block.rank) < _NEAR]
    rank = min(counts, key=lambda word: abs(word.x - block.rank) + abs(word.y - nation.y), default=None)
    names = [word for word in row if block.rank < word.x < nation.left and not _is_count(word)]
    skater = _names(names, block)[:_LONGEST]
    return _Head(int(rank.text.rstrip(".")) if rank else None, skater, nation.text, _points(nation, words))


def _points(nation: Word, words: list[Word]) -> list[float]:
    """The decimals to the right of a nation, in its row."""
    right = [word for word in words if word.left > nation.right and abs(word.y - nation.y) < _ROW]
    return _decimals(sorted(right, key=lambda word: word.left))


def _names(words: list[Word], block: _Block) -> str:
    """One name, or two with " / " between them, where a pair's stand on two lines without."""
    lines: list[list[str]] = []
    before = None
    for word in sorted(words, key=lambda word: (word.y, word.left)):
        if before is None or word.y - before.y > word.height / 3:
            lines.append([])
        lines[-1].append(word.text)
        before = word
    joined = " ".join(" ".join(line) for line in lines)
    if len(lines) == 2 and "/" not in joined and any(name in block.titles[1] for name in _PEOPLE):
        joined = " / ".join(" ".join(line) for line in lines)
    return " / ".join(part.strip() for part in joined.split("/")).strip()


def _performance(block: _Block, head: _Head, protocol: str) -> Performance:
    tss, tes, pcs, *off = head.points
    elements, misread = [], []
    if not head.skater or head.skater.startswith("/") or head.skater.endswith("/"):
        misread.append("its skaters' names can't be read")
    for number, row in _elements(block.elements):
        if len(row) == 3:
            elements.append(Element(*row))
        else:
            misread.append(f"element {number} has {len(row)} numbers, not 3")
    components = {}
    for name, row in _components(block.components):
        if name in components:
            misread.append(f"component {name} was found twice")
        components[name] = Component(row[0], tuple(row[1:-1]), row[-1])
    if "PR" in components and "SS" in components:
        components["SK"] = components.pop("SS")
    # Blank where there are none; what stands below the components then has the last word.
    taken = abs(off[0]) if off else _deductions(block.rest)
    return Performance(
        head.skater, head.nation, *block.titles, head.rank, tss, tes, pcs, taken, tuple(elements),
        components, protocol, block.page, tuple(misread[:_MOST_TOLD]),
    )  # fmt: skip


def _elements(lines: list[Line]) -> Iterator[tuple[str, list[float]]]:
    """The number of each element, and the decimals that stand nearest to its line: base value, GOE, panel score."""
    words = [word for line in lines for word in line]
    counts = [word for word in words if _is_count(word)]
    column = next((word.x for word in words if word.text == "#"), min((word.x for word in counts), default=0.0))
    numbers = [word for word in counts if abs(word.x - column) < _NEAR / 2]
    pitch = min((other.y - one.y for one, other in pairwise(numbers)), default=_ROW)
    rows: dict[Word, list[float]] = {number: [] for number in numbers}
    by_height = sorted(numbers, key=lambda w: w.y)
    for word in sorted(words, key=lambda w: w.left):
        if numbers and (values := _decimals([word])):
            nearest = _nearest(word, by_height)
            if abs(nearest.y - word.y) < pitch / 2:
                rows[nearest] += values
    yield from ((number.text, row) for number, row in rows.items() if row)  # a page's number has none


def _components(lines: list[Line]) -> Iterator[tuple[str, list[float]]]:
    """The letters of each component with its factor, marks and mean; long names stand on two lines beside them."""
    middles = [next(word for word in line if _decimals([word])) for line in lines if len(_decimals(line)) >= 3]
    rows: dict[Word, list[Word]] = {middle: [] for middle in middles}
    by_height = sorted(middles, key=lambda w: w.y)
    for word in (word for line in lines for word in line):
        if middles and abs((nearest := _nearest(word, by_height)).y - word.y) < _ROW:
            rows[nearest].append(word)
    for words in rows.values():
        texts = [word.text.lower() for word in sorted(words, key=lambda w: (w.y, w.left))]
        letters = next((short for text in texts for name, short in _COMPONENTS.items() if text.startswith(name)), "?")
        yield letters, _decimals(sorted(words, key=lambda w: w.left))


def _nearest(word: Word, by_height: list[Word]) -> Word:
    at = bisect_left(by_height, word.y, key=lambda other: other.y)
    return min(by_height[max(at - 1, 0) : at + 1], key=lambda other: abs(other.y - word.y))


def _deductions(lines: list[Line]) -> float:
    """The last number of the line of deductions, 0 where it has none."""
    for line in lines:
        if _text(line).lower().startswith("deductions") and (values := _decimals(line)):
            return abs(values[-1])
    return 0.0


def _is_nation(word: Word, column: float) -> bool:
    return re.fullmatch(r"[A-Z]{3}", word.text) is not None and abs(word.x - column) < _NEAR


def _is_count(word: Word) -> bool:
    return re.fullmatch(r"\d{1,3}\.?", word.text) is not None


def _decimals(line: Line) -> list[float]:
    return [float(found[1]) for word in line if (found := _DECIMAL.fullmatch(word.text.replace("\N{MINUS SIGN}", "-")))]


def _text(line: Line) -> str:
    return " ".join(word.text for word in line)
