"""Losses against numpy, written out by hand."""

import numpy as np
import pytest
import torch
from heads.test_mlavl import head

from mlavl_cli.heads.base import Batch
from mlavl_cli.heads.mlavl.losses import (
    LossWeights,
    false_music,
    grade_cross_entropy,
    hardest_triplet,
    triplet_loss,
)
from mlavl_cli.heads.mlavl.model import MLAVL


def numpy_triplet(rows, labels, margin):
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    total = 0.0
    for i in range(len(rows)):
        distances = [1 - rows[i] @ rows[j] for j in range(len(rows))]
        positive = max(d for j, d in enumerate(distances) if labels[j] == labels[i])
        negative = min(d for j, d in enumerate(distances) if labels[j] != labels[i])
        total += max(0.0, positive - negative + margin)
    return total / len(rows)


def batch(routines=3, clips=5, mask=None, seed=0):
    torch.manual_seed(seed)
    return Batch(torch.randn(routines, clips, 24), torch.randn(routines, clips, 20), mask, torch.rand(routines))


def test_hardest_triplet():
    torch.manual_seed(0)
    rows, labels = torch.randn(20, 6), torch.arange(5).repeat(4)
    expected = numpy_triplet(rows.numpy().astype(float), labels.numpy(), 1.0)
    assert float(hardest_triplet(rows, labels, 1.0)) == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("over", ["all", "patterns"])
def test_triplets_are_summed_over_the_sets(over):
    model, one = head(), batch()
    output = model(one.visual, one.audio)
    expected = 0.0
    for patterns in (output.patterns_av, output.patterns_v):
        labels = np.tile(np.arange(patterns.shape[1]), 3)
        expected += numpy_triplet(patterns.flatten(0, 1).numpy().astype(float), labels, 1.0)
    if over == "all":
        assert len(output.text) == 4
        for rows in output.text.values():  # as the official code has them: a copy for each routine of the batch
            copies = np.tile(rows.numpy().astype(float), (3, 1))
            expected += numpy_triplet(copies, np.tile(np.arange(len(rows)), 3), 1.0)
    assert float(triplet_loss(output, 1.0, over)) == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("temperature", [1.0, 0.07])
def test_grade_cross_entropy(temperature):
    model, one = head(), batch()
    output = model(one.visual, one.audio)
    expected = 0.0
    for patterns, prompts in ((output.patterns_v, "v_grades"), (output.patterns_av, "av_grades")):
        patterns, prompts = patterns.numpy().astype(float), output.text[prompts].numpy().astype(float)
        losses = []
        for routine in patterns:
            for grade, pattern in enumerate(routine):
                logits = prompts @ pattern / np.linalg.norm(prompts, axis=1) / np.linalg.norm(pattern) / temperature
                log_p = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
                wanted = np.full(len(prompts), 0.1 / len(prompts))
                wanted[grade] += 0.9
                losses.append(-(wanted * log_p).sum())
        expected += np.mean(losses)
    assert float(grade_cross_entropy(output, temperature)) == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_total_has_the_official_weights():
    model, one = head(), batch()
    output = model(one.visual, one.audio)
    terms = model.loss(output, one, LossWeights())
    assert set(terms) == {"mse", "triplet", "cross_entropy"}
    mse = ((output.score - one.label) ** 2).mean()
    assert float(terms["mse"]) == pytest.approx(10 * float(mse), rel=1e-5)
    assert float(terms["triplet"]) == pytest.approx(float(triplet_loss(output)), rel=1e-5)
    assert float(terms["cross_entropy"]) == pytest.approx(0.01 * float(grade_cross_entropy(output)), rel=1e-5)


def test_gradients():
    torch.manual_seed(0)
    rows = torch.randn(8, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: hardest_triplet(r, torch.arange(4).repeat(2), 1.0), (rows,))
    model, one = head(dropout=0.0).train(), batch()
    output = model(one.visual, one.audio)
    terms = model.loss(output, one, LossWeights(consistency=1.0), torch.Generator().manual_seed(0))
    sum(terms.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_shifted_music_is_the_routine_s_own_moved_in_a_circle():
    mask = torch.arange(5) < torch.tensor([5, 3, 1])[:, None]
    one = batch(mask=mask)
    audio, judged = false_music(one, "shifted", by=2)
    torch.testing.assert_close(audio[0], one.audio[0].roll(-2, 0))
    torch.testing.assert_close(audio[1, :3], one.audio[1, [2, 0, 1]])
    assert judged.sum(1).tolist() == [5, 3, 0]  # one clip can't be shifted
    for seed in range(20):
        moved, judged = false_music(one, "shifted", torch.Generator().manual_seed(seed))
        for i, length in enumerate((5, 3)):
            assert not torch.equal(moved[i, :length], one.audio[i, :length])
            assert sorted(moved[i, :length, 0].tolist()) == sorted(one.audio[i, :length, 0].tolist())


def test_swapped_music_is_another_routine_s_where_both_have_clips():
    mask = torch.arange(5) < torch.tensor([5, 3, 1])[:, None]
    one = batch(mask=mask)
    for seed in range(10):
        audio, judged = false_music(one, "swapped", torch.Generator().manual_seed(seed))
        for i in range(3):
            (other,) = (j for j in range(3) if torch.equal(audio[i], one.audio[j]))
            assert other != i
            assert torch.equal(judged[i], mask[i] & mask[other])


def test_the_consistency_objective_learns_to_tell_true_music():
    """Music that carries the same sign as the picture; after training, true is above swapped and shifted."""
    from mlavl_cli.datasets.dataset import Routine
    from mlavl_cli.device import place
    from mlavl_cli.training.batches import Batches
    from mlavl_cli.training.evaluate import consistency_aucs

    rng = np.random.default_rng(0)

    def routines(count):
        for i in range(count):
            beat = rng.choice([-1.0, 1.0], 8)
            visual, audio = rng.normal(0, 0.3, (8, 24)), rng.normal(0, 0.3, (8, 20))
            visual[:, :6] += beat[:, None]
            audio[:, :6] += beat[:, None]
            yield Routine(str(i), visual.astype(np.float32), audio.astype(np.float32), {"X": float(i % 2)})

    train, test = (Batches(list(routines(n)), "X", (0.0, 1.0), 32) for n in (256, 48))
    torch.manual_seed(0)
    model, cpu = MLAVL(head().dims, torch.randn(28, 12)), place("cpu", "fp32")
    before = consistency_aucs(model, test, cpu)
    assert 0.2 < before["swapped_routine"] < 0.8
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(8):
        generator = torch.Generator().manual_seed(epoch)
        model.train()
        for one in train.shuffled(generator):
            weights = LossWeights(mse=0.1, triplet=0.0, cross_entropy=0.0, consistency=1.0)
            loss = sum(model.loss(model(one.visual, one.audio), one, weights, generator).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    after = consistency_aucs(model, test, cpu)
    assert after["swapped_routine"] > 0.95
    assert after["shifted_routine"] > 0.95
