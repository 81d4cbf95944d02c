"""Scores as csv: a row an input, or a row a clip."""

import csv
from typing import Any, TextIO

from mlavl_cli.errors import explained
from mlavl_cli.files import csv_text
from mlavl_cli.scoring.measures import MEASURES
from mlavl_cli.scoring.record import columns_of, row_of
from mlavl_cli.scoring.result import RoutineScore

_DIGITS = {"duration_s": 3}  # of other numbers: 4


class CsvWriter:
    """One row an input: its score (scoring/record.py), or why there is none, in the column `error`."""

    def __init__(self, stream: TextIO, targets: list[str], many: bool):
        self.stream, self.columns = stream, columns_of(targets)
        self.rows = csv.writer(stream, lineterminator="\n")
        self.rows.writerow(map(csv_text, self.columns))

    def add(self, result: RoutineScore) -> None:
        self._write(row_of(result))

    def fail(self, path: str, problem: Exception) -> None:
        self._write({"path": path, "error": explained(problem)})

    def _write(self, row: dict[str, Any]) -> None:
        self.rows.writerow([_cell(row.get(name), _DIGITS.get(name, 4)) for name in self.columns])
        self.stream.flush()

    def close(self) -> None:
        pass


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{digits}f}" if isinstance(value, float) else csv_text(str(value))


class ClipsCsvWriter:
    """One row a clip."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.rows = csv.writer(stream, lineterminator="\n")
        self.rows.writerow(["path", "clip", "start_s", "end_s", *(one.name for one in MEASURES), "in_domain"])

    def add(self, result: RoutineScore) -> None:
        for clip in result.clips:
            values = ((clip.measures[one.name], 4 if one.judges else 6) for one in MEASURES)
            shown = ("" if value is None else f"{value:.{digits}f}" for value, digits in values)
            path = csv_text(result.video.path)
            self.rows.writerow(
                [path, clip.index, f"{clip.start_s:.3f}", f"{clip.end_s:.3f}", *shown, _cell(clip.in_domain, 0)]
            )
        self.stream.flush()
