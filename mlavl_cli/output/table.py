"""Scores for people: a panel a video."""

from collections.abc import Iterable
from itertools import pairwise
from typing import TextIO

from rich.console import Console, Group
from rich.panel import Panel
from rich.style import Style
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from mlavl_cli.errors import one_line
from mlavl_cli.scoring.moments import weakest
from mlavl_cli.scoring.result import OF_CONSISTENCY, UNFAMILIAR, RoutineScore, TargetScore
from mlavl_cli.scoring.shown import clock, level

_STEPS = " ▁▂▃▄▅▆▇█"
_BAR = 8  # cells of a score's bar
_LABEL = 13  # letters before a row of the timeline


class TableWriter:
    """For people: a panel a video."""

    def __init__(self, stream: TextIO, targets: list[str], many: bool):
        self.console = Console(file=stream, highlight=False, soft_wrap=False)

    def add(self, result: RoutineScore) -> None:
        self.console.print(panel(result, self.console.width))

    def fail(self, path: str, problem: Exception) -> None:
        pass  # stderr has said it, on the same terminal

    def close(self) -> None:
        pass


def panel(result: RoutineScore, width: int) -> Panel:
    """Scores with their range and grades, the timeline, the three weakest moments, and what the weights are."""
    video = result.video
    facts = f"{clock(video.duration_s)}, {len(result.clips)} clips, {video.width_px} x {video.height_px}"
    outside = result.in_domain is False
    notes = [Text(UNFAMILIAR, style="bold red"), Text()] if outside else []
    found = weakest(result)
    shown = Text(f"{'weakest':<{_LABEL}}", style="bold") if found else Text(style="dim")
    if not result.measured:
        shown.append("no timeline")
    for i, moment in enumerate(found):
        between = "\n" + " " * _LABEL if width < 78 else "   "
        shown.append(between if i else "", style="not bold")
        span = f"{clock(moment.start_s)}-{clock(moment.end_s)}"
        shown.append(span, style=_colour(moment.strength) + Style(bold=False))
        shown.append(f" {moment.strength:.2f}", style="not bold dim")
    timeline = _timeline(result, max(width - _LABEL - 10, 16))
    numbers = Group(_score_table(result.scores, width), Text(), *timeline, shown)
    body = Group(
        *notes,
        Styled(numbers, "dim") if outside else numbers,
        Text(),
        Text(str(result.weights), style="dim"),
    )
    return Panel(
        body, title=Text(one_line(video.path), style="bold"), subtitle=Text(facts, style="dim"), title_align="left"
    )


def _score_table(scores: dict[str, TargetScore], width: int) -> Table:
    """Narrow terminals get no grades, and very narrow ones no bars."""
    table = Table.grid(padding=(0, 2 if width >= 90 else 1))
    for justify in ("left", "right", "left", "left", "left", "left"):
        table.add_column(justify=justify, no_wrap=True)
    confidence = next((score.confidence for score in scores.values() if score.confidence), None)
    titles = ["", "", f"{confidence:.0%} interval" if confidence else ""]
    titles += [""] if width >= 50 else []
    graded = width >= 72 and any(score.grades["visual"] for score in scores.values())
    titles += ["visual branch", "audio-visual branch"] if graded else []
    table.add_row(*(Text(title, style="dim") for title in titles))
    for target, score in scores.items():
        low, high = score.range
        filled = round(_BAR * score.share)
        bar = Text("█" * filled, style=_colour(score.share)).append("░" * (_BAR - filled), style="dim")
        bar.append(f" {low:g}-{high:g}" if low else f" {high:g}", style="dim")
        between = "{:.1f} to {:.1f}".format(*score.interval) if score.interval else "no interval"
        cells = [Text(target, style="bold"), Text(f"{score.score:.2f}", style="bold"), Text(between, style="dim")]
        cells += [bar] if width >= 50 else []
        cells += [_grades(score, branch) for branch in ("visual", "audio_visual")] if graded else []
        table.add_row(*cells)
    return table


def _grades(score: TargetScore, branch: str) -> Text:
    """A distribution as blocks from the worst to the best grade, and the grade that its points come to.

    Grades with fitting music stand behind all those without.
    """
    shares = score.grades[branch]
    if not shares:
        return Text("none", style="dim")
    top = max(shares.values()) or 1.0
    ordered = sorted(shares, key=lambda name: name.endswith(" with fitting music"))
    blocks = "".join(_STEPS[max(1, round(8 * shares[name] / top))] for name in ordered)
    return Text(blocks).append(f" {score.grade(branch)}", style="dim")


def _timeline(result: RoutineScore, width: int) -> Iterable[Text]:
    """Consistency and quality of the clips as coloured blocks, or attention where there is no other, with the time."""
    cells = min(len(result.clips), width)
    judging = [one for one in result.measured if one.judges]
    for one in result.measured if not judging else ():
        values = [clip.value(one) for clip in result.clips]
        row = Text(f"{one.label:<{_LABEL}}", style="bold")
        most = max(values) or 1.0
        row.append("".join(_STEPS[max(1, round(8 * v / most))] for v in _squeeze(values, cells)), style="not bold")
        yield row
    for one in judging:
        values = [clip.value(one) for clip in result.clips]
        row = Text(f"{one.label:<{_LABEL}}", style="bold")
        for share in _squeeze(values, cells):
            row.append(_STEPS[max(1, round(8 * share))], style=_colour(share) + Style(bold=False))
        row.append(f"  {sum(values) / len(values):.2f}", style="not bold dim")
        yield row
    if not result.measured:
        return
    start, end = clock(result.clips[0].start_s), clock(result.clips[-1].end_s)
    yield Text(" " * _LABEL + start + end.rjust(max(cells - len(start), len(end) + 1)), style="dim")
    for notice in result.warnings:
        if notice.code in OF_CONSISTENCY:
            yield Text(" " * _LABEL + one_line(notice.text), style="dim")


def _squeeze(values: list[float], cells: int) -> list[float]:
    """`values` in `cells` equal parts, each by its mean."""
    bounds = [round(i * len(values) / cells) for i in range(cells + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]


def _colour(share: float) -> Style:
    return Style(color={"low": "red", "mid": "yellow", "high": "green"}[level(share)])
