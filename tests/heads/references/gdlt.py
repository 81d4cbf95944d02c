"""GDLT: grade queries with a Likert readout."""

import torch
from heads.references.common import grade_triplet, patterns, shares
from heads.references.states import Fill

NAME = "gdlt"
PARAMETERS = [({"visual": 1024}, 3.163), ({"visual": 768}, 2.901)]


def state(visual=32, seed=0, width=256, grades=4, encoders=1, decoders=2):
    """Random state dict under the official names."""
    fill = Fill(seed)
    fill.tok("in_proj", visual, width)
    fill.transformer("transformer.", width, encoders, decoders)
    fill.normal("prototype.weight", grades, width)
    fill.linear("regressor", width, grades)
    return dict(fill)


def likert(grades=4):
    """Worth of each grade: 0 .. 1 evenly."""
    return torch.arange(grades) / (grades - 1)


def outputs(state, visual, heads=1):
    """Visual (B, T, D) -> score (B,), q (B, n, d), p (B, n)."""
    q = patterns(state, visual, heads)
    p = shares(state, "regressor", q)
    return (p * likert(p.shape[1]).to(p)).sum(1), q, p


def score(state, visual, heads=1):
    """Visual (B, T, D) -> normalised score (B,)."""
    return outputs(state, visual, heads)[0]


def loss(score, q, label, alpha=1.0, margin=1.0):
    """MSE of normalised scores (B,) + alpha * HTL of q (B, n, d)."""
    return ((score - label) ** 2).mean() + alpha * grade_triplet(q, margin)
