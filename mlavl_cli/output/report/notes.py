"""What a coach noted on moments of a routine, in a file beside its page: the page saves it (notes.js), and reads it
when it is made again."""

import json
from pathlib import Path
from typing import Any

from mlavl_cli.files import refuse_irregular

_MOST_BYTES, _MOST_NOTES, _LONGEST, _LATEST_S = 4 << 20, 2000, 2000, 1e6


def notes_file(page: Path) -> Path:
    """Where the notes of a page lie: routine.mp4.html -> routine.mp4.notes.json."""
    return page.with_name(f"{page.name.removesuffix('.html')}.notes.json")


def read_notes(page: Path) -> list[dict[str, Any]]:
    """The notes beside a page, in order of time: {"time_s": seconds, "text": words}; none where there are none."""
    path = notes_file(page)
    try:
        if path.is_symlink() or not path.is_file():
            return []
        refuse_irregular(path, _MOST_BYTES)
        listed = json.loads(path.read_text("utf-8"))["notes"][:_MOST_NOTES]
        notes = [(float(one["time_s"]), str(one["text"])[:_LONGEST]) for one in listed]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return []  # a page is not to be lost by what lies beside it
    return [{"time_s": at, "text": words} for at, words in sorted(notes) if 0 <= at <= _LATEST_S]
