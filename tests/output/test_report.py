"""Folders of pages: what is kept, refused and shared, and timelines as WebVTT."""

import base64
import os
import re

import pytest
from conftest import make_video


@pytest.mark.parametrize("content", ["", "[]", '{"notes": [{"time_s": "x"}]}', '{"notes": 1}', "[" * 99999, "\0"])
def test_what_is_no_file_of_notes_costs_no_page(run, tmp_path, routine, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "routine.mp4.notes.json").write_text(content)
    assert run("score", routine, "--report", tmp_path / "out", "-q").exit_code == 0
    assert '"notes": []' in (tmp_path / "out" / "routine.mp4.html").read_text()


def listed(index):
    """The pages that an index leads to."""
    return re.findall(r'<td data-value="[^"]*"><a href="([^"]+)">', index.read_text())


def test_the_index_keeps_earlier_runs_and_forgets_pages_that_are_gone(run, tmp_path):
    for name in ("a", "b", "c"):
        make_video(tmp_path / f"{name}.mp4", 40)
    out = tmp_path / "out"
    names = lambda: listed(out / "index.html")  # noqa: E731
    assert run("score", tmp_path / "a.mp4", tmp_path / "b.mp4", "--report", out, "-q").exit_code == 0
    assert names() == ["a.mp4.html", "b.mp4.html"]
    (out / "a.mp4.html").unlink()
    assert run("score", tmp_path / "c.mp4", "--report", out, "-q").exit_code == 0
    assert names() == ["b.mp4.html", "c.mp4.html"]
    (out / "index.html").write_text('<script type="application/json" id="data">{"routines": [{"page": 1}]}</script>')
    assert run("score", tmp_path / "c.mp4", "--report", out, "-q").exit_code == 0
    assert names() == ["c.mp4.html"]


def test_the_index_names_what_failed_also_where_nothing_was_scored(run, tmp_path, routine):
    assert run("score", routine, "--report", tmp_path / "r", "-q").exit_code == 0
    (tmp_path / "empty.mp4").touch()
    assert run("score", tmp_path / "empty.mp4", "--report", tmp_path / "r", "-q").exit_code == 1
    assert "empty.mp4" in (tmp_path / "r" / "index.html").read_text()
    assert listed(tmp_path / "r" / "index.html") == ["routine.mp4.html"]


def test_a_video_can_be_embedded_and_is_linked_otherwise(run, tmp_path, routine):
    mine = tmp_path / "routine.mp4"
    mine.write_bytes(routine.read_bytes() + (7_000_001).to_bytes(4, "big") + b"free" + os.urandom(6_999_993))
    for name, options in (("linked", []), ("whole", ["--report-embed-video"])):
        assert run("score", mine, "--report", tmp_path / name, "-q", *options).exit_code == 0
    sources = [
        re.search(r'<video[^>]* src="([^"]*)"', (tmp_path / name / "routine.mp4.html").read_text())[1]
        for name in ("linked", "whole")
    ]
    assert (tmp_path / "linked" / sources[0]).resolve() == mine
    kind, content = sources[1].split(",")
    assert kind == "data:video/mp4;base64"
    assert base64.b64decode(content, validate=True) == mine.read_bytes()
    assert run("score", routine, "--report-embed-video").exit_code == 2


def test_a_video_too_large_to_embed_is_refused_before_any_work(run, tmp_path, routine, monkeypatch):
    monkeypatch.setattr("mlavl_cli.output.report.write.LARGEST_EMBEDDED", 1000)
    result = run("score", routine, "--report", tmp_path / "r", "--report-embed-video")
    assert result.exit_code == 2
    assert "too large" in result.errors[0]
    assert result.stdout == ""


def test_a_report_that_cannot_be_written_fails_for_that_video_alone(run, tmp_path):
    for name in ("a/a", "b"):
        make_video(tmp_path / "in" / f"{name}.mp4", 40)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").touch()
    result = run("score", tmp_path / "in", "--report", tmp_path / "out", "-f", "csv")
    assert result.exit_code == 1
    assert len(result.errors) == 1
    assert (tmp_path / "out" / "b.mp4.html").exists()
    assert len(result.stdout.splitlines()) == 3  # the scores are there all the same


def test_webvtt_has_a_cue_a_clip_at_its_time(run, tmp_path):
    make_video(tmp_path / "in" / "deep" / "one.mp4", 100)
    result = run("score", tmp_path / "in", "--vtt", tmp_path / "vtt", "-f", "json")
    (score,) = result.json()
    text = (tmp_path / "vtt" / "deep" / "one.mp4.vtt").read_text()
    assert text.startswith("WEBVTT\n\nNOTE ")
    cues = re.findall(r"\n(\d+)\n(\S+) --> (\S+)\nconsistency (\S+)  quality (\S+)\n", text)
    seconds = lambda t: sum(float(p) * u for p, u in zip(t.split(":"), (3600, 60, 1), strict=True))  # noqa: E731
    for clip, (number, start, end, fit, quality) in zip(score["clips"], cues, strict=True):
        assert int(number) == clip["index"] + 1
        assert seconds(start) == pytest.approx(clip["start_s"], abs=1e-3)
        assert seconds(end) == pytest.approx(clip["end_s"], abs=1e-3)
        assert float(fit) == pytest.approx(clip["consistency"], abs=0.006)
        assert float(quality) == pytest.approx(clip["quality"], abs=0.006)


def test_two_processes_share_an_index(tmp_path):
    import subprocess
    import sys

    for i in range(6):
        make_video(tmp_path / "in" / f"{i}.mp4", 40)
    command = [sys.executable, "-m", "mlavl_cli", "score", tmp_path / "in", "--report", tmp_path / "out", "-q"]
    running = [subprocess.Popen([*command, "--shard", f"{i}/2"], stdout=subprocess.DEVNULL) for i in (1, 2)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert listed(tmp_path / "out" / "index.html") == [f"{i}.mp4.html" for i in range(6)]
