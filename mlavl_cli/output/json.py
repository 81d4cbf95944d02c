"""Scores as json: one object for a video, an array of several, or an object a line (schema.json).

An input that couldn't be scored has an object, too: its path, and an `error`.
"""

import json
from typing import Any, TextIO

from mlavl_cli.scoring.record import failure_of
from mlavl_cli.scoring.result import RoutineScore


class JsonWriter:
    """One object for one video; an array where several were asked for."""

    def __init__(self, stream: TextIO, targets: list[str], many: bool):
        self.stream, self.many, self.count = stream, many, 0

    def add(self, result: RoutineScore) -> None:
        self._write(result.to_dict())

    def fail(self, path: str, problem: Exception) -> None:
        self._write(failure_of(path, problem))

    def _write(self, record: dict[str, Any]) -> None:
        lead = ("[\n" if self.count == 0 else ",\n") if self.many else ""
        self.stream.write(lead + json.dumps(record, indent=2, allow_nan=False))
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
        self._write(result.to_dict())

    def fail(self, path: str, problem: Exception) -> None:
        self._write(failure_of(path, problem))

    def _write(self, record: dict[str, Any]) -> None:
        self.stream.write(json.dumps(record, allow_nan=False) + "\n")
        self.stream.flush()

    def close(self) -> None:
        pass
