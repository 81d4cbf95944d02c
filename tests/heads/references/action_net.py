"""ACTION-NET: the dynamic stream, and both streams where stills are given.

Readings: the graph layers follow each other and have a bias (the printed count of both streams needs it), W_i applied
to A x; the concatenation is [x, output of the second graph layer]; 3.550 M counts the fixed adjacencies, 0.919 M not.
"""

import torch
import torch.nn.functional as F
from heads.references.layers import Weights, linear

NAME = "action-net"
PARAMETERS = [({"visual": 1024}, 0.919), ({"visual": 1024, "static": 2048}, 3.550)]
CONSTANTS = ("adj1", "adj2")


def adjacency(clips):
    """(T, T): exp(-|i-j|) divided by the roots of both row sums."""
    steps = torch.arange(clips)
    a = torch.exp(-(steps[:, None] - steps).abs().float())
    root = a.sum(1).sqrt()
    return a / root[:, None] / root


def state(visual=32, seed=0, clips=26, static=None, stills=80, width=256, inner=128):
    """static: width of the stills' features for both streams (2048 in the public file), None for the dynamic one."""
    w = Weights(seed)
    streams = [("d_ct", visual)] + ([("s_ct", static)] if static else [])
    w["adj1"] = adjacency(clips)
    if static:
        w["adj2"] = adjacency(stills)
    for name, inputs in streams:
        w.linear(f"{name}.embedding.0", inputs, inputs // 2)
        w.linear(f"{name}.embedding.2", inputs // 2, width)
        w.linear(f"{name}.gcn1", width, width)
        w.linear(f"{name}.gcn2", width, width)
        w.linear(f"{name}.att.0", 2 * width, inner)
        w.linear(f"{name}.att.2", inner, 1)
    w.linear("fc.0", 2 * width * len(streams), inner)
    w.linear("fc.3", inner, 1)
    return dict(w)


def stream(state, name, x, a):
    """One context-aware attention stream: x (B, T, D), a (T, T) -> (B, 512) and the weights over time (B, T)."""
    x = F.relu(linear(state, f"{name}.embedding.0", x))
    x = F.relu(linear(state, f"{name}.embedding.2", x))
    g = F.relu(linear(state, f"{name}.gcn1", a @ x))
    g = F.relu(linear(state, f"{name}.gcn2", a @ g))
    x = torch.cat([x, g], -1)
    weights = torch.softmax(linear(state, f"{name}.att.2", F.relu(linear(state, f"{name}.att.0", x))), 1)
    return (weights * x).sum(1), weights[..., 0]


def score(state, visual, stills=None):
    """(B, T, D), T as the stored adjacency -> (B,) in 0..1; stills (B, N, D_s) for both streams."""
    x = stream(state, "d_ct", visual, state["adj1"].to(visual))[0]
    if stills is not None:
        x = torch.cat([x, stream(state, "s_ct", stills, state["adj2"].to(stills))[0]], -1)
    return torch.sigmoid(linear(state, "fc.3", F.relu(linear(state, "fc.0", x)))[:, 0])
