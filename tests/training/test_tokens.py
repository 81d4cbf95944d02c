"""Features of K visual tokens a clip: the methods that mix them read them, the others read their mean."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from datasets import layouts

import mlavl_cli
from mlavl_cli.datasets.load import load_dataset
from mlavl_cli.device import place
from mlavl_cli.errors import DataError, FeatureError
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.store import read_features, write_features
from mlavl_cli.heads.checkpoint import load_head
from mlavl_cli.media.decode import VideoInfo
from mlavl_cli.training.batches import Batches

STEP = 2.0**-10  # numbers of whole steps: their sums are exact, so that nothing is left in a mean
MEAN = (np.linspace(-1, 1, layouts.D) / STEP).round().astype(np.float32) * np.float32(STEP)


@pytest.fixture
def hidden(tmp_path):
    """An FS1000 folder in which the mean of two tokens says nothing: the score is in their difference."""
    root = layouts.fs1000(tmp_path / "d")
    for path in (root / "output_feature_fs1000_new").iterdir():
        visual = (np.load(path).mean(1) / 2 / STEP).round().astype(np.float32) * np.float32(STEP)
        np.save(path, np.stack([MEAN - visual, MEAN + visual], 1))
        audio = root / "ast_feature_fs1000_new" / path.name
        np.save(audio, np.zeros_like(np.load(audio)))
    return root


@pytest.fixture
def trained(run, hidden, tmp_path):
    options = ["-t", "TES", "--width", "32", "--epochs", "30", "--batch-size", "4", "--lr", "0.003", "--window", "full"]

    def call(model: str):
        result = run("train", "fs1000", hidden, "--model", model, *options, "--output", tmp_path / model, "-f", "json")
        assert result.exit_code == 0, result.stderr
        return tmp_path / model, result.json()[0]

    return call


def test_what_only_tokens_show_is_found_by_who_mixes_them(trained, hidden, run):
    bundle, found = trained("mlp-mixer")
    assert load_head(bundle / "heads" / "TES.safetensors").model.dims.tokens == 2
    assert found["SRCC"] > 0.9
    again = run("evaluate", "fs1000", hidden, "--weights", bundle, "-t", "TES", "-f", "json")
    assert again.json()[0]["SRCC"] == pytest.approx(found["SRCC"], abs=1e-6)
    assert trained("gdlt")[1]["SRCC"] < 0.7


def test_a_routine_of_tokens_is_scored_as_in_the_test_split(trained, hidden, tmp_path):
    bundle, _ = trained("mlp-mixer")
    routine = load_dataset("fs1000", hidden, place("cpu")).splits["test"][0]
    times = np.arange(len(routine.visual), dtype=np.float64)
    video = VideoInfo("a.mp4", float(len(times)), 25.0, 96, 64, True)
    features = RoutineFeatures(routine.visual, routine.audio, times, times + 1, video, tokens=routine.tokens())
    write_features(tmp_path / "a.safetensors", features)
    kept = read_features(tmp_path / "a.safetensors")
    assert np.array_equal(kept.tokens, routine.tokens())
    scorer = mlavl_cli.load_scorer(bundle, "cpu")
    head = load_head(bundle / "heads" / "TES.safetensors")
    batch = next(Batches([routine], "TES", head.score_range, 1, tokens=True).in_order())
    assert scorer.score(kept).scores["TES"].score == pytest.approx(head.points(float(head.model.of(batch).score)))
    with pytest.raises(FeatureError, match="1 visual tokens a clip; the TES head mixes 2"):
        scorer.score(replace(kept, tokens=None))


def test_a_video_has_no_tokens_which_is_told_before_it_is_extracted(run, routine, tmp_path):
    """Features of a manifest to which another tool added tokens."""
    run("extract-features", routine, "-o", tmp_path / "f")
    (entry,) = (tmp_path / "f").iterdir()
    features = read_features(entry)
    rows = ["path,split,X"]
    for i, split in enumerate(["train"] * 4 + ["test"] * 2):
        write_features(tmp_path / f"{i}.safetensors", replace(features, tokens=np.stack([features.visual * i] * 3, 1)))
        rows.append(f"{i}.safetensors,{split},{i}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    options = ["--model", "mlp-mixer", "--width", "32", "--epochs", "1", "--output", tmp_path / "o"]
    trained = run("train", "manifest", tmp_path / "m.csv", *options)
    assert trained.exit_code == 0, trained.stderr
    result = run("score", routine, "--weights", tmp_path / "o", "--device", "cpu")
    assert result.exit_code == 1
    assert "features have 1 visual tokens a clip; the X head mixes 3" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("rows", "cause"),
    [(np.ones((4, 3, 7)), "don't belong"), (np.full((4, 3, 8), np.nan), "don't belong"), (np.ones((4, 8)), "belong")],
)
def test_tokens_that_do_not_fit(rows, cause):
    one = layouts_routine(4, tokens=partial(np.asarray, rows))
    with pytest.raises(DataError, match=cause):
        Batches([one], "X", (0.0, 1.0), 2, tokens=True)


def test_numbers_of_tokens_that_differ():
    both = [layouts_routine(4, tokens=partial(np.ones, (4, k, 8))) for k in (2, 3)]
    with pytest.raises(DataError, match=r"\[2, 3\]"):
        Batches(both, "X", (0.0, 1.0), 2, tokens=True)


def layouts_routine(clips: int, **changes):
    from mlavl_cli.datasets.dataset import routine

    visual = np.ones((clips, 8), np.float32)
    return replace(routine("one", visual, None, {"X": 0.5}, Path("x")), **changes)
