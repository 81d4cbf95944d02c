"""Scores as json: one object for a video, an array of several, or an object a line (schema.json)."""

import json
from typing import TextIO

from mlavl_cli.scoring.result import RoutineScore


class JsonWriter:
    """One object for one video; an array where several were asked for."""

    def __init__(self, stream: TextIO, targets: list[str], many: bool):
        self.stream, self.many, self.count = stream, many, 0

    def add(self, result: RoutineScore) -> None:
        lead = ("[\n" if self.count == 0 else ",\n") if self.many else ""
        self.stream.write(lead + json.dumps(result.to_dict(), indent=2, allow_nan=False))
        self.stream.flush()
        self.count += 1

    def close(self) -> None:
        if self.many:
            self.stream.write("\n]\n" if self.count else "[]\n")
        elif self.count:
            self.stream.write("\n")


class JsonLinesWriter:
    """One object a line."""

    def __init__(self, stream: TextIO, targets: list[str], many: bool):
        self.stream = stream

    def add(self, result: RoutineScore) -> None:
        self.stream.write(json.dumps(result.to_dict(), allow_nan=False) + "\n")
        self.stream.flush()

    def close(self) -> None:
        pass
