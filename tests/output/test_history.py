"""A season: what a folder of pages remembers of every scoring."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace

import pytest
from conftest import make_video

from mlavl_cli.bundle import find_bundle
from mlavl_cli.output.report.history import history_page
from mlavl_cli.output.report.season import read_history


@pytest.fixture
def season(run, tmp_path, routine, silent_routine):
    """Three days of one skater and a file of another, scored twice by mini and then by weights of the same name."""
    videos = tmp_path / "season"
    for day in ("2026-09-05", "2026-10-03"):
        (videos / "anna").mkdir(parents=True, exist_ok=True)
        shutil.copy(routine, videos / "anna" / f"{day}.mp4")
    shutil.copy(silent_routine, videos / "berta-20261101.mp4")
    again = shutil.copytree(find_bundle("mini").folder, tmp_path / "again")
    bundle = json.loads((again / "bundle.json").read_text())
    bundle["files"] = dict(list(bundle["files"].items())[:-1])  # another list: other weights
    (again / "bundle.json").write_text(json.dumps(bundle))
    for weights in ("mini", "mini", again):
        options = ("--report", tmp_path / "pages", "--features", tmp_path / "store", "-w", weights, "-q")
        result = run("score", videos, *options)
        assert result.exit_code == 0, result.stderr
    return tmp_path / "pages"


def test_scores_over_dates_by_skater_and_weights(run, season):
    result = run("history", season, "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    # Scored twice by the same weights is known once.
    assert [(row["who"], row["date"]) for row in rows] == [
        *[("anna", "2026-09-05")] * 2, *[("anna", "2026-10-03")] * 2, *[("berta", "2026-11-01")] * 2,
    ]  # fmt: skip
    named = {row["weights"] for row in rows}
    assert len(named) == 2  # one name, told apart by what the files are
    assert all(re.fullmatch(r"mini \([0-9a-f]{8}\)", name) for name in named)
    assert all(float(row["TES_low"]) <= float(row["TES"]) <= float(row["TES_high"]) for row in rows)
    by_file = run("history", season, "--by", "file", "-f", "json").json()
    assert {row["who"] for row in by_file} == {"anna/2026-09-05.mp4", "anna/2026-10-03.mp4", "berta-20261101.mp4"}
    table = run("history", season).stdout
    assert "anna" in table
    assert max(map(len, table.splitlines())) <= 80


def test_no_line_joins_scores_of_different_weights(run, season):
    html = (season / "history.html").read_text()
    assert "<polyline" not in html  # all are out of domain, and have no meaning
    html += history_page([replace(one, in_domain=True) for one in read_history(season)], "skater", "index.html")
    assert 'href="history.html"' in (season / "index.html").read_text()
    anna, berta = (html.split(f'<section aria-label="{name}"')[-1].split("</section>")[0] for name in ("anna", "berta"))
    for chart in re.findall("<svg.*?</svg>", anna, re.DOTALL):
        lines = re.findall(r'<polyline class="line (\w+)" points="([^"]+)"', chart)
        assert [kind for kind, _ in lines] == ["plain", "music"]  # a line for each pair of weights,
        assert all(len(points.split()) == 2 for _, points in lines)  # through its own two days
    assert "<polyline" not in berta  # one day each
    assert "out of domain" in html
    assert find_bundle("mini").trained_on in html


HOSTILE = [
    "not json", "[]", "{}", '{"page": 1}', "[" * 50_000,
    json.dumps({
        "page": "javascript:alert(1)", "name": "<script>alert(1)</script>", "skater": "s", "date": "2026-01-01",
        "scored": "x", "dated": True,
        "weights": "w", "sha256": None, "trained_on": "<b>", "points": {"TES": [1.0, None, None]}, "in_domain": None,
    }),
    json.dumps({
        "page": "../../x.html", "name": "n", "skater": "s", "date": "2026-01-01",
        "scored": "x", "dated": True, "weights": "w", "sha256": None,
        "trained_on": "", "points": {"TES": [1e400, None, None]}, "in_domain": None,
    }).replace("Infinity", "1e400"),
]  # fmt: skip


def test_lines_of_strangers_are_left_out(run, season):
    good = (season / "history.jsonl").read_text()
    (season / "history.jsonl").write_text("\n".join([*HOSTILE, good]))
    result = run("history", season, "-f", "csv")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 7
    html = (season / "history.html").read_text()
    assert "<script>alert" not in html
    assert "javascript:" not in html


def test_somebody_elses_files_stay(run, routine, tmp_path):
    pages, own = tmp_path / "pages", tmp_path / "own.txt"
    pages.mkdir()
    (pages / "history.html").write_text("my holidays")
    own.write_text("keep")
    (pages / "history.jsonl").symlink_to(own)
    result = run("score", routine, "--report", pages, "-q", "-f", "json")
    assert result.exit_code == 1  # the history could not be written; the score and the page are there
    assert result.json()["error"] is None
    assert "history.jsonl" in result.errors[0]
    assert own.read_text() == "keep"
    assert (pages / "history.html").read_text() == "my holidays"
    (pages / "history.jsonl").unlink()
    assert run("score", routine, "--report", pages, "-q").exit_code == 0
    assert (pages / "history.1.html").read_text() == "my holidays"
    assert "Scores over time" in (pages / "history.html").read_text()


def test_a_folder_without_history_says_what_to_do(run, tmp_path):
    result = run("history", tmp_path)
    assert result.exit_code == 2
    assert "--report" in result.errors[0]


def test_dates_and_skaters_by_name(tmp_path, run):
    for name in ("2026-02-30 clara.mp4", "dora_2026.03.01_free.mp4", "12345202603011.mp4"):
        make_video(tmp_path / "in" / name, 34)
    assert run("score", tmp_path / "in", "--report", tmp_path / "out", "-q").exit_code == 0
    rows = {row["name"]: row for row in run("history", tmp_path / "out", "-f", "json").json()}
    assert rows["dora_2026.03.01_free.mp4"]["date"] == "2026-03-01"
    assert rows["dora_2026.03.01_free.mp4"]["who"] == "dora"
    for name in ("2026-02-30 clara.mp4", "12345202603011.mp4"):  # no day, and part of a number: the file's
        assert rows[name]["date"] not in ("2026-02-30", "2026-03-01")


def test_one_video_has_one_page_however_it_is_named(run, season):
    """A season, a skater's folder and a single file of it are the same videos; a skater is the folder."""
    videos = season.parent / "season"
    listed = lambda: [row["name"] for row in run("history", season, "-f", "json").json()]  # noqa: E731
    before = listed()
    for named in (videos / "anna", videos / "anna" / "2026-10-03.mp4", videos):
        assert run("score", named, "--report", season, "--features", season.parent / "store", "-q").exit_code == 0
    assert listed() == before
    assert len(list(season.rglob("2026-10-03.mp4.html"))) == 1
    fresh = season.parent / "fresh"  # nothing but single files
    shutil.copy(videos / "anna" / "2026-10-03.mp4", videos / "anna" / "03.11.2026 free.mp4")
    for name in ("2026-10-03.mp4", "03.11.2026 free.mp4"):
        assert run("score", videos / "anna" / name, "--report", fresh, "-q").exit_code == 0
    rows = run("history", fresh, "-f", "json").json()
    assert [(row["who"], row["date"], row["dated"]) for row in rows] == [
        ("anna", "2026-10-03", True),
        ("anna", "2026-11-03", True),
    ]


def test_a_video_is_called_alike_whatever_was_scored_last(run, season):
    """Files called by their date alone stand below their skater, on their page and in the index."""
    videos = season.parent / "season"
    for named in (videos / "anna" / "2026-10-03.mp4", videos / "anna"):
        pages = season.parent / f"pages-{named.name}"
        assert run("score", named, "--report", pages, "-q").exit_code == 0
        assert ">anna/2026-10-03.mp4</a>" in (pages / "index.html").read_text()
        assert "<h1>anna/2026-10-03.mp4</h1>" in (pages / "2026-10-03.mp4.html").read_text()


def test_scores_with_and_without_sound_are_told_apart(run, season):
    records = [replace(one, in_domain=True, skater="one") for one in read_history(season)]
    assert {one.has_audio for one in records} == {True, False}
    mini = [one for one in records if one.by == records[0].by]
    html = history_page(mini, "skater", "index.html")
    for line in re.findall(r'<polyline class="line \w+" points="([^"]+)"', html):
        assert len(line.split()) == 2  # the two with sound; the third day is without
    assert html.count("without sound</span>") == 1
    rows = run("history", season, "-f", "json").json()
    assert {row["who"]: row["has_audio"] for row in rows} == {"anna": True, "berta": False}


def test_the_index_names_what_could_not_be_scored(run, routine, tmp_path):
    (tmp_path / "<b>.mp4").write_text("no video")
    options = ("--report", tmp_path / "pages", "-q", "-f", "csv")
    assert run("score", routine, tmp_path / "<b>.mp4", tmp_path / "gone.mp4", *options).exit_code == 1
    html = (tmp_path / "pages" / "index.html").read_text()
    assert "2 could not be scored" in html
    assert "&lt;b&gt;.mp4: " in html
    assert "gone.mp4: no such file" in html
    assert run("score", routine, *options).exit_code == 0
    assert "could not be scored" not in (tmp_path / "pages" / "index.html").read_text()
