"""Two takes of one programme on one page: both videos in step, both timelines, and where they differ."""

from itertools import count
from pathlib import Path, PurePosixPath

from mlavl_cli.files import atomic_write, make_folder, refuse_outside
from mlavl_cli.output.report.glimpse import Glimpse
from mlavl_cli.output.report.html import document, table, text
from mlavl_cli.output.report.lanes import timeline, timeline_data
from mlavl_cli.output.report.links import fitting, page_about, video_url
from mlavl_cli.output.report.player import keys, toolbar, video
from mlavl_cli.output.report.scores import banner, title_of
from mlavl_cli.output.report.season import label_of
from mlavl_cli.scoring.compare import Comparison, Difference, Moment
from mlavl_cli.scoring.result import UNFAMILIAR, RoutineScore
from mlavl_cli.scoring.shown import clock

_SCRIPTS = ("timeline.js", "player.js", "compare.js")
_LONGEST_NAME = 100  # characters of each take in the page's name
_MOST_MOMENTS = 12
_WIDEST_S = 30  # of the offset's slider, to either side
_WORDS = {"music": "aligned by their music", "start": "aligned by their start", "given": "aligned as asked for"}


def write_side_by_side(folder: Path, takes: list[RoutineScore], glimpses: list[Glimpse], found: Comparison) -> Path:
    """Writes the page of two videos, where its earlier version was, and returns its path.

    Raises:
        MlavlError: the folder can't be written.
    """
    paths = [Path(take.video.path).absolute() for take in takes]
    apart = paths[0].parent != paths[1].parent
    names = [f"{p.parent.name}/{p.name}" if apart else label_of(p, PurePosixPath(p.name)) for p in paths]
    title = " and ".join(name[:_LONGEST_NAME].replace("/", " ") for name in names)
    for number in count(1):
        path = folder / f"{fitting(title if number == 1 else f'{title} {number}')}.html"
        urls = [video_url(Path(take.video.path), path) for take in takes]
        if page_about(path, " + ".join(urls)):
            break
    make_folder(folder)
    refuse_outside(path, folder)
    with atomic_write(path, "w") as file:
        file.write(_page(takes, names, glimpses, found, urls, (folder / "index.html").is_file()))
    return path


def _page(
    takes: list[RoutineScore],
    names: list[str],
    glimpses: list[Glimpse],
    found: Comparison,
    urls: list[str],
    indexed: bool,
) -> str:
    outside = [name for name, take in zip(names, takes, strict=True) if take.in_domain is False]
    seats = "".join(
        f"<section><h2>{side}: {text(name)}</h2>{video(name, url, glimpse.thumbnails.get(0, ''))}</section>"
        for side, name, url, glimpse in zip("AB", names, urls, glimpses, strict=True)
    )
    lanes = "".join(
        f'<p class="soft">{side}</p>{timeline(take, glimpse, f"Timeline of {side}, by clips")}'
        for side, take, glimpse in zip("AB", takes, glimpses, strict=True)
    )
    back = '<p class="soft"><a href="index.html">All routines</a></p>' if indexed else ""
    noted = f'<div class="notes" role="note">{text(found.note)}</div>' if found.note else ""
    aligned = found.aligned_by != "start"
    start = '<button type="button" data-offset="0">by the start</button>' if aligned else ""
    beyond = sum(bool(one.beyond) for one in found.scores.values())
    body = f"""
<header>{back}<h1>{text(" and ".join(names))}</h1></header>
<main{' class="outside"' if outside else ""}>
{banner([takes[0].weights], f"{UNFAMILIAR} ({', '.join(outside)})" if outside else "")}
{noted}
<h2>Scores</h2>
{_scores(found)}
<p class="soft">{_said(beyond, found)}</p>
<div class="stage">
<div class="sides">{seats}</div>
{toolbar()}
<div class="tools"><label>B is later by <input type="range" min="{-_WIDEST_S}" max="{_WIDEST_S}" step="0.01"
value="{found.offset_s:.2f}" aria-label="By how many seconds B is later"></label>
<output>{found.offset_s:.2f} s</output>
<button type="button" data-offset="{found.offset_s:.4f}">{_WORDS[found.aligned_by]}</button>
{start}
<button type="button" data-sound aria-pressed="false">sound of B</button></div>
</div>
<h2>Timelines</h2>
{lanes}
{keys(two=True)}
<h2>Where they differ most</h2>
{_moments(found)}
</main>
"""
    data = {
        "takes": [timeline_data(take, glimpse) for take, glimpse in zip(takes, glimpses, strict=True)],
        "offset_s": found.offset_s,
    }
    return document(f"{' and '.join(names)}: compared", body, data, _SCRIPTS, " + ".join(urls))


def _said(beyond: int, found: Comparison) -> str:
    if all(one.beyond is None for one in found.scores.values()):
        why = next(iter(found.scores.values())).why_not
        return f"Nothing says which differences are more than the weights' errors: {text(why)}."
    lead = f"{beyond or 'None'} of {len(found.scores)} differ" + ("s" if beyond == 1 else "")
    return f"{lead} by more than the intervals of both scores explain, if their errors are independent."


def _scores(found: Comparison) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("score", "A", "B", "B - A", "more than the intervals"))
    return table("Scores", heads, "".join(_row(target, one) for target, one in found.scores.items()))


def _row(target: str, one: Difference) -> str:
    word = {True: "<b>yes</b>", False: "no", None: one.why_not}[one.beyond]
    cells = [_points(one.a, one.reach_a), _points(one.b, one.reach_b), f"{one.difference:+.2f}", word]
    listed = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr data-target="{text(target)}"><th scope="row">{title_of(target)}</th>{listed}</tr>'


def _points(points: float, reach: float | None) -> str:
    spread = f' <span class="soft">± {reach:.1f}</span>' if reach is not None else ""
    return f"{points:.2f}{spread}"


def _moments(found: Comparison) -> str:
    """The largest changes first; each is pressed to be seen."""
    differing = found.differing(_MOST_MOMENTS)
    if not differing:
        return '<p class="soft">These weights say nothing of single clips.</p>'
    columns = ("time in A", "consistency A", "consistency B", "quality A", "quality B", "change, B - A")
    heads = "".join(f'<th scope="col">{name}</th>' for name in columns)
    return table("Moments", heads, "".join(map(_moment, differing)))


def _moment(moment: Moment) -> str:
    values = (moment.consistency_a, moment.consistency_b, moment.quality_a, moment.quality_b)
    cells = "".join(f"<td>{'' if value is None else f'{value:.2f}'}</td>" for value in values)
    button = f'<button type="button" data-start="{moment.start_s:.6f}">{clock(moment.start_s)}</button>'
    return f"<tr><td>{button}</td>{cells}<td>{moment.change or 0:+.2f}</td></tr>"
