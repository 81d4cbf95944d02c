import json

import pytest
from conftest import make_video


def test_it_measures_every_stage(run, tmp_path):
    path = make_video(tmp_path / "v.mp4", 100)
    rows = run("benchmark", path, "--rounds", "1", "-f", "json").json()
    assert [row["stage"] for row in rows][-1] == "pipeline"
    assert all(row["ms a clip"] >= 0 for row in rows)
    assert sum(row["share"] for row in rows[:-1]) == pytest.approx(1)
    assert rows[0]["real_time_factor"] > 0
    shown = run("benchmark", path, "--rounds", "1", "--precision", "fp32").stdout
    assert "fp32" in shown
    assert "x real time" in shown
    json.dumps(rows)


def test_the_made_up_video_is_a_real_one(run, tmp_path):
    from mlavl_cli.media.sample import write_sample

    score = run("score", write_sample(tmp_path / "s.mp4", 3), "-f", "json").json()
    assert (score["video"]["width_px"], score["video"]["height_px"], len(score["clips"])) == (1280, 720, 2)
    assert score["video"]["has_audio"]
