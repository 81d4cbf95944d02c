"""Scores as csv: a row a video, or a row a clip."""

import csv
from typing import TextIO

from mlavl_cli.files import csv_text
from mlavl_cli.scoring.measures import MEASURES
from mlavl_cli.scoring.result import RoutineScore


class CsvWriter:
    """One row a video."""

    def __init__(self, stream: TextIO, targets: list[str], many: bool):
        self.stream, self.targets = stream, targets
        self.rows = csv.writer(stream, lineterminator="\n")
        columns = ["consistency_mean", "clips", "duration_s", "warnings", "in_domain"]
        columns += [csv_text(f"{target}_{end}") for target in targets for end in ("low", "high")]
        self.rows.writerow(["path", *map(csv_text, targets), *columns])

    def add(self, result: RoutineScore) -> None:
        self.rows.writerow(
            [
                csv_text(result.video.path),
                *(f"{result.scores[target].score:.4f}" for target in self.targets),
                f"{result.consistency.mean:.4f}" if result.consistency else "",
                len(result.clips),
                f"{result.video.duration_s:.3f}",
                csv_text("; ".join([*map(str, result.warnings), f"weights {result.weights}"])),
                {True: "yes", False: "no", None: ""}[result.in_domain],
                *(
                    f"{end:.4f}" if end is not None else ""
                    for target in self.targets
                    for end in result.scores[target].interval or (None, None)
                ),
            ]
        )
        self.stream.flush()

    def close(self) -> None:
        pass


class ClipsCsvWriter:
    """One row a clip."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.rows = csv.writer(stream, lineterminator="\n")
        self.rows.writerow(["path", "clip", "start_s", "end_s", *(one.name for one in MEASURES)])

    def add(self, result: RoutineScore) -> None:
        for clip in result.clips:
            values = ((clip.measures[one.name], 4 if one.judges else 6) for one in MEASURES)
            shown = ("" if value is None else f"{value:.{digits}f}" for value, digits in values)
            path = csv_text(result.video.path)
            self.rows.writerow([path, clip.index, f"{clip.start_s:.3f}", f"{clip.end_s:.3f}", *shown])
        self.stream.flush()
