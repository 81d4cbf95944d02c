"""The timeline of a routine: a lane for every measure of its clips, and one for the sound."""

from mlavl_cli.output.report.glimpse import Glimpse
from mlavl_cli.output.report.html import text
from mlavl_cli.scoring.result import ClipScore, RoutineScore
from mlavl_cli.scoring.shown import clock, level

_STRIP = 12  # pictures above the lanes


def timeline(result: RoutineScore, glimpse: Glimpse, label: str = "Timeline, by clips") -> str:
    """The lanes with what timeline.js needs around them: ticks, a playhead, and a window to zoom in."""
    clips = result.clips
    drawn = [_strip(glimpse), *_measure_lanes(result), _sound_lane(glimpse, clips[0].start_s, clips[-1].end_s)]
    return f"""
<div class="timeline">
<div class="window"><div class="lanes" role="slider" tabindex="0" aria-label="{text(label)}" aria-valuemin="1"
aria-valuemax="{len(clips)}" aria-valuenow="1">
<div class="ticks" aria-hidden="true"><span>{clock(clips[0].start_s)}</span><span>{clock(clips[-1].end_s)}</span></div>
{"".join(drawn)}<div class="loop" hidden></div><div class="playhead"></div></div></div>
<div class="hover" aria-hidden="true" hidden><img alt="" hidden><span></span></div>
</div>"""


def timeline_data(result: RoutineScore, glimpse: Glimpse) -> dict:
    """What timeline.js reads: clips, how each measure is said, a picture of each clip, and the frame rate."""
    return {
        "clips": [clip.to_dict() for clip in result.clips],
        "measures": [{"name": one.name, "label": one.label, "judges": one.judges} for one in result.measured],
        "pictures": glimpse.thumbnails,
        "fps": result.video.fps,
        "duration_s": result.video.duration_s,
    }


def _strip(glimpse: Glimpse) -> str:
    known = sorted(glimpse.thumbnails)
    count = min(_STRIP, len(known))
    spread = [known[(2 * i + 1) * len(known) // (2 * count)] for i in range(count)]
    images = "".join(f'<img alt="" src="{glimpse.thumbnails[i]}">' for i in spread)
    return f'<div class="strip" aria-hidden="true">{images}</div>' if images else ""


def _measure_lanes(result: RoutineScore) -> list[str]:
    lanes = []
    for one in result.measured:
        values = [clip.value(one) for clip in result.clips]
        most = 1.0 if one.judges else max(values) or 1.0
        lanes.append(_lane(one.label, result.clips, [value / most for value in values], coloured=one.judges))
    return lanes


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
