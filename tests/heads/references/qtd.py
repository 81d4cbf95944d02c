"""QTD: as many queries as clips, self- and cross-attention made to agree.

Readings: the queries are the decoder's first x; x = u + drop(u) is 2 u in eval mode; norm1, 2, 3 go before
self-attention, cross-attention, feed-forward; "cross outputs" and "self outputs" are the attentions' own outputs
(before the residual sum); pos_encoder.pe is (Q, 1, D).
"""

import math

import torch
import torch.nn.functional as F
from heads.references.common import attention, feed_forward, layer_norm, linear
from heads.references.states import Fill

NAME = "qtd"
PARAMETERS = [({"visual": 1024, "clips": 136}, 22.46)]
CONSTANTS = ("pos_encoder.pe",)


def state(visual=32, seed=0, clips=136, hidden=1024):
    """Random state dict; names are those of the official dicts `neck` and `head` with that word in front."""
    fill = Fill(seed)
    fill.transformer("neck.", visual, 0, 2, hidden=hidden)
    fill.normal("neck.query_embed.weight", clips, visual)
    fill["neck.pos_encoder.pe"] = sinusoid(clips, visual)[:, None]
    for name in ("mean", "weight"):
        fill.linear(f"head.layer1_{name}", visual, 512)
        fill.linear(f"head.layer2_{name}", 512, 256)
        fill.linear(f"head.layer3_{name}", 256, 1)
    return dict(fill)


def file(state, prefix="module."):
    """What the official file holds: dicts with module. prefixes."""
    parts = {"backbone": {}, "neck": {}, "head": {}}
    for name, value in state.items():
        part, rest = name.split(".", 1)
        parts[part][prefix + rest] = value
    return parts


def sinusoid(length, width):
    """(length, width): sine in even columns, cosine in odd ones."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    angle = position * torch.exp(-math.log(10000.0) * torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width].float()


def outputs(state, visual, queries=None, heads=4):
    """Visual (B, T, D) -> score (B,), weights (B, Q), clip scores (B, Q), self and cross outputs [(B, Q, D)] * 2.

    queries (B, Q, D): the noise N(0, query_var^2) of this call; None: the learned queries (query_var = 1).
    """
    if queries is None:
        queries = state["neck.query_embed.weight"].expand(len(visual), -1, -1)
    x = queries
    pos = state["neck.pos_encoder.pe"].reshape(-1, x.shape[2])[: x.shape[1]] + queries[0]
    selfs, crosses = [], []
    for layer in ("neck.decoder.layers.0", "neck.decoder.layers.1"):
        y = layer_norm(state, f"{layer}.norm1", x)
        u = attention(state, f"{layer}.self_attn", y + pos, y + pos, y, heads)
        x = u + u
        y = layer_norm(state, f"{layer}.norm2", x)
        v = attention(state, f"{layer}.multihead_attn", y + pos, visual, visual, heads)
        x = x + v
        x = x + feed_forward(state, layer, layer_norm(state, f"{layer}.norm3", x))
        selfs.append(u)
        crosses.append(v)
    x = layer_norm(state, "neck.decoder.norm", x)
    scores, weights = (readout(state, name, x) for name in ("mean", "weight"))
    weights = torch.softmax(weights, 1)
    total = (weights * scores).sum(1)
    return {"score": total, "weights": weights, "clip_scores": scores, "self": selfs, "cross": crosses}


def readout(state, name, x):
    """MLP on each query: (B, Q, D) -> (B, Q)."""
    for k in (1, 2):
        x = torch.relu(linear(state, f"head.layer{k}_{name}", x))
    return linear(state, f"head.layer3_{name}", x)[..., 0]


def score(state, visual, queries=None, heads=4):
    """Visual (B, T, D), queries (B, Q, D) -> normalised score (B,)."""
    return outputs(state, visual, queries, heads)["score"]


def agreement(selfs, crosses):
    """Sum over layers, routines, rows of KL(softmax(X X^T / D) of the cross outputs || same of the self outputs)."""
    total = 0.0
    for u, v in zip(selfs, crosses, strict=True):
        log_self, log_cross = (F.log_softmax(x @ x.transpose(1, 2) / x.shape[2], -1) for x in (u, v))
        total = total + (log_cross.exp() * (log_cross - log_self)).sum()
    return total


def loss(out, label, noise=None):
    """MSE (noise (B,), N(0, 0.05^2), added to the prediction on Fis-V and RG) + agreement; out: of outputs()."""
    predicted = out["score"] if noise is None else out["score"] + noise
    return ((predicted - label) ** 2).mean() + agreement(out["self"], out["cross"])
