"""Figures that the MLAVL paper prints for other methods (its tables 1 to 4), beside which a table of one's own stands.

An asterisk or a dagger of the paper's, probably own runs and one of published code, is kept; None: not printed.
"""

from dataclasses import dataclass

from mlavl_cli.datasets.dataset import Dataset

Pair = tuple[float | None, float | None]


@dataclass(frozen=True)
class Printed:
    """A row of a table.

    Attributes:
        label: as the paper prints it.
        model: by whose name it is known here; None: it can't be built on clip features, or was run on others.
        figures: (SRCC, MSE) of each target, in points; of LOGO the second is R-l2 x 100.
    """

    label: str
    model: str | None
    figures: dict[str, Pair]


def _row(label: str, model: str | None, targets: str, srcc: str, mse: str) -> Printed:
    numbers = [[None if cell == "-" else float(cell) for cell in text.split()] for text in (srcc, mse)]
    return Printed(label, model, dict(zip(targets.split(), zip(*numbers, strict=True), strict=True)))


_F, _V, _R = "TES PCS SS TR PE CO IN", "TES PCS", "Ball Clubs Hoop Ribbon"
FS1000 = [
    _row("C3D-LSTM (C3D)", None, _F, ".78 .53 .50 .52 .52 .57 .47", "308.30 25.85 .92 .99 1.21 .97 1.01"),
    _row("MSCADC", None, _F, ".77 .70 .69 .69 .71 .68 .71", "148.02 15.47 .51 .57 .78 .55 .60"),
    _row("MS-LSTM", "ms-lstm", _F, ".86 .80 .77 .78 .76 .79 .78", "94.55 11.03 .45 .49 .76 .43 .47"),
    _row("CoRe", "core", _F, ".88 .84 .81 .83 .81 .83 .80", "103.50 9.85 .41 .37 .81 .38 .41"),
    _row("GDLT*", "gdlt", _F, ".88 .86 .84 .86 .83 .85 .84", "82.73 10.32 .35 .37 .67 .38 .42"),
    _row("TPT", "tpt", _F, ".88 .83 .82 .82 .81 .82 .81", "80.00 8.88 .34 .37 .63 .34 .39"),
    _row("T2CR*", "t2cr", _F, ".86 .79 .83 .84 .82 .84 .80", "107.59 15.26 .61 .48 .69 .57 .42"),
    _row("CoFInAl*", "cofinal", _F, ".84 .83 .84 .84 .81 .83 .82", "81.65 16.05 .56 .63 .71 .41 .54"),
    _row("QTD*", "qtd", _F, ".88 .85 .85 .86 .83 .85 .84", "137.09 17.48 .51 .73 .80 .91 .98"),
    _row("M-BERT", None, _F, ".79 .75 .80 .81 .80 .80 .76", "131.28 15.28 .44 .43 .67 .47 .55"),
    _row("MLP-Mixer†", "mlp-mixer", _F, ".88 .82 .80 .81 .80 .81 .81", "81.24 9.47 .35 .35 .62 .37 .39"),
    _row("SGN", None, _F, ".89 .85 .84 .85 .82 .85 .83", "79.08 8.40 .31 .32 .61 .33 .37"),
    _row("PAMFN+*", "pamfn", _F, ".90 .89 .86 .87 .86 .87 .85", "104.89 10.05 .39 .52 .78 .40 .56"),
]
FISV = [
    _row("C3D-LSTM (C3D)", None, _V, ".290 .510", "39.25 21.97"),
    _row("MSCADC", None, _V, ".500 .610", "25.93 11.94"),
    _row("MS-LSTM", "ms-lstm", _V, ".650 .780", "19.91 8.35"),
    _row("M-BERT", None, _V, ".530 .720", "27.73 12.38"),
    _row("GDLT*", "gdlt", _V, ".685 .820", "20.99 8.75"),
    _row("CoRe", "core", _V, ".660 .820", "23.50 9.25"),
    _row("TPT", "tpt", _V, ".570 .760", "27.50 11.25"),
    _row("MLP-Mixer", "mlp-mixer", _V, ".680 .820", "19.57 7.96"),
    _row("SGN", None, _V, ".700 .830", "19.05 7.96"),
    _row("PAMFN", "pamfn", _V, ".754 .872", "22.50 8.16"),
    _row("CoFInAl*", "cofinal", _V, ".716 .843", "20.76 7.91"),
    _row("QTD*", "qtd", _V, ".717 .858", "26.97 10.89"),
]
RG = [
    _row("C3D+SVR (C3D)", None, _R, ".357 .551 .495 .516", "- - - -"),
    _row("MS-LSTM* (VST)", "ms-lstm", _R, ".621 .661 .670 .695", "7.52 6.04 6.16 5.78"),
    _row("ACTION-NET* (VST+ResNet)", None, _R, ".684 .737 .733 .754", "9.55 6.36 5.56 8.15"),
    _row("GDLT*", "gdlt", _R, ".746 .802 .765 .741", "5.90 4.34 5.70 6.16"),
    _row("PAMFN", "pamfn", _R, ".757 .825 .836 .846", "6.24 7.45 5.21 7.67"),
    _row("CoFInAl* (VST)", "cofinal", _R, ".809 .806 .804 .810", "5.07 5.19 6.37 6.30"),
    _row("QTD*", "qtd", _R, ".823 .852 .837 .857", "7.94 5.66 7.95 8.87"),
]
LOGO = [
    _row("MS-LSTM", "ms-lstm", "LOGO", ".542", "5.763"),
    _row("MS-LSTM + MAG2", "ms-lstm+mag2", "LOGO", ".582", "4.916"),
    _row("USDL", "usdl", "LOGO", ".762", "2.556"), _row("USDL + MAG2", "usdl+mag2", "LOGO", ".804", "2.269"),
    _row("GDLT", "gdlt", "LOGO", ".647", "4.148"), _row("GDLT + MAG2", "gdlt+mag2", "LOGO", ".654", "3.589"),
    _row("CoRe", "core", "LOGO", ".697", "5.620"), _row("CoRe + MAG2", "core+mag2", "LOGO", ".723", "3.386"),
    _row("TPT", "tpt", "LOGO", ".589", "5.228"), _row("TPT + MAG2", "tpt+mag2", "LOGO", ".621", "3.130"),
    _row("HGCN", "hgcn", "LOGO", ".541", "4.765"), _row("HGCN + MAG2", "hgcn+mag2", "LOGO", ".640", "3.698"),
    _row("T2CR", "t2cr", "LOGO", ".681", "5.973"), _row("T2CR + MAG2", "t2cr+mag2", "LOGO", ".699", "4.809"),
    _row("CoFInAl", "cofinal", "LOGO", ".661", "5.754"),
    _row("CoFInAl + MAG2", "cofinal+mag2", "LOGO", ".708", "3.950"),
    _row("QTD", "qtd", "LOGO", ".698", "4.948"), _row("QTD + MAG2", "qtd+mag2", "LOGO", ".729", "3.869"),
]  # fmt: skip
PRINTED = {"FS1000": FS1000, "Fis-V": FISV, "RG": RG, "LOGO": LOGO}


def printed(dataset: str, variant: str, target: str) -> Printed | None:
    """The row of a dataset for a method by its name here, such as gdlt+mag2, if it has this target."""
    rows = PRINTED.get(dataset, [])
    return next((row for row in rows if row.model == variant and target in row.figures), None)


def others(dataset: str, shown: set[str], target: str) -> list[Printed]:
    """The rows of a dataset beside which none of these methods stands."""
    return [row for row in PRINTED.get(dataset, []) if row.model not in shown and target in row.figures]


def has_flow(data: Dataset) -> bool:
    """Whether all routines have features of optical flow."""
    return all(routine.flow is not None for split in data.splits.values() for routine in split)


def has_tokens(data: Dataset) -> bool:
    """Whether routines have several visual tokens a clip."""
    return any(routine.tokens for split in data.splits.values() for routine in split)


def as_published(name: str, data: Dataset) -> bool:
    """Whether a method reads here what it read in the literature."""
    if name == "mlp-mixer":  # FS1000's features have K tokens, those of the other public sets one
        return has_tokens(data) or data.name != "FS1000"
    return name != "pamfn" or has_flow(data)


def paper_says(name: str, target: str, data: Dataset) -> Pair:
    """(SRCC, MSE) that the paper prints for a method on this dataset, where it reads the same here."""
    if name == "mlavl":
        return data.published.get(target, (None, None))
    known = printed(data.name, name, target) if as_published(name, data) else None
    return known.figures[target] if known else (None, None)
