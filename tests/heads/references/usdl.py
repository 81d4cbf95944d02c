"""USDL, and MUSDL with judges: a score as a soft Gaussian over bins.

Reading: the width of MUSDL's target is not stated, std is an argument.
"""

import torch
import torch.nn.functional as F
from heads.references.common import linear
from heads.references.states import Fill

NAME = "usdl"
PARAMETERS = [({"visual": 1024}, 0.308)]


def state(visual=32, seed=0, bins=None, judges=0):
    """Random state dict under the official names; judges = 7 for MUSDL (21 bins)."""
    bins = bins or (21 if judges else 101)
    fill = Fill(seed)
    for name in [f"evaluator.{k}" for k in range(judges)] or ["evaluator"]:
        fill.linear(f"{name}.layer1", visual, 256, gain=3.0)
        fill.linear(f"{name}.layer2", 256, 128)
        fill.linear(f"{name}.layer3", 128, bins)
    return dict(fill)


def file(state):
    """What the official file holds."""
    return {"i3d": {}, "evaluator": dict(state)}


def logits(state, visual, name="evaluator"):
    """Visual (B, T, D) -> (B, bins)."""
    x = visual.mean(1)
    for k in (1, 2):
        x = torch.relu(linear(state, f"{name}.layer{k}", x))
    return linear(state, f"{name}.layer3", x)


def probabilities(state, visual, name="evaluator"):
    """Visual (B, T, D) -> (B, bins)."""
    return torch.softmax(logits(state, visual, name), 1)


def score(state, visual):
    """Visual (B, T, D) -> normalised score (B,), the most probable bin."""
    p = probabilities(state, visual)
    return p.argmax(1).to(p) / (p.shape[1] - 1)


def expectation(state, visual):
    """Careful: the expected bin, normalised (B,)."""
    p = probabilities(state, visual)
    return p @ torch.arange(p.shape[1]).to(p) / (p.shape[1] - 1)


def judges_score(state, visual, difficulty):
    """MUSDL: visual (B, T, D), difficulty (B,) -> points (B,): the 3 middle ones of 7 judges, times difficulty."""
    every = [probabilities(state, visual, f"evaluator.{k}").argmax(1) for k in range(7)]
    marks = (torch.stack(every, 1) * 10 / 20).sort(1).values
    return marks[:, 2:5].sum(1) * difficulty


def target(label, bins=101, std=5.0):
    """Normalised scores (B,) -> normal density on the bins, renormalised (B, bins)."""
    x = torch.arange(bins, dtype=label.dtype, device=label.device)
    p = torch.exp(-0.5 * ((x - (bins - 1) * label[:, None]) / std) ** 2)
    return p / p.sum(1, keepdim=True)


def divergence(logits, target, reduction="mean"):
    """KL(target || prediction): mean over elements (official) or over the batch ("batchmean", AQA-Benchmark)."""
    p = F.log_softmax(logits, 1)
    terms = torch.special.xlogy(target, target) - target * p
    return terms.mean() if reduction == "mean" else terms.sum() / len(terms)
