"""A timeline as WebVTT: a cue a clip, which players show as subtitles and annotation tools read."""

import re
from pathlib import Path

from mlavl_cli.files import atomic_write
from mlavl_cli.scoring.result import RoutineScore


def write_webvtt(path: Path, result: RoutineScore) -> None:
    """Writes the timeline of a routine.

    Raises:
        MlavlError: it can't be written.
    """
    with atomic_write(path, "w") as file:
        file.write(webvtt(result))


def webvtt(result: RoutineScore) -> str:
    """One cue a clip: "consistency 0.62  quality 0.41", without consistency where there is no sound."""
    about = "; ".join([str(result.weights), *map(str, result.warnings)])
    note = re.sub("(?<!-)-+>", ">", about)
    blocks = ["WEBVTT", f"NOTE {' '.join(note.split())}"]
    measured = [one for one in result.measured if one.judges]
    for clip in result.clips if measured else []:
        times = f"{_timestamp(clip.start_s)} --> {_timestamp(clip.end_s)}"
        said = "  ".join(f"{one.label} {one.shown(clip.value(one))}" for one in measured)
        blocks.append(f"{clip.index + 1}\n{times}\n{said}")
    return "\n\n".join(blocks) + "\n"


def _timestamp(seconds: float) -> str:
    whole, thousandths = divmod(round(max(seconds, 0.0) * 1000), 1000)
    minutes, s = divmod(whole, 60)
    h, m = divmod(minutes, 60)
    return f"{h:02d}:{m:02d}:{s:02d}.{thousandths:03d}"
