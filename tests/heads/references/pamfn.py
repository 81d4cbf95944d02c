"""PAMFN: three unimodal branches and a progressive fusion with a stopping policy.

Readings: a branch's block adds its input after the second GELU; pooling floors an odd T; c is stored as (768,) and tau
as (1,); in the cross part both signs are as written: the query is minus the convolution and its attention is negated
again; candidates are pooled by means. So that every part shows in the score, `state` draws c at random (the published
value is zero) and tilts the policies towards later candidates.
"""

import torch
import torch.nn.functional as F
from heads.references.layers import Weights, batch_norm, conv, convs, linear

NAME = "pamfn"
PARAMETERS = [({"visual": 1024}, 17.96)]
FUSION_MILLIONS = 12.56
CONSTANTS = ("c",)


def state(visual=32, seed=0, flow=1024, audio=768, candidates=6, reduction=2, width=256):
    """flow=None leaves the flow branch out ("PAMFN-AV")."""
    w = Weights(seed)
    branches = [(name, n) for name, n in (("r", visual), ("f", flow), ("a", audio)) if n]
    count = len(branches)
    for letter, inputs in branches:
        name = f"model_{letter}"
        w.convs(f"{name}.embedding", inputs, 2 * width, width)
        for part in (f"{name}.stage{s}.conv{n}" for s in (1, 2, 3) for n in (1, 2)):
            w.conv(f"{part}.0", width, width, 3)
            w.batch_norm(f"{part}.1", width)
        w.conv(f"{name}.fc.1", width, 1)
    w.draw("c", 3 * width)
    w["tau"] = torch.tensor([10.0])
    for at in ("stage1", "stage2", "stage3"):
        w.convs(f"{at}.conv", 3 * width, width, width, kernels=(3, 3))
        w.conv(f"{at}.short_cut.0", 3 * width, width)
        w.batch_norm(f"{at}.short_cut.1", width)
        for fusion in (f"{at}.s_fusion.fusion_s", f"{at}.f_fusion.fusion_f"):
            for number in range(3):
                w.linear(f"{fusion}.linear_layers.{number}", width, width, gain=0.7)
            w.layer_norm(f"{fusion}.norm", width)
        w.conv(f"{at}.s_fusion.proj.0", width, width)
        for number in range(count):
            w.conv(f"{at}.f_fusion.proj1.{number}.0", width, width)
            w.batch_norm(f"{at}.f_fusion.proj1.{number}.1", width)
            w.conv(f"{at}.f_fusion.proj1.{number}.3", width, candidates)
        for number in range(candidates):
            w.convs(f"{at}.f_fusion.ffn.{number}", width, width, width, kernels=(3, 3))
        w.conv(f"{at}.f_fusion.proj2.0", 2 * width, width)
        w.conv(f"{at}.f_fusion.policy.0", count * width, candidates)
        w[f"{at}.f_fusion.policy.0.bias"] += torch.linspace(-2, 2, candidates)
    w.conv("fc.1", 3 * width, width // reduction)
    w.batch_norm("fc.2", width // reduction)
    w.conv("fc.5", width // reduction, 1, gain=0.7)
    return dict(w)


def pool(x, globally):
    return x.mean(-1, keepdim=True) if globally else F.avg_pool1d(x, 2)


def branch(state, name, x):
    """(B, T, D) -> the levels x (B, 256, T), x1 (T/2), x2 (T/4), x3 (1)."""
    levels = [F.relu(convs(state, f"{name}.embedding", x.mT))]
    for stage in (1, 2, 3):
        x = levels[-1]
        for part in (f"{name}.stage{stage}.conv1", f"{name}.stage{stage}.conv2"):
            x = F.gelu(batch_norm(state, f"{part}.1", conv(state, f"{part}.0", x)))
        levels.append(pool(levels[-1] + x, stage == 3))
    return levels


def branch_score(state, letter, x):
    """Score (B,) of one branch alone (stage A): letter r, f or a, x (B, T, D)."""
    return torch.sigmoid(conv(state, f"model_{letter}.fc.1", branch(state, f"model_{letter}", x)[3])[:, 0, 0])


def negated_attention(state, name, query, items, allowed=None):
    """query (B, d, T), items (B, n, d, T), allowed (B, T, n) -> (B, d, T), at each time step on its own."""
    query, items = query.mT[:, :, None], items.permute(0, 3, 1, 2)
    q, k, v = (linear(state, f"{name}.linear_layers.{i}", x) for i, x in enumerate((query, items, items)))
    logits = -(q * k).sum(-1) / q.shape[-1] ** 0.5
    if allowed is not None:
        logits = logits.masked_fill(~allowed, float("-inf"))
    return (torch.softmax(logits, -1)[..., None] * v).sum(2).mT


def policy(state, stage, f, noise=None):
    """f: levels of the branches; noise (B, K, T') -> last allowed candidate k* (B, T') at each coarser step."""
    logits = pool(conv(state, f"stage{stage}.f_fusion.policy.0", torch.cat(f, 1)), stage == 3)
    return (logits if noise is None else logits + noise).argmax(1)


def cross_part(state, stage, c, s, f, noise):
    at = f"stage{stage}.f_fusion"
    weights = []
    for number, x in enumerate(f):
        x = F.relu(batch_norm(state, f"{at}.proj1.{number}.1", conv(state, f"{at}.proj1.{number}.0", x)))
        weights.append(conv(state, f"{at}.proj1.{number}.3", x))
    weights = torch.softmax(torch.stack(weights), 0)
    candidates = []
    for k in range(weights.shape[2]):
        x = sum(w[:, k : k + 1] * x for w, x in zip(weights, f, strict=True))
        candidates.append(pool(x + F.relu(convs(state, f"{at}.ffn.{k}", x)), stage == 3))
    allowed = torch.arange(len(candidates)) <= policy(state, stage, f, noise)[..., None]
    query = -conv(state, f"{at}.proj2.0", torch.cat([c, s], 1))
    return negated_attention(state, f"{at}.fusion_f", query, torch.stack(candidates, 1), allowed)


def score(state, visual, flow, audio, gumbel=None):
    """(B, T, D) each, flow None without a flow branch -> (B,) in 0..1.

    gumbel is the policies' noise, (B, K, T') for each stage; None takes the arg-max. tau, a common factor, cannot
    change the choice.
    """
    inputs = {"r": visual, "f": flow, "a": audio}
    levels = [branch(state, f"model_{k}", x) for k, x in inputs.items() if x is not None]
    c = state["c"].expand(len(visual), -1)[..., None].expand(-1, -1, levels[0][1].shape[-1])
    for stage in (1, 2, 3):
        f, m = [x[stage - 1] for x in levels], [x[stage] for x in levels]
        at = f"stage{stage}"
        short = F.relu(batch_norm(state, f"{at}.short_cut.1", conv(state, f"{at}.short_cut.0", c)))
        c = F.relu(convs(state, f"{at}.conv", c)) + short
        query = conv(state, f"{at}.s_fusion.proj.0", c)
        s = negated_attention(state, f"{at}.s_fusion.fusion_s", query, torch.stack(m, 1))
        c = torch.cat([c, s, cross_part(state, stage, c, s, f, None if gumbel is None else gumbel[stage - 1])], 1)
        c = pool(c, stage == 2) if stage < 3 else c
    c = F.relu(batch_norm(state, "fc.2", conv(state, "fc.1", c)))
    return torch.sigmoid(conv(state, "fc.5", c)[:, 0, 0])
