"""Evaluation on simulated routines: false music is really another sound, and every figure of the table is there."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlavl_cli.inputs import Input
from mlavl_cli.scoring.scorer import load_scorer
from mlavl_cli.simulate.collection import video_path
from mlavl_cli.training.consistency_eval import examine, groups, hear, in_a_row


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


@pytest.fixture(scope="module")
def sittings(folder):
    return examine(load_scorer("mini", "cpu", "fp32"), folder, IDS)


def test_every_routine_sits_the_exam(folder, sittings):
    truths = [json.loads((folder / "truth" / f"{id}.json").read_text()) for id in IDS]
    values = [clip["consistency"] for truth in truths for clip in truth["clips"]]
    found = groups(sittings)["all"]
    assert (found.routines, found.clips) == (3, len(values))
    assert found.following == sum(value is not None and value >= 0.7 for value in values)
    assert set(found.auc) == {"swapped", "shifted", "swapped_all", "shifted_all"}
    assert all(0 <= value <= 1 for name, value in found.auc.items() if name.endswith("_all"))
    assert -1 <= found.spearman <= 1
    for one, truth in zip(sittings, truths, strict=True):  # clips as they were cut get the simulator's own truth
        known = [np.nan if clip["consistency"] is None else clip["consistency"] for clip in truth["clips"]]
        np.testing.assert_allclose(one.truth, known, atol=0.02)


def test_figures_are_those_of_the_scores(sittings):
    found = groups(sittings)["all"]
    for target in ("TES", "PCS", "CO"):
        said = np.array([one.own.scores[target].score for one in sittings])
        true = np.array([one.true[target] for one in sittings])
        width = np.ptp(sittings[0].own.scores[target].range)
        assert found.mse[target] == pytest.approx(((said - true) ** 2).mean())
        assert found.bias[target] == pytest.approx(100 * (said - true).mean() / width)
    assert found.flagged == np.mean([one.own.in_domain is False for one in sittings])
    assert set(found.moved) == {"consistency", *sittings[0].own.scores}


def test_routines_are_grouped_by_duration_and_frame_rate(sittings):
    late = [replace(one, id=f"{one.id}-late", seconds=100.0, fps=50.0) for one in sittings]
    first = [replace(one, fps=25.0) for one in sittings]
    found = groups([*first, *late])
    assert list(found) == ["all", "0 to 30 s", "65 to 135 s", "25 frames/s", "50 frames/s"]
    assert [group.routines for group in found.values()] == [6, 3, 3, 3, 3]
    assert found["0 to 30 s"].auc == groups(first)["all"].auc


def test_a_routine_in_a_row_has_its_clips_again(folder):
    features = load_scorer("mini", "cpu", "fp32").extractor.one(Input(video_path(folder, IDS[0]), Path("a.mp4")))
    twice = in_a_row(features, 2)
    assert twice.clips == 2 * features.clips
    np.testing.assert_array_equal(twice.visual[features.clips :], features.visual)
    np.testing.assert_allclose(np.diff(twice.start_s), np.diff(twice.start_s)[0], rtol=1e-6)


def test_frames_of_any_rate_show_the_same_routine(run, tmp_path):
    """The same accents and scores, and clips of the same span where rates are brought to 25 frames/s."""
    for fps in (25, 50):
        command = ("synthesize", tmp_path / str(fps), "-n", 1, "--seconds", "8:8", "--size", "128x72", "--fps", fps)
        made = run(*command, "--style", "gala", "--workers", 1)
        assert made.exit_code == 0, made.stderr
    one, other = (json.loads(next(tmp_path.glob(f"{fps}/truth/*.json")).read_text()) for fps in (25, 50))
    assert one["music_accents"] == other["music_accents"]
    assert [clip["start_s"] for clip in one["clips"]] == [clip["start_s"] for clip in other["clips"]]
    for target, points in one["scores"].items():
        assert other["scores"][target] == pytest.approx(points, abs=1.5 if target == "PCS" else 1.0)
    scores = [run("score", next(tmp_path.glob(f"{fps}/videos/*.mp4")), "-f", "json").json() for fps in (25, 50)]
    assert len(scores[0]["clips"]) == len(scores[1]["clips"])


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
