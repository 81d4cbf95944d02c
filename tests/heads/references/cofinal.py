"""CoFInAl: GDLT for the coarse part, a simplex frame for the decimals.

Readings: E_k is column k of etf_vec1; `activate` 0 and 1 flip linspace for the reversed readout; without a reversed
readout the coarse part is `int` alone; floor(10000 y) is taken in the dtype of y. The second fine linear has d inputs,
the first 256 outputs: only this agrees with 9.720 M, and it runs at d = 256 only (or with
fine = width, as in AQA-Benchmark).
"""

import math

import torch
import torch.nn.functional as F
from heads.references.common import attention, grade_triplet, hardest_triplet, linear, patterns, shares
from heads.references.states import Fill

NAME = "cofinal"
PARAMETERS = [({"visual": 1024}, 3.716), ({"visual": 1024, "width": 448}, 9.720)]
CONSTANTS = ("etf_vec1",)


def state(visual=32, seed=0, width=256, grades=4, encoders=1, decoders=2, fine=256, digits=100, reverse=True):
    """Random state dict under the official names."""
    fill = Fill(seed)
    fill.tok("in_proj", visual, width)
    fill.transformer("transformer.", width, encoders, decoders)
    fill.normal("prototype.weight", grades, width)
    fill.linear("regressor", width, grades)
    if reverse:
        fill.linear("regressor_revert", width, grades)
    fill["etf_vec1"] = simplex(digits, fill.generator)
    fill.attention("regi.0", width)
    fill.linear("regressori.0.1", grades * width, fine)
    fill.linear("regressori.0.2", width, digits)
    return dict(fill)


def simplex(size=100, generator=None):
    """E (size, size): random orthogonal (QR of uniform noise) times the centred, scaled identity; unit columns."""
    orthogonal = torch.linalg.qr(torch.rand(size, size, generator=generator, dtype=torch.float64)).Q
    centred = torch.eye(size, dtype=torch.float64) - 1 / size
    return (math.sqrt(size / (size - 1)) * orthogonal @ centred).float()


def likert(activate, grades=4):
    """Grade weights of the readouts `int` and `reverse`."""
    if activate == 2:
        return torch.tensor([0.1, 0.2, 0.8, 1.0]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    forward = torch.tensor([-1.0, -0.8, 0.8, 1.0])
    if activate < 2:
        forward = torch.linspace(0, 1, grades) if activate == 0 else torch.linspace(0, 1, grades + 1)[1:]
    return forward, forward.flip(0)


def fine(state, q, over="single", heads=4):
    """q (B, n, d) -> f (B, 100), unit length.

    over: "batch" (official code: attention among the routines of the batch), "single" (the same at batch 1), "grades".
    """
    if over == "single":
        return torch.cat([fine(state, row, "batch", heads) for row in q.split(1)])
    if over == "batch":
        q = q.transpose(0, 1)
    x = attention(state, "regi.0", q, q, q, heads)
    if over == "batch":
        x = x.transpose(0, 1)
    x = linear(state, "regressori.0.2", linear(state, "regressori.0.1", x.flatten(1)))
    return F.normalize(x, dim=1)


def outputs(state, visual, activate=2, heads=1, over="single"):
    """Visual (B, T, D) -> score, int, reverse (None without that readout), f (B, 100), digit (B,), q (B, n, d)."""
    q = patterns(state, visual, heads)
    forward, backward = (w.to(q) for w in likert(activate, q.shape[1]))
    integer, reverse = (shares(state, "regressor", q) * forward).sum(1), None
    coarse = integer
    if "regressor_revert.weight" in state:
        reverse = (shares(state, "regressor_revert", q) * backward).sum(1)
        coarse = (integer + 1 - reverse) / 2
    f = fine(state, q, over)
    digit = (f @ state["etf_vec1"]).argmax(1)
    score = coarse + digit.to(q) / 10000
    return {"score": score, "int": integer, "reverse": reverse, "f": f, "digit": digit, "q": q}


def score(state, visual, activate=2, heads=1, over="single"):
    """Visual (B, T, D) -> normalised score (B,)."""
    return outputs(state, visual, activate, heads, over)["score"]


def targets(label):
    """Normalised scores (B,) -> coarse part c (B,) in hundredths, fine digit k (B,) in 0..99."""
    n = torch.floor(10000 * label)
    return torch.floor(n / 100) / 100, torch.remainder(n, 100).long()


def loss(out, label, frame, alpha=1.0, align=1, margin=1.0):
    """MSE(int, c) + MSE(reverse, 1 - c) + mean |f - E_k| + alpha * HTL; out: of outputs(), frame: etf_vec1."""
    c, k = targets(label)
    total = ((out["int"] - c) ** 2).mean() + (out["f"] - frame[:, k].T).abs().mean()
    if out["reverse"] is not None:
        total = total + ((out["reverse"] - (1 - c)) ** 2).mean()
    q = out["q"]
    if align == 1:
        return total + alpha * grade_triplet(q, margin)
    vectors = q.flatten(0, 1)
    return total + alpha * hardest_triplet(vectors, torch.arange(len(vectors), device=q.device), margin)
