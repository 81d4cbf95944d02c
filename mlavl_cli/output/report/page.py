"""A RoutineScore and a glimpse of its video -> the page of one routine."""

import json
from dataclasses import asdict
from typing import Any

from mlavl_cli.output.report.glimpse import Glimpse
from mlavl_cli.output.report.html import document, text
from mlavl_cli.scoring.measures import MEASURES, Measure
from mlavl_cli.scoring.result import OF_CONSISTENCY, ClipScore, RoutineScore, TargetScore
from mlavl_cli.scoring.shown import clock, level

MOMENTS = 3  # the weakest and the strongest shown


def page(
    result: RoutineScore, name: str, glimpse: Glimpse, video_url: str, index_url: str, embedded_url: str | None = None
) -> str:
    """The page of one routine, as HTML.

    Args:
        result: its score.
        name: what it is called, as plain text.
        glimpse: pictures and waveform.
        video_url: of the video, relative.
        index_url: of the index, relative.
        embedded_url: the video's content as a data URI, where the page is to hold it.
    """
    video = result.video
    facts = (
        f"{clock(video.duration_s)}, {len(result.clips)} clips, "
        f"{video.width_px} x {video.height_px}, {video.fps:.4g} frames/s"
    )
    weakest, strongest = result.weakest(MOMENTS), result.strongest(MOMENTS)
    outside = ' class="outside"' if result.in_domain is False else ""
    body = f"""
<header>
<p class="soft"><a href="{text(index_url)}">All routines</a></p>
<h1>{text(name)}</h1>
<p class="soft">{facts}. Scored by {text(str(result.weights))}</p>
</header>
<main{outside}>
{_notes(result)}
<ul class="summary">{"".join(_summary(target, score) for target, score in result.scores.items())}</ul>
<h2>Timeline</h2>
<video controls preload="metadata" playsinline src="{text(embedded_url or video_url)}"
aria-label="{text(name)}"></video>
<p class="unplayable notes" hidden>This browser can't play the video; scores and timeline are complete all the same.</p>
{_strip(glimpse, weakest + strongest)}
{_lanes(result, glimpse)}
<p class="said" aria-hidden="true"></p>
<p class="soft">Click, or use the arrow keys, to jump from clip to clip; space plays and pauses.
Consistency is how well action and music match, quality how good a clip looks by itself (both 0 to 1, higher
is better), attention how much the score rests on a clip.{_consistency_note(result)}</p>
<h2>Weakest moments</h2>
{_moments(weakest, result.measured, glimpse)}
<h2>Strongest moments</h2>
{_moments(strongest, result.measured, glimpse)}
<h2>Scores</h2>
<div class="cards">{"".join(_card(target, score) for target, score in result.scores.items())}</div>
<details><summary>All clips as a table</summary>{_table(result)}</details>
<details><summary>How this was made</summary>{_provenance(result)}</details>
</main>
"""
    measures = [{"name": one.name, "label": one.label, "judges": one.judges} for one in result.measured]
    clips = [clip.to_dict() for clip in result.clips]
    return document(f"{name}: scores", body, {"clips": clips, "measures": measures}, "timeline.js", video_url)


def shown_clips(result: RoutineScore, strip: int = 12) -> set[int]:
    """Whose pictures a page needs: the moments', and some spread over the routine."""
    count = len(result.clips)
    spread = {(2 * i + 1) * count // (2 * min(strip, count)) for i in range(min(strip, count))}
    return spread | {clip.index for clip in result.weakest(MOMENTS) + result.strongest(MOMENTS)}


def _notes(result: RoutineScore) -> str:
    found = [notice.text for notice in result.warnings if notice.code not in OF_CONSISTENCY]
    items = "".join(f"<li>{text(warning)}</li>" for warning in found)
    return f'<div class="notes" role="note"><ul>{items}</ul></div>' if found else ""


def _consistency_note(result: RoutineScore) -> str:
    return "".join(f" Note: {text(notice.text)}." for notice in result.warnings if notice.code in OF_CONSISTENCY)


def _summary(target: str, score: TargetScore) -> str:
    low, high = score.range
    of = f"of {low:g} to {high:g}" if low else f"of {high:g}"
    return f'<li><b>{text(target)}</b> {score.score:.2f} <span class="soft">{of}</span></li>'


def _card(target: str, score: TargetScore) -> str:
    low, high = score.range
    drawn = _branch("visual branch", score.visual, score, "visual")
    if score.audio_visual is not None:
        drawn += _branch("audio-visual branch", score.audio_visual, score, "audio_visual")
    return f"""
<section class="card" aria-label="{text(target)}">
<h3>{text(target)}</h3>
<div class="points">{score.score:.2f} <span class="soft">of {low:g} to {high:g}</span></div>
<p class="soft">{_interval(score)}</p>
<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">
<rect class="track" width="100" height="1"/>
<rect class="{level(score.share)}" width="{100 * score.share:.2f}" height="1"/></svg>
{drawn}
</section>"""


def _interval(score: TargetScore) -> str:
    if score.interval is None or score.confidence is None:
        return "no interval: these weights were not calibrated"
    return "{:.0%} interval: {:.1f} to {:.1f}".format(score.confidence, *score.interval)


def _branch(name: str, points: float, score: TargetScore, branch: str) -> str:
    grades = score.grades[branch]
    said = f'<p class="soft">{name} {points:.2f}'
    if not grades:
        return said + "</p>"
    top = max(grades.values()) or 1.0
    bars = "".join(
        f'<rect class="plain" x="{i + 0.08:.2f}" y="{1 - share / top:.3f}" width="0.84" height="{share / top:.3f}">'
        f"<title>{text(grade)}: {100 * share:.0f} %</title></rect>"
        for i, (grade, share) in enumerate(grades.items())
    )
    listed = ", ".join(f"{grade} {100 * share:.0f} %" for grade, share in grades.items())
    return f"""{said}: {text(score.grade(branch))}</p>
<svg class="grades" viewBox="0 0 {len(grades)} 1" preserveAspectRatio="none" role="img"
aria-label="{text(name)}, grades from worst to best: {text(listed)}">{bars}</svg>"""


def _strip(glimpse: Glimpse, moments: list[ClipScore]) -> str:
    spread = sorted(set(glimpse.thumbnails) - {clip.index for clip in moments}) or sorted(glimpse.thumbnails)
    images = "".join(f'<img alt="" src="{glimpse.thumbnails[i]}">' for i in spread[:12])
    return f'<div class="strip" aria-hidden="true">{images}</div>' if images else ""


def _lanes(result: RoutineScore, glimpse: Glimpse) -> str:
    clips = result.clips
    begin, end = clips[0].start_s, clips[-1].end_s
    lanes = []
    for one in result.measured:
        values = [clip.value(one) for clip in clips]
        most = 1.0 if one.judges else max(values) or 1.0
        lanes.append(_lane(one.label, clips, [value / most for value in values], coloured=one.judges))
    lanes.append(_sound_lane(glimpse, begin, end))
    return f"""
<div class="lanes" role="slider" tabindex="0" aria-label="Timeline, by clips" aria-valuemin="1"
aria-valuemax="{len(clips)}" aria-valuenow="1">{"".join(lanes)}<div class="playhead"></div></div>
<div class="scale soft" aria-hidden="true"><span>{clock(begin)}</span><span>{clock(end)}</span></div>"""


def _lane(name: str, clips: list[ClipScore], values: list[float], coloured: bool) -> str:
    begin, end = clips[0].start_s, clips[-1].end_s
    bars = "".join(
        f'<rect class="{level(value) if coloured else "plain"}" x="{clip.start_s:.3f}" y="{1 - value:.4f}" '
        f'width="{(clip.end_s - clip.start_s) * 0.96:.3f}" height="{value:.4f}"/>'
        for clip, value in zip(clips, values, strict=True)
    )
    return (
        f'<div class="lane"><span>{name}</span><svg viewBox="{begin:.3f} 0 {end - begin:.3f} 1" '
        f'preserveAspectRatio="none" aria-hidden="true">{bars}</svg></div>'
    )


def _sound_lane(glimpse: Glimpse, begin: float, end: float) -> str:
    if not glimpse.peaks:
        return ""
    loudest = max(peak for *_, peak in glimpse.peaks) or 1.0
    top = " ".join(f"{(a + b) / 2:.3f},{0.5 - 0.45 * peak / loudest:.3f}" for a, b, peak in glimpse.peaks)
    under = " ".join(f"{(a + b) / 2:.3f},{0.5 + 0.45 * peak / loudest:.3f}" for a, b, peak in reversed(glimpse.peaks))
    lines = "".join(
        f'<line class="{kind}" x1="{t:.3f}" x2="{t:.3f}" y1="{y1}" y2="{y2}" vector-effect="non-scaling-stroke"/>'
        for kind, times, y1, y2 in (("onset", glimpse.onsets_s, 0.85, 1), ("beat", glimpse.beats_s, 0, 0.15))
        for t in times
    )
    label = "sound" + (" (above: beats; below: onsets)" if lines else "")
    return (
        f'<div class="lane"><span>{label}</span><svg viewBox="{begin:.3f} 0 {end - begin:.3f} 1" '
        f'preserveAspectRatio="none" aria-hidden="true"><polygon class="wave" points="{top} {under}"/>{lines}'
        "</svg></div>"
    )


def _moments(clips: list[ClipScore], measured: list[Measure], glimpse: Glimpse) -> str:
    if not clips:
        return '<p class="soft">These weights say nothing of single clips.</p>'
    items = []
    for clip in clips:
        picture = glimpse.thumbnails.get(clip.index)
        image = f'<img alt="" src="{picture}">' if picture else ""
        said = ", ".join(f"{one.label} {one.shown(clip.value(one))}" for one in measured if one.judges)
        items.append(
            f'<li><button type="button" data-start="{clip.start_s:.6f}">{image}<span>{clock(clip.start_s)} to '
            f"{clock(clip.end_s)}<br>{said}</span></button></li>"
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
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _provenance(result: RoutineScore) -> str:
    facts: dict[str, Any] = {
        "video": result.video.path,
        "weights": str(result.weights),
        "backbones": json.dumps({role: known.to_dict() for role, known in result.backbones.items()}),
        "device, precision": f"{result.device}, {result.precision}",
        "consistency": json.dumps(asdict(result.consistency)) if result.consistency else "none: no sound",
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
