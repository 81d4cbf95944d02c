"""What CONTRIBUTING.md promises: a dataset, a format, a kind of backbone come from outside by an entry of a table."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import make_video
from datasets import layouts

from mlavl_cli.bundle import find_bundle
from mlavl_cli.datasets.dataset import Dataset, routine
from mlavl_cli.datasets.layouts import FOLDERS
from mlavl_cli.features.visual import POOLING
from mlavl_cli.output.formats import FORMATS


@pytest.fixture
def outside(monkeypatch):
    """A module that isn't ours, under a name that a table can hold."""
    module = ModuleType("outside_of_mlavl")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_a_dataset_from_outside(run, tmp_path, outside, monkeypatch):
    def load(path):
        rng = np.random.default_rng(0)
        splits = {}
        for split, count in (("train", 12), ("test", 6)):
            scores = rng.uniform(0, 10, count)
            splits[split] = [
                routine(f"{split}{i}", rng.normal(score, 1, (4, 12)).astype(np.float32), None, {"Jump": score}, path)
                for i, score in enumerate(scores)
            ]
        return Dataset("Toys", "skating", "fisv", splits, {"Jump": (0.0, 10.0)})

    outside.load = load
    monkeypatch.setitem(FOLDERS, "toys", "outside_of_mlavl:load")
    text = layouts.text_features(tmp_path / "text.npy")
    options = [
        "--text-features",
        text,
        "--model",
        "usdl",
        "--width",
        "32",
        "--epochs",
        "20",
        "--lr",
        "1e-2",
        "--validation",
        "test",
    ]
    (row,) = run("train", "toys", tmp_path, "--output", tmp_path / "b", *options, "-f", "json").json()
    assert row["target"] == "Jump"
    assert row["SRCC"] > 0.8
    assert run("evaluate", "toys", tmp_path, "--weights", tmp_path / "b", "-f", "json").json()[0]["n"] == 6


def test_a_format_from_outside(run, tmp_path, outside, monkeypatch):
    class Yaml:
        def __init__(self, stream, targets, many):
            self.stream, self.targets = stream, targets

        def add(self, result):
            self.stream.write(f"- path: {json.dumps(result.video.path)}\n")
            for target in self.targets:
                self.stream.write(f"  {target}: {result.scores[target].score:.2f}\n")

        def close(self):
            self.stream.write("# end\n")

    outside.Yaml = Yaml
    monkeypatch.setitem(FORMATS, "yaml", "outside_of_mlavl:Yaml")
    video = make_video(tmp_path / "v.mp4")
    said = run("score", video, "--format", "yaml").stdout
    assert said.startswith("- path: ")
    assert "  TES: " in said
    assert said.endswith("# end\n")
    assert run("score", video, "--output", tmp_path / "o.yaml").exit_code == 0  # as --output ends
    assert (tmp_path / "o.yaml").read_text() == said


def test_a_kind_of_backbone_from_outside(run, tmp_path, monkeypatch):
    from transformers import (
        AutoConfig,
        AutoModel,
        PretrainedConfig,
        PreTrainedModel,
        VideoMAEVideoProcessor,
    )
    from transformers.modeling_outputs import BaseModelOutput

    class ToyConfig(PretrainedConfig):
        model_type = "toyvideo"

        def __init__(self, num_frames=4, image_size=32, hidden_size=24, **rest):
            super().__init__(**rest)
            self.num_frames, self.image_size, self.hidden_size = num_frames, image_size, hidden_size
            self.num_hidden_layers, self.num_attention_heads, self.patch_size = 1, 1, 16

    class ToyModel(PreTrainedModel):
        config_class = ToyConfig

        def __init__(self, config):
            super().__init__(config)
            self.map = torch.nn.Linear(3, config.hidden_size)
            self.post_init()

        def forward(self, pixel_values):  # (B, F, 3, height, width)
            return BaseModelOutput(last_hidden_state=self.map(pixel_values.mean((3, 4))))

    AutoConfig.register("toyvideo", ToyConfig, exist_ok=True)
    AutoModel.register(ToyConfig, ToyModel, exist_ok=True)
    monkeypatch.setitem(POOLING, "toyvideo", lambda tokens: tokens.mean(1))
    ToyModel(ToyConfig()).save_pretrained(tmp_path / "toy")
    size = {"height": 32, "width": 32}
    VideoMAEVideoProcessor(size=size, do_center_crop=False).save_pretrained(tmp_path / "toy")
    video = make_video(tmp_path / "v.mp4")
    result = run("extract-features", video, "-o", tmp_path / "s", "--visual", tmp_path / "toy")
    assert result.exit_code == 0, result.stderr
    from safetensors.numpy import load_file

    features = load_file(tmp_path / "s" / "v.mp4.safetensors")
    assert features["visual"].shape == (2, 24)
    assert features["audio"].shape[1] == find_bundle("mini").audio.dim
