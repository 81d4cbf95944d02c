"""Every method in `HEADS` is trained, saved, evaluated and scored with, and so is one from outside."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import make_video
from datasets import layouts

from mlavl_cli.heads.base import Head, HeadOutput
from mlavl_cli.heads.checkpoint import load_head
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.methods import HEADS, head_class
from mlavl_cli.scoring import measures

NAMES = [*HEADS, *(f"{name}+mag2" for name in HEADS if name != "mlavl")]


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_batch_mates_change_no_score(name):
    torch.manual_seed(0)
    model_name, _, mag2 = name.partition("+")
    kind = head_class(model_name)
    dims = HeadDims(16, 4, audio_dim=0 if kind.visual_only else 12, text_dim=12, width=32, heads=4, mag2=bool(mag2))
    model = kind(dims, torch.randn(dims.prompts, 12)).eval()
    visual, audio = torch.randn(3, 20, 16), torch.randn(3, 20, 12)
    mask = torch.arange(20) < torch.tensor([20, 12, 7])[:, None]
    with torch.no_grad():
        together = model(visual, audio, mask).score
        alone = [model(visual[i : i + 1, :n], audio[i : i + 1, :n]).score[0] for i, n in enumerate((20, 12, 7))]
        other_order = model(visual.flip(0), audio.flip(0), mask.flip(0)).score.flip(0)
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=0)
    torch.testing.assert_close(together, other_order, atol=1e-5, rtol=0)


class Loudest(Head):
    """A toy: the mean of the first feature, through one weight."""

    name = "loudest"

    def __init__(self, dims, text_features=None):
        super().__init__(dims)
        self.map = torch.nn.Linear(1, 1)

    def forward(self, visual, audio=None, mask=None):
        real = visual.new_ones(visual.shape[:2]) if mask is None else mask.to(visual.dtype)
        mean = (visual[..., 0] * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        return HeadOutput(score=self.map(mean).sigmoid().squeeze(-1))


@pytest.fixture
def toy(monkeypatch):
    """A method from outside: one class, and one line in the table."""
    module = ModuleType("toy_of_a_test")
    module.Loudest = Loudest
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(HEADS, "loudest", "toy_of_a_test:Loudest")


def trained(run, name, manifest, output):
    options = ["--range", "TES=0:130", "-t", "TES", "--epochs", "2", "--width", "32", "--model", name]
    return run("train", "manifest", manifest, "--output", output, *options)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Six short videos with scores."""
    folder = tmp_path_factory.mktemp("methods")
    rows = ["path,split,TES"]
    for i in range(6):
        make_video(folder / f"{i}.mp4", frames=70)
        rows.append(f"{i}.mp4,{'train' if i < 4 else 'test'},{20 + 10 * i}")
    (folder / "m.csv").write_text("\n".join(rows) + "\n")
    return folder / "m.csv"


@pytest.mark.parametrize("name", ["ms-lstm", "usdl", "core", "gdlt+mag2", "loudest"])
def test_what_is_trained_is_saved_and_scored_with(run, manifest, tmp_path, toy, name):
    output = tmp_path / "bundle"
    result = trained(run, name, manifest, output)
    assert result.exit_code == 0, result.stderr
    head = load_head(output / "heads" / "TES.safetensors")
    assert head.model.name == name.partition("+")[0]
    assert head.model.dims.mag2 == name.endswith("mag2")
    video = manifest.parent / "5.mp4"
    scored = run("score", video, "--weights", output, "-f", "json")
    score = scored.json()
    judged = run("evaluate", "manifest", manifest, "--weights", output, "-f", "json")
    assert judged.exit_code == 0, judged.stderr
    assert 0 <= score["scores"]["TES"]["score"] <= 130
    assert score["scores"]["TES"]["visual"] == score["scores"]["TES"]["score"]
    assert score["scores"]["TES"]["audio_visual"] is None
    assert [clip["quality"] for clip in score["clips"]] == [None] * len(score["clips"])
    assert any("no timeline" in text for text in score["warnings"])
    table = run("score", video, "--weights", output, "--report", tmp_path / "pages")
    assert table.exit_code == 0
    assert "no timeline" in table.stdout
    assert run("score", video, "--weights", output, "-f", "csv").exit_code == 0
    (tmp_path / "a.json").write_text(scored.stdout)
    assert run("compare", tmp_path / "a.json", tmp_path / "a.json").exit_code == 0
    assert run("weights", "verify", output).exit_code == 0


def test_a_few_exemplars_are_kept_with_the_head(run, tmp_path):
    """CoRe compares with training routines: the saved head gives what the trained one gave."""
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    options = ["--text-features", text, "--width", "32", "-t", "TES", "--epochs", "3", "--model", "core"]
    result = run("train", "fisv", root, "--output", tmp_path / "b", *options, "-f", "json")
    head = load_head(tmp_path / "b" / "heads" / "TES.safetensors")
    assert len(head.model.exemplars.unique(dim=0)) > 1
    again = run("evaluate", "fisv", root, "--weights", tmp_path / "b", "-f", "json").json()
    assert np.isclose(result.json()[0]["MSE"], again[0]["MSE"], rtol=1e-5)


def test_unknown_methods_are_named(run, tmp_path):
    root = layouts.fisv(tmp_path / "d")
    for name, cause in (("swin", "There are mlavl, ms-lstm"), ("mlavl+mag2", "+mag2 goes with the visual methods")):
        result = run("train", "fisv", root, "--output", tmp_path / "b", "--model", name)
        assert result.exit_code == 2
        assert cause in result.errors[0]


def test_a_measure_from_outside_is_shown_everywhere(run, tmp_path):
    """One line in `MEASURES`: json, csv, WebVTT, table, plot and page show it."""

    def place(features, readings):
        return [i / features.clips for i in range(features.clips)]

    measures.MEASURES.append(measures.Measure("place", "whereabouts", place))
    try:
        video = make_video(tmp_path / "v.mp4", frames=150)
        outputs = ["--report", tmp_path / "pages", "--vtt", tmp_path / "vtt", "--clips-csv", tmp_path / "c.csv"]
        score = run("score", video, "-f", "json", *outputs, "--plot", tmp_path / "p.svg").json()
        assert [clip["place"] for clip in score["clips"]] == [
            i / len(score["clips"]) for i in range(len(score["clips"]))
        ]
        assert (tmp_path / "c.csv").read_text().splitlines()[0].endswith("attention,place")
        assert "whereabouts 0." in next((tmp_path / "vtt").rglob("*.vtt")).read_text()
        assert "whereabouts" in run("score", video).stdout
        assert (
            "whereabouts" in next(p for p in (tmp_path / "pages").glob("*.html") if p.name != "index.html").read_text()
        )
    finally:
        measures.MEASURES.pop()
