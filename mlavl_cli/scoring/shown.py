"""A score for people who work in Python: as tables of pandas, and as a notebook shows it."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlavl_cli.errors import UsageError, one_line

if TYPE_CHECKING:
    import pandas

RoutineScore = Any  # whose methods these are (result.py)
_WIDE, _HIGH, _GAP = 640, 90, 1  # pixels of a timeline, and between its bars
_COLOURS = {"low": "#c2410c", "mid": "#a16207", "high": "#15803d"}


def level(share: float) -> Literal["low", "mid", "high"]:
    """The third of [0, 1] that a share lies in, which colours it."""
    return "low" if share < 1 / 3 else "mid" if share < 2 / 3 else "high"


def clock(seconds: float) -> str:
    """12.3 -> "0:12.3"; 3723.04 -> "1:02:03.0"."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    lead = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{lead}:{rest // 10:02d}.{rest % 10}"


def clips_to_frame(score: RoutineScore) -> "pandas.DataFrame":
    """One row a clip: its times in seconds, its measures, and whether it is in the weights' domain.

    Raises:
        UsageError: pandas isn't installed.
    """
    return pandas_of_extra().DataFrame([clip.to_dict() for clip in score.clips]).set_index("index")


def as_line(score: RoutineScore) -> str:
    """What a prompt shows of it."""
    points = ", ".join(f"{target} {found.score:.2f}" for target, found in score.scores.items())
    outside = ", out of domain" if score.in_domain is False else ""
    return one_line(f"RoutineScore({Path(score.video.path).name}: {points}; {len(score.clips)} clips{outside})")


def as_html(score: RoutineScore) -> str:
    """A small table, what the weights were trained on, and the clips as bars."""
    rows = "".join(
        f"<tr><td>{escape(target)}</td><td>{found.score:.2f}</td><td>{found.range[0]:g} to {found.range[1]:g}</td>"
        f"<td>{'{:.2f} to {:.2f}'.format(*found.interval) if found.interval else ''}</td></tr>"
        for target, found in score.scores.items()
    )
    table = f"<table><tr><th>target</th><th>points</th><th>range</th><th>interval</th></tr>{rows}</table>"
    notes = "".join(f"<li>{escape(one_line(str(notice)))}</li>" for notice in score.warnings)
    about = f"{Path(score.video.path).name}, {clock(score.video.duration_s)}; weights {score.weights}"
    return f"<p>{escape(one_line(about))}</p>{table}{_timeline(score)}<ul>{notes}</ul>"


def _timeline(score: RoutineScore) -> str:
    clips = [(clip, strength) for clip in score.clips if (strength := clip.strength) is not None]
    if not clips:
        return ""
    name = "consistency" if score.consistency else "quality"
    wide = _WIDE / len(score.clips)
    bars = "".join(
        f'<rect x="{clip.index * wide:.1f}" y="{_HIGH * (1 - strength):.1f}" width="{max(wide - _GAP, _GAP):.1f}" '
        f'height="{_HIGH * strength:.1f}" fill="{_COLOURS[level(strength)]}">'
        f"<title>{clock(clip.start_s)}: {name} {strength:.2f}</title></rect>"
        for clip, strength in clips
    )
    label = f"{name} of {len(clips)} clips"
    return f'<svg width="{_WIDE}" height="{_HIGH}" role="img" aria-label="{label}">{bars}</svg>'


def pandas_of_extra() -> Any:
    """The library, which is an extra.

    Raises:
        UsageError: it isn't installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise UsageError("pandas isn't installed", hint="Run: pip install 'mlavl[frames]'.") from error
    return pandas
