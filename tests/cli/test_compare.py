"""mlavl compare, and its sums against plain ones."""

import csv
import io
import json
import os
from itertools import pairwise

import numpy as np
import pytest
from conftest import RATE, make_video

from mlavl_cli.scoring.compare import compare_moments, compare_scores


def take(*clips, name="a.mp4", weights="w"):
    return {
        "video": {"path": name},
        "weights": {"name": weights, "trained_on": "nothing"},
        "scores": {"TES": {"score": 10.0}},
        "clips": [
            {"index": i, "start_s": start, "end_s": end, "consistency": fit, "quality": quality, "attention": 0.1}
            for i, (start, end, fit, quality) in enumerate(clips)
        ],
    }


def test_moments_are_averaged_by_shared_time():
    """Against a plain average over a fine grid of times."""
    rng = np.random.default_rng(0)
    edges_a, edges_b = np.arange(9) * 1.28, 0.37 + np.arange(12) * 0.9
    takes = [take(*((a, b, *rng.random(2)) for a, b in pairwise(edges))) for edges in (edges_a, edges_b)]
    for moment in compare_moments(*takes, offset_s=0.5):
        t = np.arange(moment.start_s, moment.end_s, 1e-4) + 0.5
        i = np.searchsorted(edges_b, t, side="right") - 1
        inside = (i >= 0) & (i < len(edges_b) - 1)
        for name, value in (("consistency", moment.consistency_b), ("quality", moment.quality_b)):
            clips = np.array([clip[name] for clip in takes[1]["clips"]])
            assert value == pytest.approx(clips[i[inside]].mean(), abs=1e-3)


def test_a_take_without_sound_is_compared_by_quality_and_what_is_not_there_is_none():
    a = take((0.0, 1.0, None, 0.4), (1.0, 2.0, None, 0.5))
    b = take((0.0, 1.0, 0.9, 0.7))
    first, second = compare_moments(a, b)
    assert (first.consistency_b, first.change) == (0.9, pytest.approx(0.3))
    assert (second.quality_b, second.change) == (None, None)


def test_two_videos_and_what_was_written_of_them_compare_the_same(run, tmp_path):
    videos = [make_video(tmp_path / name, frames) for name, frames in (("a.mp4", 170), ("b.mp4", 140))]
    written = []
    for video in videos:
        written.append(video.with_suffix(".json"))
        assert run("score", video, "-o", written[-1]).exit_code == 0
    whole = run("compare", *videos, "-f", "json").json()
    assert run("compare", *written, "-f", "json").json() == whole
    scores = [json.loads(path.read_text())["scores"] for path in written]
    for target, found in whole["scores"].items():
        assert found["difference"] == pytest.approx(scores[1][target]["score"] - scores[0][target]["score"])
    rows = list(csv.DictReader(io.StringIO(run("compare", videos[0], written[1], "-f", "csv").stdout)))
    assert len(rows) == len(whole["moments"]) == 5
    assert rows[-1]["quality_b"] == ""  # b is shorter
    table = run("compare", *written)
    assert table.exit_code == 0
    assert "B - A" in table.stdout
    assert "simulated" in table.stdout  # what the weights were trained on


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("{", "can't be read as the score of one video"),
        ("[]", "can't be read as the score of one video"),
        ('{"clips": [{}]}', "can't be read as the score of one video"),
        (json.dumps(take((0.0, 1.0, 0.5, 0.5), weights="others")), "different weights"),
        (json.dumps(take((50.0, 51.0, 0.5, 0.5))), "share no time"),
        (json.dumps(take((0.0, 10**400, 0.5, 0.5))), "can't be read as the score of one video"),
        (json.dumps(take((0.0, 1.0, 0.5, -1.7e308))), "can't be read as the score of one video"),
        (json.dumps(take((0.0, 1.0, 0.5, 0.5), (0.5, 1.5, 0.5, 0.5))), "can't be read as the score of one video"),
        (json.dumps(take((1.0, 1.0, 0.5, 0.5))), "can't be read as the score of one video"),
    ],
)
def test_what_cannot_be_compared_is_one_line(run, tmp_path, content, cause):
    (tmp_path / "a.json").write_text(json.dumps(take((0.0, 1.0, 0.5, 0.5))))
    (tmp_path / "b.json").write_text(content)
    result = run("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert result.exit_code in (1, 2)
    (line,) = result.errors
    assert cause in line
    assert result.stdout == ""


def test_a_pipe_by_the_name_of_json_is_not_waited_for(run, tmp_path):
    os.mkfifo(tmp_path / "a.json")
    result = run("compare", tmp_path / "a.json", tmp_path / "a.json")
    assert result.exit_code == 1
    assert "can't be read as the score of one video" in result.errors[0]


def test_what_else_a_file_says_of_its_weights_is_left_out(run, tmp_path):
    one = take((0.0, 1.0, 0.5, 0.5))
    one["weights"]["more"] = float("inf")
    (tmp_path / "a.json").write_text(json.dumps(one))
    result = run("compare", tmp_path / "a.json", tmp_path / "a.json", "-f", "json")
    assert result.json()["weights"] == {"name": "w", "trained_on": "nothing"}


def test_the_work_grows_with_the_number_of_clips_alone():
    """Clips of B that are looked at: not all of them for each of A's."""

    class Counted(dict):
        looks = 0

        def __getitem__(self, key):
            Counted.looks += 1
            return super().__getitem__(key)

    many = take(*((float(i), i + 1.0, 0.5, 0.5) for i in range(2000)))
    many["clips"] = [Counted(clip) for clip in many["clips"]]
    assert len(compare_moments(many, many, 0.25)) == 2000
    assert Counted.looks < 40 * 2000


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_take_without_clips_and_one_of_thousands_of_targets(run, tmp_path, form):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(take()))
    result = run("compare", path, path, "-f", form)
    assert result.exit_code == 0, result.stderr
    path.write_text(json.dumps({**take(), "scores": {f"t{i}": {"score": 1.0} for i in range(65)}}))
    result = run("compare", path, path, "-f", form)
    assert result.exit_code == 1
    assert "can't be read as the score of one video" in result.errors[0]


def music(seconds, seed):
    """Plucked notes at times and of pitches that the seed draws."""
    rng, samples, at = np.random.default_rng(seed), np.zeros(round(seconds * RATE), np.float32), 0.2
    while at < seconds - 0.3:
        t = np.arange(round(0.15 * RATE)) / RATE
        start = round(at * RATE)
        samples[start : start + len(t)] += 0.6 * np.exp(-t / 0.03) * np.sin(2 * np.pi * rng.uniform(200, 2000) * t)
        at += rng.choice([0.25, 0.375, 0.5, 0.75])
    return samples


@pytest.fixture(scope="module")
def programmes(tmp_path_factory):
    """One programme twice, the second time 1.6 s later and with noise, and another programme."""
    folder = tmp_path_factory.mktemp("programmes")
    one, rng = music(16, 0), np.random.default_rng(1)
    later = np.concatenate([np.zeros(round(1.6 * RATE), np.float32), one])
    make_video(folder / "monday.mp4", 400, sound=one)
    make_video(folder / "friday.mp4", 440, sound=later + rng.normal(0, 0.01, len(later)).astype(np.float32))
    make_video(folder / "other.mp4", 400, sound=music(16, 5))
    return folder


def test_takes_are_aligned_by_their_music_and_other_music_is_said(run, programmes, tmp_path):
    monday, friday, other = (programmes / f"{name}.mp4" for name in ("monday", "friday", "other"))
    store = ("--features", tmp_path / "store", "-f", "json")
    same = run("compare", monday, friday, *store)
    assert same.json()["offset_s"] == pytest.approx(1.6, abs=0.05)
    assert same.json()["aligned_by"] == "music"
    assert "music" not in same.stderr
    back = run("compare", friday, monday, "-o", tmp_path / "back.json", *store)
    assert back.stdout == ""
    assert json.loads((tmp_path / "back.json").read_text())["offset_s"] == pytest.approx(-1.6, abs=0.05)
    another = run("compare", monday, other, *store)
    assert (another.json()["offset_s"], another.json()["aligned_by"]) == (0.0, "start")
    assert "the takes don't have the same music" in another.stderr
    assert "compared from the start" in another.stderr
    given = run("compare", monday, friday, "--offset", "1", *store).json()
    assert (given["offset_s"], given["aligned_by"]) == (1.0, "given")
    for wrong in ("nan", "soon", "1e9"):
        assert run("compare", monday, friday, "--offset", wrong).exit_code == 2


def test_differences_beyond_both_intervals_come_first():
    def scores(**points):
        return {"scores": {name: {"score": s, "interval": i} for name, (s, i) in points.items()}}

    a = scores(TES=(10.0, [7.0, 13.0]), PCS=(30.0, [27.0, 33.0]), SS=(5.0, None))
    b = scores(TES=(14.9, [10.9, 18.9]), PCS=(36.0, [32.0, 40.0]), SS=(9.0, [8.0, 10.0]))
    found = compare_scores(a, b)
    # Reaches of 3 and 4 points: independent errors come to 5 together.
    assert {name: one.beyond for name, one in found.items()} == {"PCS": True, "TES": False, "SS": None}
    assert next(iter(found)) == "PCS"
    assert found["PCS"].difference == 6.0
    # Scores that mean different things aren't judged at all.
    for fields, why in (
        ({"video": {"has_audio": False}}, "one without sound"),
        ({"domain": {"inside": False}}, "out of domain"),
    ):
        found = compare_scores(a, {**b, **fields})
        assert [one.beyond for one in found.values()] == [None] * 3
        assert found["PCS"].why_not == why
    # An interval that ends at the range's end reaches as far as its other side.
    edge = scores(IN=(9.8, [7.8, 10.0])), scores(IN=(8.0, [6.0, 10.0]))
    assert compare_scores(*edge)["IN"].beyond is False


def test_the_format_is_as_the_output_ends_and_a_failure_says_why(run, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(take((0.0, 1.0, 0.5, 0.5))))
    for name, begins in (("x.json", "{"), ("x.CSV", "start_s,"), ("x.txt", "A a.mp4")):
        assert run("compare", tmp_path / "a.json", tmp_path / "a.json", "-o", tmp_path / name).exit_code == 0
        assert (tmp_path / name).read_text().startswith(begins)
    assert run("score", tmp_path / "gone.mp4", "-o", tmp_path / "gone.json").exit_code == 1
    result = run("compare", tmp_path / "a.json", tmp_path / "gone.json")
    assert "was not scored: no such file" in result.errors[0]


def test_results_never_take_the_place_of_a_take_or_of_a_season(run, tmp_path, routine):
    one = tmp_path / "a.json"
    one.write_text(json.dumps(take((0.0, 1.0, 0.5, 0.5))))
    result = run("compare", one, one, "-o", one)
    assert (result.exit_code, "is one of the takes" in result.errors[0]) == (2, True)
    assert json.loads(one.read_text())["scores"]
    assert run("score", routine, "--report", tmp_path / "pages", "-q").exit_code == 0
    kept = tmp_path / "pages" / "history.jsonl"
    before = kept.read_text()
    result = run("history", tmp_path / "pages", "-o", kept)
    assert (result.exit_code, "holds the season" in result.errors[0]) == (2, True)
    assert kept.read_text() == before


def test_a_page_needs_two_videos(run, programmes, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(take((0.0, 1.0, 0.5, 0.5))))
    result = run("compare", tmp_path / "a.json", programmes / "monday.mp4", "--report", tmp_path / "pages")
    assert result.exit_code == 2
    assert "needs two videos" in result.errors[0]
