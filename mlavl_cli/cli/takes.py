"""A take of `mlavl compare`: a video, or what was written of one."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlavl_cli.errors import DataError
from mlavl_cli.files import refuse_irregular

if TYPE_CHECKING:
    from mlavl_cli.scoring.result import RoutineScore

_MOST_BYTES, _MOST_TARGETS = 8 << 20, 64
_MOST_WARNINGS, _LONGEST_WORD = 1000, 4096
_MOST_NUMBER = 1e9  # of points, seconds and shares


@dataclass
class Take:
    """What was named, its score as JSON holds it (None: not scored yet), and the score itself, of a video."""

    path: str
    result: dict[str, Any] | None = None
    score: "RoutineScore | None" = None

    @property
    def known(self) -> dict[str, Any]:
        """Of a take that is scored."""
        assert self.result is not None
        return self.result

    @property
    def scored(self) -> "RoutineScore":
        """Of a video that is scored."""
        assert self.score is not None
        return self.score


def read_take(path: str) -> Take:
    """What a path names.

    Raises:
        DataError: json, but not a score of one video.
    """
    return Take(path, _written(path))


def _written(path: str) -> dict[str, Any] | None:
    """A score that was written as json, checked as far as it is used; None: it is no json, so a video.

    Raises:
        DataError: json, but not a score of one video.
    """
    if Path(path).suffix.lower() not in (".json", ".jsonl"):
        return None
    try:
        refuse_irregular(Path(path))
        if Path(path).stat().st_size > _MOST_BYTES:
            raise ValueError
        found = json.loads(Path(path).read_text("utf-8"))
        if isinstance(found, list):
            (found,) = found
        if isinstance(found.get("error"), str) and "scores" not in found:
            raise DataError(f"was not scored: {found['error']:.500}", path=path, hint="Score the video again.")
        if len(found["scores"]) > _MOST_TARGETS:
            raise ValueError
        numbers = [score["score"] for score in found["scores"].values()]
        for score in found["scores"].values():
            numbers += score.get("interval") or ()
            low, high = score.get("interval") or (0, 0)
            if low > high:
                raise ValueError
        for clip in found["clips"]:
            numbers += [clip[name] for name in ("start_s", "end_s")]
            numbers += [0.0 if clip[name] is None else clip[name] for name in ("consistency", "quality")]
        warnings = found.get("warnings", [])
        if not isinstance(warnings, list) or len(warnings) > _MOST_WARNINGS:
            raise TypeError
        if not isinstance(found.get("domain") or {}, dict):
            raise TypeError
        words = [found["weights"]["name"], found["weights"]["trained_on"], found["video"]["path"]]
        words += [*found["scores"], *warnings, found["weights"].get("sha256") or ""]
        if not all(type(n) in (int, float) and abs(n) <= _MOST_NUMBER for n in numbers):
            raise ValueError
        spans = [(clip["start_s"], clip["end_s"]) for clip in found["clips"]]
        if any(start >= end for start, end in spans) or any(b[0] < a[1] for a, b in pairwise(spans)):
            raise ValueError  # clips follow one another
        if not all(isinstance(word, str) and len(word) <= _LONGEST_WORD for word in words):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        cause = "can't be read as the score of one video"
        raise DataError(cause, path=path, hint="Write it with: mlavl score VIDEO --format json.") from error
    return found
