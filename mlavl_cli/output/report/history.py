"""The scores of a season: for every skater or file, points over dates with their intervals.

Scores of different weights are different series: no line joins them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date
from itertools import groupby
from typing import Any, Literal

from mlavl_cli.output.report.html import document, table, text
from mlavl_cli.output.report.scores import banner, title_of
from mlavl_cli.output.report.season import Record
from mlavl_cli.scoring.result import ScoredBy

_WIDE, _HIGH, _EDGE = 300, 110, 8  # of a chart, and around it
_SERIES = ("plain", "music", "third", "fourth")  # colours, again and again
_MOST_CHARTS = 600
_MOST_TEXT, _CHART_LETTERS = 16 << 20, 150  # letters of all records on a page, and around each in a chart
_LEAST_SPAN = 0.1  # of a chart, as a share of its highest points

By = Literal["skater", "file"]


def grouped(records: Iterable[Record], by: By) -> dict[str, list[Record]]:
    """The records of each skater or file, by name."""
    who = (lambda one: one.skater) if by == "skater" else (lambda one: one.name)
    return {name: list(found) for name, found in groupby(sorted(records, key=who), key=who)}


def weights_named(records: Iterable[Record]) -> dict[tuple[str, str | None], str]:
    """What each of the weights is called; with the beginning of their fingerprint where two have one name."""
    used = list(dict.fromkeys(one.by for one in records))
    names = Counter(name for name, _ in used)
    return {
        (name, sha256): f"{name} ({(sha256 or 'unknown')[:8]})" if names[name] > 1 else name for name, sha256 in used
    }


def history_page(records: list[Record], by: By, index: str) -> str:
    """The page, as HTML; `index` is the index's URL."""
    everything, records = len(records), _newest(records)
    named = weights_named(records)
    series = {one: (i - (len(named) - 1) / 2, _SERIES[i % len(_SERIES)]) for i, one in enumerate(named)}
    outside = sum(one.in_domain is False for one in records)
    lead = f"{outside} of {len(records)} scores out of domain: unlike the training data, so they have no meaning"
    key = "".join(f'<li><span class="key {series[one][1]}"></span> {text(name)}</li>' for one, name in named.items())
    left = _MOST_CHARTS
    groups = []
    for name, found in grouped(records, by).items():
        targets = list(dict.fromkeys(target for one in found for target in one.points))[: max(left, 0)]
        left -= len(targets)
        charts = "".join(_chart(target, [one for one in found if target in one.points], series) for target in targets)
        groups.append(
            f'<section aria-label="{text(name)}"><h2>{text(name)}</h2><div class="charts">{charts}</div>'
            f"<details><summary>As a table</summary>{_table(name, found, named)}</details></section>"
        )
    cut = f"Of {everything} scores the newest {len(records)} are shown. " if len(records) < everything else ""
    changed = "Other weights have another colour, and no line joins their scores. " if len(named) > 1 else ""
    body = f"""
<header><p class="soft"><a href="{text(index)}">All routines</a></p><h1>Scores over time</h1></header>
<main>
{banner([ScoredBy(one.weights, one.trained_on) for one in records], lead if outside else "")}
<ul class="legend">{key}</ul>
<p class="soft">Points over dates, with their intervals as lines; hollow: out of domain, which no line joins; nor does
one join scores with and without sound. {cut}{changed}A difference within
the intervals may be the weights' error.</p>
{"".join(groups)}
</main>
"""
    return document("Scores over time", body, None)


def _newest(records: list[Record]) -> list[Record]:
    """The records that a page takes, in order: each stands in a chart and in a cell for every target."""
    left, shown = _MOST_TEXT, 0
    for one in reversed(records):
        texts = len(one.page) + len(one.skater) + len(one.weights)
        left -= texts + (len(one.name) + _CHART_LETTERS) * (len(one.points) + 1)
        if left < 0:
            break
        shown += 1
    return records[len(records) - shown :]


def _chart(target: str, records: list[Record], series: dict) -> str:
    days = [date.fromisoformat(one.date).toordinal() for one in records]
    ends = [value for one in records for value in one.points[target] if value is not None]
    low, high = min(ends), max(ends)
    more = (
        max(0.0, _LEAST_SPAN * max(abs(low), abs(high), 1.0) - (high - low)) / 2
    )  # next to nothing isn't to look steep
    low, high = low - more, high + more

    def x(day: int) -> float:
        return _EDGE + (_WIDE - 2 * _EDGE) * ((day - days[0]) / (days[-1] - days[0]) if days[-1] > days[0] else 0.5)

    def y(points: float) -> float:
        return _EDGE + (_HIGH - 2 * _EDGE) * (high - points) / (high - low)

    drawn = ""
    by_weights: dict[Any, list[tuple[float, Record]]] = defaultdict(list)
    for day, one in zip(days, records, strict=True):
        beside = max(-_EDGE, min(4 * series[one.by][0], _EDGE))  # pixels, to be told apart on one day
        by_weights[one.by].append((x(day) + beside, one))
    for weights, found in by_weights.items():
        kind = series[weights][1]
        for heard in (True, False):  # a score without sound is of the picture alone
            alike = [(at, one) for at, one in found if one.in_domain is not False and one.has_audio is heard]
            if len(alike) < 2:
                continue
            joined = " ".join(f"{at:.1f},{y(one.points[target][0]):.1f}" for at, one in alike)
            drawn += f'<polyline class="line {kind}" points="{joined}"/>'
        for at, one in found:
            points, start, end = one.points[target]
            if start is not None and end is not None:
                drawn += (
                    f'<line class="line {kind}" x1="{at:.1f}" x2="{at:.1f}" y1="{y(end):.1f}" y2="{y(start):.1f}"/>'
                )
            silent = "" if one.has_audio else ", without sound"
            hollow = " hollow" if one.in_domain is False else ""
            drawn += (
                f'<circle class="{kind}{hollow}" cx="{at:.1f}" cy="{y(points):.1f}" r="3.5">'
                f"<title>{one.date}, {text(one.name)}: {points:.2f}{silent}</title></circle>"
            )
    said = ", ".join(f"{one.date} {one.points[target][0]:.2f}" for one in records)
    return f"""<figure class="chart"><figcaption>{title_of(target)} <span class="soft">{low:.1f} to {high:.1f}</span>
</figcaption><svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{text(target)} over time: {text(said)}">{drawn}
</svg><div class="ends soft" aria-hidden="true"><span>{records[0].date}</span><span>{records[-1].date}</span></div>
</figure>"""


def _table(name: str, records: list[Record], named: dict) -> str:
    targets = list(dict.fromkeys(target for one in records for target in one.points))
    heads = "".join(f'<th scope="col">{text(word)}</th>' for word in ("date", "routine", *targets, "weights"))
    rows, latest = [], {one.page: one for one in sorted(records, key=lambda one: one.scored)}  # a page shows the last
    for one in records:
        cells = "".join(f"<td>{_points(one, target)}</td>" for target in targets)
        shown = latest[one.page] is one
        day = one.date if one.dated else f"{one.date} (the file's)"
        outside = ' <span class="badge alarm">out of domain</span>' if one.in_domain is False else ""
        outside += "" if one.has_audio else ' <span class="badge">without sound</span>'
        page = f'<a href="{text(one.page)}">{text(one.name)}</a>' if shown else text(one.name)
        rows.append(f"<tr><td>{day}</td><td>{page}{outside}</td>{cells}<td>{text(named[one.by])}</td></tr>")
    return table(f"Scores of {name}", heads, "".join(rows))


def _points(one: Record, target: str) -> str:
    if target not in one.points:
        return ""
    points, low, high = one.points[target]
    return f"{points:.2f}" + (f' <span class="soft">{low:.1f} to {high:.1f}</span>' if low is not None else "")
