"""What every dataset comes to: routines with features and scores, in splits; checked before anything is trained."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlavl_cli.bundle import Bundle
from mlavl_cli.csv_rows import MOST_ROWS, MOST_TABLE_BYTES
from mlavl_cli.datasets.public import PublicSet
from mlavl_cli.errors import DataError, UsageError
from mlavl_cli.features.arrays import wrong_tables
from mlavl_cli.files import refuse_irregular
from mlavl_cli.score_range import Range

_LONGEST_LINE, _LISTED = 10_000, 5


@dataclass(frozen=True)
class Routine:
    """One routine: visual (T, D_v), audio (T, D_a) and flow (T, D_f) float32, and its scores in points.

    Audio is None where nothing is heard, flow where no features of optical flow are there. `tokens` reads the K tokens
    a clip, (T, K, D_v), of which `visual` is the mean, for methods that mix them; None where there are none. A `group`,
    like all routines of a skater, stays together where splits are drawn; empty: the routine is alone. `video` is the
    SHA-256 of the file that the features are of, where they say it.
    """

    id: str
    visual: np.ndarray
    audio: np.ndarray | None
    scores: dict[str, float]
    statistics: dict[str, np.ndarray] = field(default_factory=dict)  # of pictures and sound, where they were taken
    flow: np.ndarray | None = None
    tokens: Callable[[], np.ndarray] | None = None
    group: str = ""
    video: str = ""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its features."""
        found = hashlib.sha256()
        for rows in (self.visual, self.audio, self.flow):
            found.update(b"none" if rows is None else str(rows.shape).encode() + np.ascontiguousarray(rows).tobytes())
        return found.hexdigest()

    @property
    def digests(self) -> tuple[str, ...]:
        """By which it is known again: its features, and its video, which another extraction gives other numbers."""
        return (self.digest, self.video) if self.video else (self.digest,)


@dataclass(frozen=True)
class Dataset:
    """Routines by split ("train", "test" and perhaps "val"), and what their scores mean.

    Attributes:
        name: as a user knows it.
        sport: whose prompts guide the heads: skating, gymnastics or swimming.
        backbones: the preset, or the bundle, whose backbones made the features.
        splits: routines by split; "calibration" is for what a bundle knows of its own errors (calibrate.py).
        ranges: (lowest, highest) possible score of each target, in points.
        public: which public dataset it is, if it is one.
        frame_rate: of its clips, in frames a second; None: each video's own, or not known.
        combined: of `ranges`, a target made of all others, which is trained only where it is asked for.
        notes: what a user should know before training on it.
    """

    name: str
    sport: str
    backbones: str | Bundle
    splits: dict[str, list[Routine]]
    ranges: dict[str, Range]
    public: PublicSet | None = None
    combined: str | None = None
    notes: tuple[str, ...] = ()
    frame_rate: float | None = None

    @property
    def targets(self) -> list[str]:
        """All but the combined one."""
        return [target for target in self.ranges if target != self.combined]

    @property
    def window(self) -> int | None:
        """Clips a routine in the official recipe; None: all of them."""
        return self.public.window if self.public else None

    @property
    def published(self) -> dict[str, tuple[float, float]]:
        """(SRCC, MSE) of the paper by target, where it has them."""
        return self.public.published if self.public else {}

    def of_target(self, target: str, split: str) -> list[Routine]:
        """The split's routines that have this score.

        Raises:
            DataError: no such target, or too few routines to learn or to judge anything.
        """
        if target not in self.ranges:
            raise DataError(f"{self.name} has no target {target!r}", hint=f"It has {', '.join(self.ranges)}.")
        found = [routine for routine in self.splits.get(split, []) if target in routine.scores]
        if len(found) < 2:
            cause = f"{len(found)} routines with a {target} score in split {split!r}"
            raise DataError(f"{self.name}: {cause}", hint="At least two are needed.")
        if len({routine.scores[target] for routine in found}) == 1:
            cause = f"all {len(found)} {target} scores in split {split!r} are the same"
            raise DataError(f"{self.name}: {cause}", hint="Nothing can be learned from constant labels, or ranked.")
        return found

    @property
    def judged_split(self) -> str:
        """Where the best epoch is chosen: "val" if there is one, else "test", as the official code does."""
        return "val" if self.splits.get("val") else "test"

    @property
    def calibration_split(self) -> str:
        """By which intervals and the domain's limits are set: never the one that heads are tested on."""
        return "calibration" if self.splits.get("calibration") else "val"


def chosen_targets(wanted: Sequence[str] | None, there: list[str], combined: str | None = None) -> list[str]:
    """The targets asked for; all of them by default, but for the one that combines them.

    Raises:
        UsageError: one isn't there.
    """
    if not wanted or ("all" in wanted and combined != "all"):
        return there
    unknown = [target for target in wanted if target not in (*there, combined)]
    if unknown:
        raise UsageError(f"no such target: {', '.join(unknown)}", hint=f"There are {', '.join(there)}.")
    return list(dict.fromkeys(wanted))


def routine(
    id: str,
    visual: np.ndarray,
    audio: np.ndarray | None,
    scores: dict[str, float],
    path: Path,
    flow: np.ndarray | None = None,
) -> Routine:
    """A routine, once its features and scores were found to be usable.

    Raises:
        DataError: shapes that disagree, no clips, NaN or infinity in features or scores.
    """
    tables = {"visual": visual, "audio": audio, "flow": flow}
    if wrong := wrong_tables({name: rows for name, rows in tables.items() if rows is not None}):
        raise DataError(f"{id}: {wrong}", path=path)
    for target, score in scores.items():
        if not np.isfinite(score):
            raise DataError(f"the {target} score of {id} is {score}", path=path)
    return Routine(id, visual, audio, scores, flow=flow)


def dataset_of(
    public: PublicSet, splits: dict[str, list[Routine]], ranges: dict[str, Range], notes: list[str]
) -> Dataset:
    """A public dataset, with a note on each split of another size than the published one."""
    differ = [
        f"{public.name} has {len(found)} routines in its {split} split; the published split has {count}"
        for split, count in public.sizes.items()
        if len(found := splits[split]) != count
    ]
    both = sorted({one.id for one in splits["train"]} & {one.id for one in splits["test"]})
    if both:
        listed = ", ".join(both[:_LISTED])
        differ.append(f"{len(both)} routines are in the train and in the test split of {public.name}: {listed}")
    differ += [*_beyond(public.name, splits, ranges), *copies(public.name, splits)]
    combined = public.combined if public.combined in ranges else None
    return Dataset(public.name, public.sport, public.backbones, splits, ranges, public, combined, tuple(notes + differ))


def copies(name: str, splits: dict[str, list[Routine]]) -> list[str]:
    """A note where routines have the same features, or are of the same video, under whatever names."""
    found: dict[str, str] = {}
    pairs = []
    for split, routines in splits.items():
        for one in routines:
            said = f"{one.id} ({split})"
            before = {found.setdefault(digest, said) for digest in one.digests} - {said}
            pairs += [f"{min(before)} and {said}"] if before else []
    return [f"{name}: {len(pairs)} routines have the features of another, {pairs[0]} first"] if pairs else []


def _beyond(name: str, splits: dict[str, list[Routine]], ranges: dict[str, Range]) -> list[str]:
    """A note on scores outside their range.

    Raises:
        DataError: some are so far outside that nobody gave them.
    """
    found = [
        (f"{one.id}: {target} {score:g} is not in {low:g} to {high:g}", max(low - score, score - high) > high - low)
        for routines in splits.values()
        for one in routines
        for target, score in one.scores.items()
        for low, high in [ranges.get(target, (-math.inf, math.inf))]
        if not low <= score <= high
    ]
    listed = "; ".join(text for text, _ in sorted(found, key=lambda one: not one[1])[:_LISTED])
    listed += f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    if any(far for _, far in found):
        raise DataError(f"{name}: {listed}", hint="Correct the labels.")
    return [f"{name}: {listed}"] if found else []


def read_rows(path: Path, scores: Sequence[str]) -> list[list[str]]:
    """A whitespace table with an optional line of headings -> its rows: an id, so many scores, and perhaps one more
    cell.

    Args:
        path: the table.
        scores: what its columns hold, as headings begin.

    Raises:
        DataError: can't be read, or a row is too short or holds no number where one belongs, or the headings name the
            columns in another order.
    """
    columns = 1 + len(scores)
    try:
        refuse_irregular(path, MOST_TABLE_BYTES)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        hint = "See `mlavl train --help` for the layout."
        raise DataError("can't be read as a table of labels", path=path, hint=hint) from error
    if len(lines) > MOST_ROWS or max(map(len, lines), default=0) > _LONGEST_LINE:
        cause = f"has more than {MOST_ROWS:,} lines, or one of more than {_LONGEST_LINE:,} letters"
        raise DataError(cause, path=path, hint="Is it a table of labels?")
    rows: list[list[str]] = []
    for number, line in enumerate(lines, 1):
        cells = line.split(None, columns + 1)[: columns + 1]  # one more is a factor, what follows is nobody's
        if not cells:
            continue
        if len(cells) < columns:
            raise DataError(f"line {number} has {len(cells)} columns, not {columns}", path=path)
        numbers = [_is_number(cell) for cell in cells[1:columns]]
        if all(numbers):
            rows.append(cells)
        elif any(numbers) or number > 1:  # no line of headings
            raise DataError(f"line {number} holds no number where a score belongs: {line.strip()!r}", path=path)
        elif moved := [name for at, name in enumerate(scores, 1) if _named_elsewhere(name, cells, at)]:
            cause = f"its headings ({line.strip():.100}) have {moved[0]} in another place"
            raise DataError(cause, path=path, hint=f"Order its columns so: an id, {', '.join(scores)}.")
    if not rows:
        raise DataError("has no labels", path=path)
    refuse_repeated([row[0] for row in rows], path)
    return rows


def _named_elsewhere(name: str, headings: list[str], at: int) -> bool:
    found = [place for place, heading in enumerate(headings) if heading.lower().startswith(name.lower())]
    return bool(found) and at not in found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def refuse_shared(paths: Iterable[Path], where: Path) -> None:
    """A file that stands for several routines, under whatever names, is kept as often.

    Raises:
        DataError: one does.
    """
    names: dict[tuple[int, int], Path] = {}
    for path in paths:
        try:
            status = path.stat()
        except OSError:  # whoever reads it says so
            continue
        before = names.setdefault((status.st_dev, status.st_ino), path)
        if before is not path:
            cause = f"gives two routines one file of features: {before.name} and {path.name}"
            raise DataError(cause, path=where, hint="Leave one of them.")


def refuse_repeated(ids: Sequence[Any], path: Path) -> None:
    """A routine that stands twice in a split counts twice, and its features are kept twice.

    Raises:
        DataError: one does, or there are more than any dataset has.
    """
    if len(ids) > MOST_ROWS:
        raise DataError(f"lists more than {MOST_ROWS:,} routines", path=path)
    if repeated := next((id for id, count in Counter(ids).items() if count > 1), None):
        raise DataError(f"lists {repeated} more than once", path=path, hint="Leave one of them.")
