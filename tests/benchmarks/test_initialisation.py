"""Initial weights and dropout as in the public code, against torch's own and one mask for all routines.

Two sets whose rule is known: features in Fis-V's layout, and simulated routines as the embedded backbones see them.
Five seeds each; the docs have the table that this prints.
"""

import numpy as np
import pytest
import torch

from mlavl_cli.datasets.dataset import Routine
from mlavl_cli.datasets.load import load_dataset
from mlavl_cli.device import place
from mlavl_cli.heads import layers
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.mlavl.mag2 import MAG2
from mlavl_cli.heads.mlavl.model import MLAVL
from mlavl_cli.training.batches import Batches
from mlavl_cli.training.config import TrainConfig
from mlavl_cli.training.train import train_head

pytestmark = [pytest.mark.slow, pytest.mark.benchmark]
SEEDS, EPOCHS = range(5), 30


def with_one_mask(self, clips, actions, mask=None):
    """MAG2 whose action nodes are dropped alike in all routines."""
    real = clips.new_ones(*clips.shape[:2], 1) if mask is None else mask.unsqueeze(-1).to(clips.dtype)
    clips, actions = self.conv1(clips, actions[None], real)
    return self.conv2(self.dropout(clips.relu()), self.dropout(actions.relu()), real)[0]


def fisv_like(rng: np.random.Generator, count: int) -> list[Routine]:
    """Scores 0 to 45 by a rule: the mean over clips of a bent sum, and how often picture and sound agree."""
    rule = np.random.default_rng(7)
    seen, heard = rule.normal(size=64) / 8, rule.normal(size=64) / 8
    found = []
    for i in range(count):
        quality, fit = rng.uniform(-1, 1), rng.uniform()
        visual, audio = rng.normal(size=(2, 40, 64))
        visual += 4 * quality * seen
        follows = rng.uniform(size=40) < fit
        audio += np.where(follows, np.sign(visual @ seen), rng.choice([-1, 1], 40))[:, None] * 6 * heard
        good = np.tanh(visual @ seen).mean() / 2 + 0.5
        agrees = (np.sign(visual @ seen) == np.sign(audio @ heard)).mean()
        score = 45 * (0.7 * good + 0.3 * agrees)
        found.append(Routine(str(i), visual.astype(np.float32), audio.astype(np.float32), {"TES": float(score)}))
    return found


def judged(folder, train, test, target, score_range, window, seed):
    dims = HeadDims(train[0].visual.shape[1], actions=42, audio_dim=train[0].audio.shape[1], text_dim=64)
    torch.manual_seed(0)
    text = torch.randn(dims.prompts, dims.text_dim)
    batches = [Batches(routines, target, score_range, 32, window) for routines in (train, test)]
    true = np.array([routine.scores[target] for routine in test])
    config = TrainConfig(epochs=EPOCHS, seed=seed)
    found = train_head(
        lambda: MLAVL(dims, text), *batches, true, score_range, config, place("cpu", "fp32"), folder / "runs" / "x"
    )
    return found.history[-1]


def compare(tmp_path, monkeypatch, name, *data):
    """Prints SRCC and MSE of the last epoch, mean and spread over the seeds."""
    found = {}
    for way in ("official", "torch's"):
        with monkeypatch.context() as patch:
            if way == "torch's":
                patch.setattr(layers, "_drawn", lambda transformer: transformer)
                patch.setattr(MAG2, "forward", with_one_mask)
            last = [judged(tmp_path / way / str(seed), *data, seed) for seed in SEEDS]
        found[way] = np.array([[one.srcc, one.mse] for one in last])
        mean, spread = found[way].mean(0), found[way].std(0, ddof=1)
        print(f"\n{name}, {way}: SRCC {mean[0]:.3f} +- {spread[0]:.3f}, MSE {mean[1]:.2f} +- {spread[1]:.2f}")
    return found


def test_on_features_in_fisv_layout(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    data = fisv_like(rng, 120), fisv_like(rng, 80)
    found = compare(tmp_path, monkeypatch, "Fis-V layout", *data, "TES", (0.0, 45.0), 40)
    assert all(np.isfinite(values).all() for values in found.values())


@pytest.mark.parametrize("target", ["TES", "PCS"])
def test_on_simulated_routines(tmp_path, monkeypatch, simulated, target):
    data = load_dataset("simulated", simulated, place("cpu", "fp32"))
    train = data.splits["train"] + data.splits["val"]
    ranges = data.ranges[target]
    found = compare(tmp_path, monkeypatch, f"simulated {target}", train, data.splits["test"], target, ranges, None)
    assert all(np.isfinite(values).all() for values in found.values())


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    from typer.testing import CliRunner

    from mlavl_cli.cli.app import app

    folder = tmp_path_factory.mktemp("skate")
    made = CliRunner().invoke(app, ["synthesize", str(folder), "-n", "80", "--seconds", "20:30", "--size", "320x180"])
    assert made.exit_code == 0, made.output
    return folder
