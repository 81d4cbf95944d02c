"""A RoutineScore and a glimpse of its video -> the page of one routine."""

import json
from dataclasses import asdict
from typing import Any

from mlavl_cli.output.report.glimpse import Glimpse
from mlavl_cli.output.report.html import document, table, text
from mlavl_cli.output.report.lanes import timeline, timeline_data
from mlavl_cli.output.report.player import keys, player
from mlavl_cli.output.report.scores import notes_of, score_table
from mlavl_cli.scoring.measures import MEASURES, Measure
from mlavl_cli.scoring.moments import Moment, strongest, weakest
from mlavl_cli.scoring.result import OF_CONSISTENCY, RoutineScore
from mlavl_cli.scoring.shown import clock

_MOST_PICTURES = 240  # of clips; longer routines show every second, third, ...
_SCRIPTS = ("timeline.js", "player.js", "notes.js", "page.js")


def page(
    result: RoutineScore,
    name: str,
    glimpse: Glimpse,
    urls: tuple[str, str, str | None],
    notes: list[dict[str, Any]],
) -> str:
    """The page of one routine, as HTML.

    Args:
        result: its score.
        name: what it is called, as plain text.
        glimpse: pictures and waveform.
        urls: of the video, relative; of the index, relative; a data URI of its content, where the page is to hold
            it.
        notes: what lies beside the page (notes.py).
    """
    video_url, index_url, embedded_url = urls
    video = result.video
    facts = (
        f"{clock(video.duration_s)}, {len(result.clips)} clips, "
        f"{video.width_px} x {video.height_px}, {video.fps:.4g} frames/s"
    )
    outside = ' class="outside"' if result.in_domain is False else ""
    body = f"""
<header>
<p class="soft"><a href="{text(index_url)}">All routines</a></p>
<h1>{text(name)}</h1>
<p class="soft">{facts}</p>
</header>
<main{outside}>
{notes_of(result)}
<h2>Scores</h2>
{score_table(result.scores)}
<h2>Timeline</h2>
{player(name, embedded_url or video_url, glimpse.thumbnails.get(0, ""))}
{timeline(result, glimpse)}
{_explained(result)}
{keys()}
<div class="pair"><section><h2>Weakest moments</h2>
{_moments(weakest(result), result.measured, glimpse)}</section>
<section><h2>Strongest moments</h2>
{_moments(strongest(result), result.measured, glimpse)}</section></div>
<section class="jots"><h2>Notes</h2><p class="add"><input type="text" maxlength="2000" aria-label="Note on this moment"
placeholder="Note on this moment"><button type="button" data-note="add">Add</button></p>
<ol></ol>
<p><button type="button" data-note="json">Save</button> <button type="button" data-note="csv">csv</button>
<button type="button" data-note="vtt">WebVTT</button>
<label class="button">Open<input type="file" accept=".json" class="visually-hidden"></label></p>
<p class="soft">Save puts the notes into a file: beside this page, under the name it has, the next report finds it.</p>
</section>
{f"<details><summary>All clips as a table</summary>{_table(result)}</details>" if result.measured else ""}
<details><summary>How this was made</summary>{_provenance(result)}</details>
</main>
"""
    data = {**timeline_data(result, glimpse), "notes": notes, "name": name}
    return document(f"{name}: scores", body, data, _SCRIPTS, video_url)


def shown_clips(result: RoutineScore) -> set[int]:
    """Whose pictures a page needs: the moments', and as many others as it can hold."""
    step = -(-len(result.clips) // _MOST_PICTURES)
    moments = weakest(result) + strongest(result)
    return {clip.index for clip in result.clips[::step]} | {moment.middle.index for moment in moments}


def _explained(result: RoutineScore) -> str:
    if result.consistency is None:
        told = {
            "quality": "Quality is how good a clip looks by itself (0 to 1, higher is better).",
            "attention": "Attention is how much of the score rests on a clip.",
        }
        said = " ".join(told[one.name] for one in result.measured if one.name in told)
        return f'<p class="soft">{said or "These weights say nothing of single clips."}</p>'
    notes = "".join(f" Note: {text(one.text)}." for one in result.warnings if one.code in OF_CONSISTENCY)
    return f"""
<figure class="explained">
<svg viewBox="0 0 200 34" role="img"
aria-label="Left: each accent of the movement falls on one of the music. Right: they fall between.">
{_accents(0, 0)}{_accents(104, 6)}</svg>
<figcaption>Consistency is how well the action of a clip and its music fit, from 0 (as in the right picture: accents of
the movement, dots, fall between those of the music, lines) to 1 (left: on them), as these weights read them; its mean
here is {result.consistency.mean:.2f}. Quality is how good a clip looks by itself (0 to 1), attention how much of the
score rests on a clip.{notes}</figcaption></figure>"""


def _accents(left: float, late: float) -> str:
    lines = "".join(
        f'<line class="beat" x1="{left + 8 + 16 * i}" x2="{left + 8 + 16 * i}" y1="2" y2="32"/>' for i in range(6)
    )
    dots = "".join(f'<circle class="high" cx="{left + 8 + 16 * i + late}" cy="17" r="3.4"/>' for i in range(6))
    return lines + dots


def _moments(moments: list[Moment], measured: list[Measure], glimpse: Glimpse) -> str:
    if not moments:
        return '<p class="soft">These weights say nothing of single clips.</p>'
    items = []
    for moment in moments:
        picture = glimpse.thumbnails.get(moment.middle.index)
        image = f'<img alt="" src="{picture}">' if picture else ""
        said = ", ".join(f"{one.label} {one.shown(moment.mean(one))}" for one in measured if one.judges)
        span = f'data-start="{moment.start_s:.6f}" data-end="{moment.end_s:.6f}"'
        between = f"{clock(moment.start_s)} to {clock(moment.end_s)}"
        items.append(
            f'<li><button type="button" {span}>{image}<span>{between}<br>{said}</span></button>'
            f'<button type="button" class="again" data-loop {span} aria-label="Loop {between}">Loop</button></li>'
        )
    return f'<ul class="moments">{"".join(items)}</ul>'


def _table(result: RoutineScore) -> str:
    """All clips; a column for every measure, empty where there is nothing to measure."""
    rows = []
    for clip in result.clips:
        values = ((one, clip.measures[one.name]) for one in MEASURES)
        cells = ("" if value is None else f"{value:.3f}" if one.judges else one.shown(value) for one, value in values)
        rows.append(
            f'<tr><td><button type="button" data-start="{clip.start_s:.6f}">{clock(clip.start_s)} to '
            f"{clock(clip.end_s)}</button></td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        )
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("time", *(one.label for one in MEASURES)))
    return table("All clips", heads, "".join(rows))


def _provenance(result: RoutineScore) -> str:
    facts: dict[str, Any] = {
        "video": result.video.path,
        "weights": str(result.weights),
        "backbones": json.dumps({role: known.to_dict() for role, known in result.backbones.items()}),
        "device, precision": f"{result.device}, {result.precision}",
        "consistency": json.dumps(asdict(result.consistency)) if result.consistency else "none",
        "distance from the training set": json.dumps(asdict(result.domain))
        if result.domain
        else "not known for these weights",
    }
    listed = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts.items())
    meaning = (
        "A score is an estimate of what the judges behind the training data would have given. It is no judgement by "
        "the rules: it knows nothing of invalid elements, deductions or the panel."
    )
    return f"<dl>{listed}</dl><p class='soft'>{meaning}</p>"
