"""The simulator's exam: false music is really another sound, and every figure of the table is there."""

import json

import numpy as np
import pytest

from mlavl_cli.inputs import Input
from mlavl_cli.scores.scorer import load_scorer
from mlavl_cli.training.simulate.collection import video_path
from mlavl_cli.training.simulate.exam import examine, hear


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from conftest import shell

    folder = tmp_path_factory.mktemp("exam") / "set"
    made = shell(
        "synthesize", folder, "-n", 3, "--seconds", "8:9", "--size", "128x72", "--style", "gala", "--split", "test"
    )
    assert made.exit_code == 0
    return folder


IDS = ["gala-0-0000", "gala-0-0001", "gala-0-0002"]


def test_a_routines_own_music_is_heard_as_scoring_hears_it(folder):
    scorer = load_scorer("mini", "cpu", "fp32")
    video = video_path(folder, IDS[0])
    features = scorer.extractor.one(Input(video, video))
    listen = scorer.extractor.backbones.audio
    np.testing.assert_allclose(hear(listen, video, features), features.audio, atol=1e-4)
    late = hear(listen, video, features, 0.5)
    other = hear(listen, video_path(folder, IDS[1]), features)
    for false in (late, other):
        assert false.shape == features.audio.shape
        assert np.abs(false - features.audio).max() > 0.01
    # A whole clip late is the next clip's sound, up to where the sound ends and begins anew.
    clip_s = float(features.end_s[0] - features.start_s[0])
    np.testing.assert_allclose(hear(listen, video, features, clip_s)[:-2], features.audio[1:-1], atol=1e-4)


def test_every_routine_sits_the_exam(folder):
    exam = examine(load_scorer("mini", "cpu", "fp32"), folder, IDS)
    truths = [json.loads((folder / "truth" / f"{id}.json").read_text())["clips"] for id in IDS]
    values = [clip["consistency"] for clips in truths for clip in clips]
    assert (exam.routines, exam.clips) == (3, len(values))
    assert exam.following == sum(value is not None and value >= 0.7 for value in values)
    assert set(exam.auc) == {"swapped", "shifted", "swapped_all", "shifted_all"}
    assert all(0 <= value <= 1 for name, value in exam.auc.items() if name.endswith("_all"))
    assert -1 <= exam.spearman <= 1


def test_one_command_prints_it_and_keeps_it(run, folder, tmp_path):
    result = run("evaluate", "simulated", folder, "--features", tmp_path / "f", "-f", "json", "--bootstrap", 0)
    assert result.exit_code == 0, result.stderr
    rows = result.json()
    assert {row["measure"].split(",")[0] for row in rows} >= {"SRCC", "AUC", "Spearman of consistency and truth"}
    assert {row["of"] for row in rows if row["measure"].startswith("fall")} >= {"TES", "PCS"}


def test_a_folder_that_is_not_simulated_is_named(run, tmp_path):
    result = run("evaluate", "simulated", tmp_path)
    assert result.exit_code == 1
    assert "manifest.csv" in result.errors[0]
