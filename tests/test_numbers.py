"""What a score may be: a number, in its range, and the same whatever else the machine does."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import make_video, tone

from mlavl_cli.bundle import find_bundle
from mlavl_cli.errors import FeatureError, WeightsError
from mlavl_cli.features.extractor import ExtractionOptions
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.heads.checkpoint import load_head, save_head
from mlavl_cli.inputs import Input
from mlavl_cli.media.decode import VideoInfo
from mlavl_cli.scoring.scorer import load_scorer


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    folder = tmp_path_factory.mktemp("season")
    return [
        make_video(folder / f"{i}.mp4", 34 + 32 * i, sound=tone(2 + i, 220 * (i + 1)), size=(96 + 16 * i, 64))
        for i in range(5)
    ]


def scored(paths, precision="auto", **options):
    """All numbers of each video, by name."""
    scorer = load_scorer("mini", "cpu", precision, ExtractionOptions(**options))
    found = {}
    for source, result in scorer.score_many(Input(path, path.name) for path in paths):
        values = result.to_dict()
        values.pop("timing")
        found[source.path.name] = values
    return found


def largest_difference(a, b):
    if isinstance(a, dict):
        return max((largest_difference(a[key], b[key]) for key in a), default=0.0)
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        return max(map(largest_difference, a, b), default=0.0)
    return abs(a - b) if isinstance(a, float) else float(a != b)


def test_the_same_bits_again_whoever_the_neighbours_and_however_many_decode(season):
    alone = {name: values for path in season for name, values in scored([path]).items()}
    assert scored(season) == alone
    assert scored(season[::-1], workers=1) == alone
    assert scored([*season[2:], *season[:2]], workers=4) == alone


@pytest.mark.parametrize("batch_size", [2, 3, 16])
def test_batches_change_nothing_that_counts(season, batch_size):
    """Of shares and consistency 1e-5, of points as much of their range. In fp32: bf16 itself rounds at 4e-3."""
    one, many = scored(season, precision="fp32"), scored(season, precision="fp32", batch_size=batch_size)
    for name, values in one.items():
        assert largest_difference(values["clips"], many[name]["clips"]) <= 1e-5
        for target, score in values["scores"].items():
            low, high = score["range"]
            assert abs(score["score"] - many[name]["scores"][target]["score"]) <= 1e-5 * (high - low)


def bundle_with(folder, change):
    """weights/mini with its PCS head changed."""
    shutil.copytree(find_bundle("mini").folder, folder)
    head = load_head(folder / "heads" / "PCS.safetensors")
    with torch.no_grad():
        change(head.model)
    save_head(folder / "heads" / "PCS.safetensors", head)
    return folder


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(run, season, tmp_path, value):
    folder = bundle_with(tmp_path / "w", lambda model: model.dpg.w.fill_(value))
    result = run("score", *season[:2], "-w", folder, "-f", "jsonl")
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.errors
    assert "PCS.safetensors: dpg.w holds NaN or infinity" in line


def test_what_is_no_number_is_an_error_and_no_score(run, season, tmp_path):
    """All grades come to nothing, and their shares to 0 / 0."""
    folder = bundle_with(tmp_path / "w", lambda model: model.dpg.regressor_v.rows.bias.fill_(-1e30))
    result = run("score", *season[:2], "-w", folder, "-f", "jsonl")
    assert result.exit_code == 1
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [set(record) for record in records] == [{"schema", "video", "error"}] * 2
    assert len(result.errors) == 2
    assert all("PCS score is" in line and "weights verify" in line for line in result.errors)


def test_a_score_outside_its_range_says_so(run, season, tmp_path):
    folder = bundle_with(tmp_path / "w", lambda model: model.dpg.w.fill_(1000.0))
    result = run("score", season[1], "-w", folder, "-f", "json").json()
    low, high = result["scores"]["PCS"]["range"]
    assert not low <= result["scores"]["PCS"]["score"] <= high
    assert any(f"is not in {low:g} to {high:g}" in warning for warning in result["warnings"])


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e4, 1e18, 3e38])
def test_features_of_any_size_give_numbers_or_an_error(scale):
    rng = np.random.default_rng(0)
    visual, audio = (np.float32(scale) * rng.uniform(-1, 1, (5, width)).astype(np.float32) for width in (192, 96))
    edges = np.arange(6) * 1.28
    try:
        features = RoutineFeatures(visual, audio, edges[:-1], edges[1:], VideoInfo("a.mp4", 6.4, 25.0, 96, 64, True))
        result = load_scorer("mini", "cpu").score(features)
    except (FeatureError, WeightsError) as error:
        assert scale >= 1e18, error
        return
    json.dumps(result.to_dict(), allow_nan=False)
    for score in result.scores.values():
        assert score.range[0] <= score.score <= score.range[1]
