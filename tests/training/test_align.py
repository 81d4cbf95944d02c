"""What is learned before scores: which music belongs to which pictures."""

import math

import numpy as np
import pytest
import torch
from datasets import layouts

from mlavl_cli.bundle import find_bundle
from mlavl_cli.datasets.dataset import Routine
from mlavl_cli.device import place
from mlavl_cli.heads.checkpoint import load_head
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.mlavl.losses import CONTRAST_TEMPERATURE, contrast
from mlavl_cli.heads.mlavl.model import MLAVL
from mlavl_cli.training.align import align
from mlavl_cli.training.batches import Batches
from mlavl_cli.training.evaluate import consistency_aucs
from mlavl_cli.training.history import Epoch


def test_contrast_is_the_cross_entropy_of_finding_ones_partner():
    rng = np.random.default_rng(0)
    visual, audio = rng.normal(size=(2, 4, 6)), rng.normal(size=(2, 4, 6))
    lengths = (4, 3)
    found = []
    for v, a, length in zip(visual, audio, lengths, strict=True):
        v, a = v[:length], a[:length]
        cosine = (v @ a.T) / np.outer(np.linalg.norm(v, axis=1), np.linalg.norm(a, axis=1))
        for logits in (cosine / CONTRAST_TEMPERATURE, cosine.T / CONTRAST_TEMPERATURE):
            found += [np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(logits)]
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    assert contrast(torch.tensor(visual), torch.tensor(audio), mask).item() == pytest.approx(np.mean(found))


def test_contrast_of_tokens_that_are_all_the_same_is_guessing():
    same = torch.ones(3, 7, 5)
    assert contrast(same, same).item() == pytest.approx(math.log(7), rel=1e-5)


def test_alignment_finds_the_music_without_any_score():
    """Pictures and music hold the same random signs, each turned in a way of its own: no single entry agrees."""
    rng = np.random.default_rng(0)
    turned = [np.linalg.qr(rng.normal(size=(8, 8)))[0] for _ in range(2)]

    def routines(count):
        for i in range(count):
            moment = rng.choice([-1.0, 1.0], (10, 8))
            rows = [(moment @ turn + rng.normal(0, 0.2, (10, 8))).astype(np.float32) for turn in turned]
            yield Routine(str(i), *rows, {"X": 0.0})

    train, test = (Batches(list(routines(n)), "X", (0.0, 1.0), 16) for n in (160, 32))
    torch.manual_seed(0)
    dims = HeadDims(visual_dim=8, audio_dim=8, text_dim=12, actions=5, width=32, heads=4, dropout=0.0)
    head, cpu = MLAVL(dims, torch.randn(dims.prompts, 12)), place("cpu", "fp32")
    assert 0.3 < consistency_aucs(head, test, cpu)["swapped_clip"] < 0.7
    told = []
    align(head, train, 8, 3e-3, 0, told.append)
    assert told == list(range(1, 33))
    after = consistency_aucs(head, test, cpu)
    assert after["swapped_clip"] > 0.9
    assert after["shifted_clip"] > 0.9


def train(run, root, output, text, *targets):
    options = [option for target in targets for option in ("-t", target)]
    command = ["train", "fisv", root, "-o", output, "--text-features", text, "--epochs", 2, "--width", 32]
    return run(*command, "--batch-size", 8, "--lambda-c", 1, "--align-epochs", 1, "-q", *options)


def test_targets_share_their_alignment_and_get_what_they_would_get_alone(run, tmp_path, monkeypatch):
    import mlavl_cli.training.train as module

    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    calls, real = [], module.align
    monkeypatch.setattr(module, "align", lambda *args: calls.append(1) or real(*args))
    assert train(run, root, tmp_path / "both", text, "TES", "PCS").exit_code == 0
    assert len(calls) == 1
    assert train(run, root, tmp_path / "alone", text, "PCS").exit_code == 0
    assert len(calls) == 2
    heads = [(tmp_path / name / "heads" / "PCS.safetensors").read_bytes() for name in ("both", "alone")]
    assert heads[0] == heads[1]


def test_half_a_head_scores_as_the_whole_one(run, tmp_path):
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    command = ["train", "fisv", root, "--text-features", text, "--epochs", 1, "--width", 32, "-t", "TES", "-q"]
    for name, options in (("whole", []), ("half", ["--half"])):
        assert run(*command, *options, "-o", tmp_path / name).exit_code == 0
    whole, half = (find_bundle(tmp_path / name).heads["TES"] for name in ("whole", "half"))
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    models = [load_head(path).model.eval() for path in (whole, half)]
    assert all(p.dtype == torch.float32 for p in models[1].parameters())
    visual, audio = torch.randn(2, 9, models[0].dims.visual_dim), torch.randn(2, 9, models[0].dims.audio_dim)
    with torch.no_grad():
        scores = [model(visual, audio).score for model in models]
    torch.testing.assert_close(scores[0], scores[1], atol=2e-3, rtol=0)


def test_an_epoch_is_worth_its_ranking_and_its_consistency():
    epochs = [Epoch(1, 0.0, {}, 0.90, 5.0, 0.55), Epoch(2, 0.0, {}, 0.85, 6.0, 0.75), Epoch(3, 0.0, {}, math.nan, 1.0)]
    assert max(epochs, key=lambda epoch: epoch.rank).epoch == 2
    assert Epoch(4, 0.0, {}, 0.9, 5.0).rank == 0.9  # without a consistency objective by SRCC alone


def test_other_features_of_the_same_routines_are_aligned_anew(run, tmp_path, monkeypatch):
    """Their names and shapes are the same: only the content tells."""
    import mlavl_cli.training.train as module

    calls, real = [], module.align
    monkeypatch.setattr(module, "align", lambda *args: calls.append(1) or real(*args))
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    assert train(run, root, tmp_path / "b", text, "TES").exit_code == 0
    np.save(text, 2 * np.load(text))
    assert train(run, root, tmp_path / "b", text, "PCS").exit_code == 0
    assert len(calls) == 2
    stored = load_head(find_bundle(tmp_path / "b").heads["PCS"]).model.text_features
    np.testing.assert_array_equal(stored, np.load(text))


@pytest.mark.parametrize("epochs", [1, 2, 5, 10, 11])
def test_any_number_of_steps_has_a_schedule(epochs):
    """Ten steps with a tenth to warm up once divided by zero."""
    rng = np.random.default_rng(0)
    rows = [Routine(str(i), *rng.normal(size=(2, 3, 8)).astype(np.float32), {"X": 0.0}) for i in range(2)]
    dims = HeadDims(visual_dim=8, audio_dim=8, text_dim=12, actions=5, width=16, heads=4)
    align(MLAVL(dims, torch.randn(dims.prompts, 12)), Batches(rows, "X", (0.0, 1.0), 2), epochs, 1e-3, 0)
