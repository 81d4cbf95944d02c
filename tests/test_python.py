"""Python as the field uses it: what the functions take, what objects look like, tables, notebooks and loops."""

import types
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_video
from datasets import layouts
from torch.utils.data import DataLoader

import mlavl_cli
from mlavl_cli import RoutineFeatures
from mlavl_cli.device import place


@pytest.fixture(scope="module")
def scorer():
    return mlavl_cli.load_scorer("mini", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("v") / "anna.mp4", 130)


@pytest.fixture(scope="module")
def features(video):
    return mlavl_cli.extract_features(video, device="cpu", precision="fp32")


def points(score):
    return {target: found.score for target, found in score.scores.items()}


def test_many_routines_of_any_kind_in_their_order(scorer, video, features, tmp_path):
    other = make_video(tmp_path / "bo.mp4", 70)
    gone = tmp_path / "gone.mp4"
    given = [str(video), features, gone, mlavl_cli.Input(other, Path("x/bo.mp4")), other, features]

    def one_by_one():
        yield from given

    found = list(scorer.score_many(one_by_one()))
    assert [source for source, _ in found] == given
    whole = points(scorer.score(video))
    for at in (0, 1, 5):
        assert points(found[at][1]) == pytest.approx(whole, abs=1e-4)
    assert points(found[3][1]) == pytest.approx(points(found[4][1]), abs=1e-6)
    assert isinstance(found[2][1], mlavl_cli.MediaError)
    assert str(gone) in str(found[2][1])
    assert len(str(found[2][1]).splitlines()) == 1
    assert isinstance(scorer.score_many(given), types.GeneratorType)
    with pytest.raises(mlavl_cli.MediaError, match=r"gone\.mp4"):
        scorer.score(gone)


@pytest.mark.parametrize(
    "kind",
    [
        lambda rows: rows.astype(np.float64),
        lambda rows: torch.from_numpy(rows.copy()),
        lambda rows: torch.from_numpy(rows.copy()).double().requires_grad_(),
        lambda rows: rows.tolist(),
    ],
)
def test_features_may_be_of_any_precision_or_tensors(scorer, features, kind):
    made = RoutineFeatures(
        kind(features.visual), kind(features.audio), features.start_s, features.end_s, features.video
    )
    assert made.visual.dtype == np.float32
    assert points(scorer.score(made)) == pytest.approx(points(scorer.score(features)), abs=1e-4)


@pytest.mark.parametrize(
    ("visual", "said"),
    [
        ([["a"]], "no array of numbers"), (np.zeros((2, 3, 4)), "not (clips, width)"), (torch.zeros(0, 4), "not (cl"),
        (np.full((1, 4), np.nan), "NaN"), (object(), "no array of numbers"),
    ],
)  # fmt: skip
def test_what_are_no_features_is_one_line(features, visual, said):
    with pytest.raises(mlavl_cli.FeatureError) as told:
        RoutineFeatures(visual, None, np.zeros(1), np.ones(1), features.video)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_features_of_another_width_are_one_line(scorer, features):
    wrong = RoutineFeatures(features.visual[:, :5], features.audio, features.start_s, features.end_s, features.video)
    with pytest.raises(mlavl_cli.FeatureError, match="5 wide"):
        scorer.score(wrong)
    ((_, error),) = scorer.score_many([wrong])
    assert isinstance(error, mlavl_cli.MlavlError)


@pytest.mark.parametrize("name", ["f.safetensors", "f.npz"])
def test_features_are_saved_and_loaded(scorer, features, tmp_path, name):
    features.save(tmp_path / name)
    again = RoutineFeatures.load(tmp_path / name)
    for table, rows in features.tables().items():
        np.testing.assert_array_equal(again.tables()[table], rows)
    np.testing.assert_array_equal(again.end_s, features.end_s)
    assert points(scorer.score(again)) == points(scorer.score(features))
    assert (again.provenance == features.provenance) == name.endswith("safetensors")
    with np.load(tmp_path / "f.npz") if name == "f.npz" else np.errstate() as file:
        assert name != "f.npz" or file["visual"].shape == features.visual.shape


def test_arrays_of_another_tool_need_the_length_of_a_clip(features, tmp_path):
    np.savez(tmp_path / "f.npz", visual=features.visual, audio=features.audio)
    with pytest.raises(mlavl_cli.FeatureError, match=r"Give clip_s"):
        RoutineFeatures.load(tmp_path / "f.npz")
    made = RoutineFeatures.load(tmp_path / "f.npz", clip_s=1.28)
    assert made.end_s.tolist() == pytest.approx([1.28 * (at + 1) for at in range(made.clips)])
    assert made.video.fps == pytest.approx(25)
    for count in (30, 95, 280):  # times that floats can't hold exactly
        np.save(tmp_path / "long.npy", np.ones((count, 4), np.float32))
        assert RoutineFeatures.load(tmp_path / "long.npy", clip_s=1.28).clips == count
    with pytest.raises(mlavl_cli.FeatureError, match="no such feature file"):
        RoutineFeatures.load(tmp_path / "gone.npz")


def test_a_saved_npz_is_a_row_of_a_manifest(run, features, tmp_path):
    rows = []
    for at in range(6):
        moved = RoutineFeatures(features.visual + at, None, features.start_s, features.end_s, features.video)
        moved.save(tmp_path / f"{at}.npz")
        rows.append(f"{at}.npz,{'train' if at < 4 else 'test'},{at + 1}")
    (tmp_path / "m.csv").write_text("path,split,TES\n" + "\n".join(rows) + "\n")
    result = run("train", "manifest", tmp_path / "m.csv", "--model", "svr", "-o", tmp_path / "b")
    assert result.exit_code == 0, result.stderr


def test_objects_are_short(scorer, features):
    score = scorer.score(features)
    for thing in (scorer, features, score):
        assert len(repr(thing)) < 300
        assert "\n" not in repr(thing)
    assert repr(score).startswith("RoutineScore(anna.mp4: TES ")
    assert "visual (4, " in repr(features)
    assert repr(scorer).startswith("Scorer(mini: TES, PCS")


def test_tables_of_pandas(scorer, features):
    score = scorer.score(features)
    clips = score.to_frame()
    assert list(clips.index) == [0, 1, 2, 3]
    assert clips["consistency"].tolist() == [clip.consistency for clip in score.clips]
    assert clips["start_s"].tolist() == features.start_s.tolist()
    both = mlavl_cli.scores_to_frame([score, score])
    assert len(both) == 2
    assert both["TES"].tolist() == [score.scores["TES"].score] * 2
    assert both["clips"].tolist() == [4, 4]
    low, high = score.scores["TES"].interval
    assert (both["TES_low"][0], both["TES_high"][0]) == (low, high)


def test_without_pandas_it_says_how(scorer, features, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(mlavl_cli.UsageError, match=r"pip install 'mlavl\[frames\]'"):
        scorer.score(features).to_frame()


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)

    def handle_data(self, data):
        self.text += data


def test_a_notebook_shows_a_table_and_the_clips(scorer, features):
    from dataclasses import replace

    score = scorer.score(replace(features, video=replace(features.video, path="<script>alert(1)</script>.mp4")))
    page = Tags()
    page.feed(score._repr_html_())
    assert "script" not in page.found
    assert page.found.count("rect") == 4
    assert page.found.count("tr") == 1 + len(score.scores)
    assert f"{score.scores['TES'].score:.2f}" in page.text
    assert score.weights.trained_on in page.text


def test_batches_for_a_loop_of_ones_own(tmp_path):
    data = mlavl_cli.load_dataset("fisv", layouts.fisv(tmp_path / "d"), place("cpu"))
    routines = mlavl_cli.RoutineDataset(data, "TES")
    assert len(routines) == len(data.splits["train"])
    loader = DataLoader(routines, batch_size=5, shuffle=True, collate_fn=mlavl_cli.collate)
    seen = []
    for batch in loader:
        count, clips = batch["mask"].shape
        assert batch["visual"].shape[:2] == batch["audio"].shape[:2] == (count, clips)
        for at, id in enumerate(batch["id"]):
            own = next(one for one in data.splits["train"] if one.id == id)
            assert int(batch["mask"][at].sum()) == len(own.visual)
            np.testing.assert_array_equal(batch["visual"][at][batch["mask"][at]].numpy(), own.visual)
            assert not batch["visual"][at][~batch["mask"][at]].any()
            assert batch["score"][at] == pytest.approx(own.scores["TES"])
            seen.append(id)
    assert sorted(seen) == sorted(one.id for one in data.splits["train"])
    head = torch.nn.Linear(data.splits["train"][0].visual.shape[1], 1)  # somebody's own head learns
    batch = next(iter(loader))
    loss = (head(batch["visual"]).squeeze(-1) * batch["mask"]).sum(1).sub(batch["score"]).square().mean()
    loss.backward()
    assert torch.isfinite(head.weight.grad).all()


def test_all_names_are_there():
    for name in mlavl_cli.__all__:
        assert getattr(mlavl_cli, name) is not None
