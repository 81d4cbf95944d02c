"""Protocols and videos -> a manifest: a row a performance, splits by skater."""

import csv
import io
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlavl_cli.errors import DataError, MlavlError, UsageError
from mlavl_cli.files import atomic_write, csv_text
from mlavl_cli.groups import together
from mlavl_cli.protocols.blocks import performances
from mlavl_cli.protocols.match import Match
from mlavl_cli.protocols.performance import FIVE, THREE, Performance
from mlavl_cli.protocols.words import read_pages

_POOLED = 5 / 3  # brings 30 points of three components to the 50 of five


@dataclass(frozen=True)
class Protocols:
    """What protocols say.

    Attributes:
        rows: the performances that add up, in their order.
        wrong: those that don't, each with why.
        without: who is named without a score, like WD.
        failed: protocols, and performances in them, that can't be read.
    """

    rows: list[Performance] = field(default_factory=list)
    wrong: list[tuple[Performance, str]] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    failed: list[MlavlError] = field(default_factory=list)


def read_protocols(paths: Iterable[Path]) -> Protocols:
    """The judges' details of PDFs of the ISU's form, of five components or three; only rows whose sums hold.

    Raises:
        UsageError: the library that reads PDFs isn't installed.
    """
    told = Protocols()
    seen: set[tuple[str, ...]] = set()
    for path in paths:
        try:
            found = performances(read_pages(path), path.name)
        except UsageError:
            raise
        except MlavlError as error:
            told.failed.append(error)
            continue
        if not (found.performances or found.without or found.lost):
            cause = "holds no judges' details per skater"
            told.failed.append(DataError(cause, path=path, hint="Is it a scan, or a protocol of another form?"))
        told.failed.extend(DataError(text, path=path) for text in found.lost)
        told.without.extend(f"{path}: {text}" for text in found.without)
        for one in found.performances:
            key = (one.event, one.category, one.segment, one.skater)
            if wrong := [*one.wrong(), *(["it stands there twice"] if key in seen else [])]:
                told.wrong.append((one, "; ".join(wrong)))
            else:
                told.rows.append(one)
            seen.add(key)
    return told


def label_rows(rows: Sequence[Performance], pool: bool = False) -> list[dict[str, str]]:
    """The columns of a manifest: targets, and what training ignores.

    PCS is divided by its factor, as FS1000 has it: it ends at 50 with five components and at 30 with three.

    Args:
        rows: performances.
        pool: PCS of three components times 5/3, so that both end at 50.

    Raises:
        DataError: seasons of both systems, and nobody said to pool them.
    """
    systems = {one.system for one in rows}
    if len(systems) > 1 and not pool:
        cause = (
            "seasons with five components and with three: PCS by its factor ends at 50 in the one, at 30 in the other"
        )
        raise DataError(cause, hint="Make a manifest of each, or give --pool to bring the latter to 50 (times 5/3).")
    names = list(dict.fromkeys(name for system, some in ((5, FIVE), (3, THREE)) if system in systems for name in some))
    found = []
    for one in rows:
        pcs = one.pcs_by_factor * (_POOLED if pool and one.system == 3 else 1.0)
        row = {"TES": f"{one.tes:.2f}", "PCS": f"{pcs:.4f}"}
        row |= {name: f"{one.components[name].mean:.2f}" if name in one.components else "" for name in names}
        about = {
            "skater": one.skater, "nation": one.nation, "event": one.event, "category": one.category,
            "segment": one.segment, "rank": "" if one.rank is None else str(one.rank), "TSS": f"{one.tss:.2f}",
            "PCS_printed": f"{one.pcs:.2f}", "factor": f"{one.factor:.4g}", "deductions": f"{one.deductions:.2f}",
            "system": str(one.system), "protocol": one.protocol, "page": str(one.page),
        }  # fmt: skip
        found.append(row | about)
    return found


def splits(rows: Sequence[Performance], shares: Mapping[str, int], seed: int = 0) -> list[str]:
    """(n,) the split of each performance: all of a skater, and of whoever skated with them, in one.

    Args:
        rows: performances.
        shares: of each split but train, in per cent of the performances.
        seed: of the draw.
    """
    roots = together([one.skater for one in rows])
    order = sorted(set(roots))
    random.Random(seed).shuffle(order)
    where: dict[str, str] = {}
    for split, share in shares.items():
        wanted, have = share * len(rows) / 100, 0
        for name in order:
            size = roots.count(name)
            if name not in where and have + size / 2 <= wanted:
                where[name] = split
                have += size
    return [where.get(name, "train") for name in roots]


def write_manifest(
    path: Path, matches: Sequence[Match], folder: Path, shares: Mapping[str, int], seed: int = 0, pool: bool = False
) -> None:
    """A manifest of the performances that have a video, as `mlavl train manifest` takes it.

    Raises:
        DataError: none has one, or as `label_rows`.
    """
    shown = [one for one in matches if one.video]
    if not shown:
        raise DataError("no performance has a video", hint="Name the videos after the skaters, or give --map.")
    rows = [one.performance for one in shown]
    lines = []
    for one, split, labels in zip(shown, splits(rows, shares, seed), label_rows(rows, pool), strict=True):
        assert one.video is not None
        # A link in the name of a folder leads elsewhere than its `..`.
        video = os.path.relpath(Path(os.path.realpath(folder)) / one.video, os.path.realpath(path.parent))
        video = f"./{video}" if csv_text(video) != video else video  # a name like a formula stays a path
        lines.append({"path": video, "split": split} | {name: csv_text(text) for name, text in labels.items()})
    text = io.StringIO()
    out = csv.DictWriter(text, lines[0].keys(), lineterminator="\n")
    out.writeheader()
    out.writerows(lines)
    with atomic_write(path, "w") as file:
        file.write(text.getvalue())
