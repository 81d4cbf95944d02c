"""Judges' protocols as PDFs, laid out as printed ones are, with the truth that they hold. All names are made up."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fpdf import FPDF

FIVE = ("Skating Skills", "Transitions / Linking Footwork", "Performance / Execution", "Choreography / Composition",
        "Interpretation")  # fmt: skip
DANCE = ("Skating Skills", "Linking Footwork / Movement", "Performance", "Choreography", "Interpretation / Timing")
LATER = ("Composition", "Presentation", "Skating Skills")
LETTERS = {5: ("SS", "TR", "PE", "CO", "IN"), 3: ("CO", "PR", "SK")}
CODES = "4Lz+3T 3A CCoSp4 StSq3 3F! FCSp4 1A+1Eu+3S 3Lz< ChSq1 2A CSSp4 CuLi4+RoLi4".split()
JUDGES = 9
MARKS_LEFT, MARK_WIDE = 260, 22


@dataclass
class Row:
    """What is printed of one skater; what follows from it is computed as the ISU does."""

    name: str
    nation: str
    rank: int
    factors: tuple[float, ...]
    elements: list[tuple[str, float, float]]  # code, base value, grade of execution
    marks: np.ndarray  # (components, judges)
    falls: int = 0
    printed: dict = field(default_factory=dict)  # figures to print instead of the true ones

    @property
    def means(self):
        inner = np.sort(self.marks, axis=1)[:, 1:-1]
        return [round(float(mean) + 1e-9, 2) for mean in inner.mean(axis=1)]

    @property
    def tes(self):
        return round(sum(round(base + goe, 2) for _, base, goe in self.elements), 2)

    @property
    def pcs(self):
        return round(sum(mean * factor for mean, factor in zip(self.means, self.factors, strict=True)) + 1e-9, 2)

    @property
    def tss(self):
        return round(self.tes + self.pcs - self.falls, 2)


def draw_row(rng, name, nation, rank, factors, elements=7, falls=0, **printed):
    codes = [(CODES[i % len(CODES)], round(float(rng.uniform(1, 13)), 2), round(float(rng.uniform(-3, 3)), 2))
             for i in range(elements)]  # fmt: skip
    marks = rng.integers(20, 40, (len(factors), JUDGES)) / 4
    return Row(name, nation, rank, tuple(factors), codes, marks, falls, printed)


class Sheet(FPDF):
    """A protocol, a cell at a time."""

    def __init__(self, event: str, segment: str, size: float = 7.0, pitch: float = 9.0, foot: float = 780.0):
        super().__init__(unit="pt", format="A4")
        self.set_auto_page_break(False)
        self.event, self.segment, self.size, self.pitch, self.foot = event, segment, size, pitch, foot
        self.y_now = 0.0
        self.begin_page()

    def begin_page(self):
        self.add_page()
        self.put(200, 40, self.event, 11)
        self.put(60, 60, self.segment, 9)
        self.put(330, 60, "JUDGES DETAILS PER SKATER", 9)
        self.y_now = 85.0

    def put(self, x, y, text, size=None, right=False):
        self.set_font("helvetica", size=size or self.size)
        text = str(text)
        self.text(x - (self.get_string_width(text) if right else 0), y, text)

    def next(self, by=1.0):
        self.y_now += by * self.pitch
        if self.y_now > self.foot:
            self.put(30, 820, "printed: 18.12.2014 18:44:36")
            self.put(540, 820, f"{self.page_no()} / 9")
            self.begin_page()

    def head(self, row, start, upper=True):
        y, names = self.y_now, ("Total", "Segment", "Score")
        for line, words in enumerate(zip(("Starting", "Number", ""), names, strict=True)):
            self.put(275, y + 7 * line, words[0])
            self.put(330, y + 7 * line, words[1])
        for line, (element, programme, off) in enumerate(
            (
                ("Total", "Total", "Total"),
                ("Element", "Program Component", "Deductions"),
                ("Score", "Score (factored)", ""),
            )
        ):
            self.put(385, y + 7 * line, element)
            self.put(430, y + 7 * line, programme)
            self.put(510, y + 7 * line, off)
        for x, word in ((32, "Rank"), (80, "Name"), (240, "Nation")):
            self.put(x, y + 10, word)
        self.next(3.2)
        y, shown = self.y_now, {"tss": row.tss, "tes": row.tes, "pcs": row.pcs, **row.printed}
        self.put(45, y, row.rank, 9, right=True)
        parts = row.name.split(" / ")
        if len(parts) == 2 and len(row.name) > 34:  # a pair's long names stand on two lines
            self.put(65, y - 4, parts[0] + " /", 8)
            self.put(65, y + 4, parts[1], 8)
        else:
            self.put(65, y, row.name, 9)
        self.put(245, y, row.nation, 9)
        self.put(290, y + (2.9 if upper else 0), start, 8)  # on a baseline of its own
        if row.printed.get("tss", 0) is not None:
            for x, what in ((350, "tss"), (405, "tes"), (470, "pcs")):
                self.put(x, y, f"{shown[what]:.2f}", 9, right=True)
            if row.falls or row.printed.get("zero"):
                self.put(545, y, f"{-row.falls:.2f}" if row.falls else "0.00", 9, right=True)

    def judged(self, row, titles):
        self.next(1.5)
        for x, word in ((25, "#"), (40, "Executed"), (40 + 36, "Elements"), (195, "Base"), (235, "GOE")):
            self.put(x, self.y_now, word)
        with self.rotation(90, 160, self.y_now):
            self.put(160, self.y_now, "Info")
        for judge in range(JUDGES):
            self.put(MARKS_LEFT + MARK_WIDE * judge, self.y_now, f"J{judge + 1}", right=True)
        self.put(480, self.y_now, "Ref.")
        self.put(510, self.y_now - 3, "Scores of")
        self.next(0.8)
        self.put(195, self.y_now, "Value")
        self.put(510, self.y_now, "Panel")
        for number, (code, base, goe) in enumerate(row.elements, 1):
            self.next()
            y = self.y_now
            self.put(25, y, number)
            self.put(40, y, code)
            if "<" in code:
                self.put(150, y, "<")
            self.put(210, y, f"{base:.2f}", right=True)
            if number > len(row.elements) // 2:
                self.put(214, y, "x")
            self.put(250, y, f"{goe:.2f}", right=True)
            for judge in range(JUDGES):
                mark = "-" if judge == 8 and number % 3 == 0 else (number + judge) % 7 - 3
                self.put(MARKS_LEFT + MARK_WIDE * judge, y, mark, right=True)
            self.put(545, y, f"{base + goe:.2f}", right=True)
        self.next()
        self.put(210, self.y_now, f"{sum(base for _, base, _ in row.elements):.2f}", right=True)
        self.put(545, self.y_now, f"{row.tes:.2f}", right=True)
        self.next()
        self.put(40, self.y_now, "Program Components")
        self.put(250, self.y_now, "Factor", right=True)
        for title, factor, marks, mean in zip(titles, row.factors, row.marks, row.means, strict=True):
            self.next(1.6 if len(title) > 28 else 1)
            first, slash, second = title.partition(" / ") if len(title) > 28 else (title, "", "")
            self.put(40, self.y_now - (4 if second else 0), first + slash.rstrip())
            if second:
                self.put(40, self.y_now + 4, second)
            self.put(250, self.y_now, f"{factor:.2f}", right=True)
            for judge, mark in enumerate(marks):
                self.put(MARKS_LEFT + MARK_WIDE * judge + 8, self.y_now, f"{mark:.2f}", right=True)
            self.put(545, self.y_now, f"{mean:.2f}", right=True)
        self.next(1.5)
        self.put(40, self.y_now, "Judges Total Program Component Score (factored)")
        self.put(545, self.y_now, f"{row.pcs:.2f}", right=True)
        self.next(1.3)
        self.put(25, self.y_now, "Deductions:")
        if row.falls:
            self.put(100, self.y_now, "Falls:")
            self.put(160, self.y_now, f"{-row.falls:.2f}")
        if row.falls > 1:
            self.next()
            self.put(100, self.y_now, f"({row.falls} falls, one of them in a step sequence)")
        self.put(545, self.y_now, f"{-row.falls:.2f}" if row.falls else "0.00", right=True)
        self.next(1.2)
        self.put(
            25,
            self.y_now,
            "x Credit for highlight distribution, base value multiplied by 1.1   < Under-rotated jump",
            6,
        )
        self.next(1.8)


def write_sheet(path: Path, event: str, segment: str, rows: list[Row], titles=FIVE, withdrawn=(), **look) -> Path:
    sheet = Sheet(event, segment, **look)
    for start, row in enumerate(rows, 1):
        sheet.head(row, start)
        if row.printed.get("tss", 0) is not None:
            sheet.judged(row, titles)
    for name, nation, why in withdrawn:
        sheet.next(2)
        sheet.put(40, sheet.y_now, why)
        sheet.put(65, sheet.y_now, name)
        sheet.put(245, sheet.y_now, nation)
    sheet.output(str(path))
    return path
