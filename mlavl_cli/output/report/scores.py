"""The scores of a routine as one table: points, range, interval, and how each branch spreads over the grades."""

from mlavl_cli.output.report.html import text
from mlavl_cli.score_range import TARGET_NAMES
from mlavl_cli.scoring.result import OF_CONSISTENCY, UNFAMILIAR, RoutineScore, ScoredBy, TargetScore
from mlavl_cli.scoring.shown import level

_WITH, _WITHOUT = " with fitting music", " without fitting music"


def banner(weights: list[ScoredBy], outside: str = "") -> str:
    """What the weights were trained on, where scores stand; led by what is out of their domain, if anything is."""
    told = "".join(f"<p><b>{text(name)}</b>: {text(said)}</p>" for name, said in dict.fromkeys(_said(weights)))
    lead = f"<p><strong>{text(outside[:1].upper() + outside[1:])}.</strong></p>" if outside else ""
    return f'<div class="banner{" alarm" if outside else ""}" role="note">{lead}{told}</div>' if lead or told else ""


def _said(weights: list[ScoredBy]) -> list[tuple[str, str]]:
    return [(one.name, one.trained_on) for one in weights if one.trained_on]


def notes_of(result: RoutineScore) -> str:
    """The banner of a routine, and its warnings."""
    found = [notice.text for notice in result.warnings if notice.code not in (*OF_CONSISTENCY, "out-of-domain")]
    items = "".join(f"<li>{text(warning)}</li>" for warning in found)
    listed = f'<div class="notes" role="note"><ul>{items}</ul></div>' if found else ""
    return banner([result.weights], UNFAMILIAR if result.in_domain is False else "") + listed


def title_of(target: str) -> str:
    """A target's abbreviation with what it stands for, as HTML."""
    name = TARGET_NAMES.get(target)
    return f"<b>{text(target)}</b>" + (f' <span class="soft">{name}</span>' if name else "")


def score_table(scores: dict[str, TargetScore]) -> str:
    """One row a target."""
    heard = any(score.audio_visual is not None for score in scores.values())
    graded = any(score.grades["visual"] for score in scores.values())
    heard = heard and graded
    branches = ["visual branch", *(["audio-visual branch"] if heard else [])] if graded else []
    head = "".join(f'<th scope="col">{name}</th>' for name in ("score", "points", "interval", *branches))
    rows = "".join(_row(target, score, branches) for target, score in scores.items())
    return f"""
<div class="scroll" tabindex="0" role="region" aria-label="Scores"><table class="scores"><thead><tr>{
        head
    }</tr></thead><tbody>{rows}</tbody></table></div>
<p class="soft">Points are these weights' estimate of the judges' marks. The interval holds the true score of as many
routines as it says, of those it was measured on. {_LEGEND if heard else _LEGEND_SILENT if graded else ""}</p>"""


_LEGEND_SILENT = (
    "Bars: how the visual branch, which sees the picture alone, spreads over the grades from worst to best."
)
_LEGEND = """The visual branch sees the picture alone, the audio-visual branch hears too; the score is their weighted
mean. Bars: how a branch spreads over the grades from worst to best, <span class="key music"></span> with fitting music
and <span class="key plain"></span> without."""


def _row(target: str, score: TargetScore, branches: list[str]) -> str:
    low, high = score.range
    cells = [
        f'<td class="points">{score.score:.2f} <span class="soft">of {low:g} to {high:g} points</span></td>',
        f'<td class="interval">{_bar(score)}<span class="soft">{_interval(score)}</span></td>',
    ]
    if branches:
        cells.append(f"<td data-label='visual branch'>{_branch('visual branch', score.visual, score, 'visual')}</td>")
    if len(branches) > 1:
        points = score.audio_visual
        drawn = "none" if points is None else _branch("audio-visual branch", points, score, "audio_visual")
        cells.append(f'<td data-label="audio-visual branch">{drawn}</td>')
    return f'<tr data-target="{text(target)}"><th scope="row">{title_of(target)}</th>{"".join(cells)}</tr>'


def _bar(score: TargetScore) -> str:
    """The score as a bar on its range, the interval as a line across its end."""
    drawn = f'<rect class="{level(score.share)}" y="2" width="{100 * score.share:.2f}" height="6"/>'
    if score.interval:
        low, high = score.range
        a, b = (100 * min(max((end - low) / (high - low), 0), 1) for end in score.interval)
        drawn += f'<rect class="whisker" x="{a:.2f}" y="4" width="{b - a:.2f}" height="2"/>'
    return f"""<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
<rect class="track" y="2" width="100" height="6"/>{drawn}</svg>"""


def _interval(score: TargetScore) -> str:
    if score.interval is None or score.confidence is None:
        return "no interval: these weights were not calibrated"
    return "{:.0%}: {:.1f} to {:.1f}".format(score.confidence, *score.interval)


def _branch(name: str, points: float, score: TargetScore, branch: str) -> str:
    shares = score.grades[branch]
    said = f'<span class="soft">{points:.2f}'
    if not shares:
        return said + "</span>"
    words = list(dict.fromkeys(grade.removesuffix(_WITH).removesuffix(_WITHOUT) for grade in shares))
    top = max(shares.values()) or 1.0
    parts = [kind for kind in ("", _WITHOUT, _WITH) if words[0] + kind in shares]
    wide = 0.84 / len(parts)
    bars = "".join(
        f'<rect class="{"music" if kind == _WITH else "plain"}" x="{i + 0.08 + j * wide:.2f}" '
        f'y="{1 - shares[word + kind] / top:.3f}" width="{wide:.2f}" height="{shares[word + kind] / top:.3f}">'
        f"<title>{text(word + kind)}: {100 * shares[word + kind]:.0f} %</title></rect>"
        for i, word in enumerate(words)
        for j, kind in enumerate(parts)
    )
    listed = ", ".join(f"{grade} {100 * share:.0f} %" for grade, share in shares.items())
    return f"""<svg class="grades" viewBox="0 0 {len(words)} 1" preserveAspectRatio="none" role="img"
aria-label="{text(name)}, grades from worst to best: {text(listed)}">{bars}</svg>
<span class="ends soft" aria-hidden="true"><span>{text(words[0])}</span><span>{text(words[-1])}</span></span>
{said}: <b>{text(score.grade(branch))}</b></span>"""
