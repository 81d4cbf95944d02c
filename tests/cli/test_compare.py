"""mlavl compare, and its sums against plain ones."""

import csv
import io
import json
import os
from itertools import pairwise

import numpy as np
import pytest
from conftest import make_video

from mlavl_cli.scoring.compare import compare_moments


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
