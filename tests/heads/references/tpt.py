"""TPT: a decoder parses the clips into ordered parts, compared one by one with an exemplar's.

Readings: `temp` is (1,); norm1 follows the cross-attention, norm2 the feed-forward, norm3 the self-attention; the
cross-attention has no output map; the logits' divisor 512 is the width; ranking hinges are summed over the K + 1 of
them and averaged over the batch; the layers' losses, and those of both routines of a pair, are added.
"""

import torch
import torch.nn.functional as F
from heads.references.common import attention, feed_forward, layer_norm, linear
from heads.references.groups import decode, over_exemplars, pair_loss
from heads.references.states import Fill

NAME = "tpt"
PARAMETERS = [({"visual": 1024}, 5.656)]


def state(visual=32, seed=0, width=512, parts=5, groups=16):
    """Random state dict under the official names (of the dict `model`)."""
    fill = Fill(seed)
    fill.normal("action_decoder.query_embed.weight", parts, width)
    for i in range(2):
        layer = f"action_decoder.layers.{i}"
        fill.normal(f"{layer}.temp", 1, std=0.2 / width**0.5, mean=1.5 / width**0.5)
        fill.linear(f"{layer}.key_embed", visual, width)
        fill.linear(f"{layer}.value_embed", visual, width)
        for name in ("query_embed", "linear1", "linear2"):
            fill.linear(f"{layer}.{name}", width, width)
        fill.norm(f"{layer}.norm1", width)
        fill.norm(f"{layer}.norm2", width)
    fill.attention("action_decoder.layers.0.self_attn", width)
    fill.norm("action_decoder.layers.0.norm3", width)
    fill.linear("pair_encoder.mlp.0", 2 * width, width, gain=2.0)
    fill.linear("pair_encoder.mlp.3", width, width, gain=3.0)
    for name in ("cls", "reg"):
        fill.linear(f"{name}.0", width, 128)
        fill.linear(f"{name}.2", 128, groups)
    for name in (
        "pair_encoder.mlp.3",
        "cls.2",
    ):  # no constant part behind a ReLU, so that routines reach different groups
        fill[f"{name}.weight"] -= fill[f"{name}.weight"].mean(1, keepdim=True)
    return dict(fill)


def file(state):
    """What the official file holds."""
    return {"model": dict(state), "backbone": {}, "optimizer": {}, "epoch": 0}


def parts(state, visual, heads=8):
    """Visual (B, T, D) -> parts (B, K, width), attention of the two layers [(B, K, T), (B, K, T)]."""
    e = state["action_decoder.query_embed.weight"]
    t = e.new_zeros(len(visual), *e.shape)
    every = []
    for i in range(2):
        layer = f"action_decoder.layers.{i}"
        key, value = linear(state, f"{layer}.key_embed", visual), linear(state, f"{layer}.value_embed", visual)
        query = linear(state, f"{layer}.query_embed", t + e)
        a = torch.softmax(query @ key.transpose(1, 2) / e.shape[1] / state[f"{layer}.temp"], -1)
        every.append(a)
        t = layer_norm(state, f"{layer}.norm1", t + a @ value)
        t = layer_norm(state, f"{layer}.norm2", t + feed_forward(state, layer, t))
        if i == 0:
            mixed = attention(state, f"{layer}.self_attn", t + e, t + e, t, heads)
            t = layer_norm(state, f"{layer}.norm3", t + mixed)
    return t, every


def compare(state, query_parts, exemplar_parts):
    """Parts (B, K, width) twice -> log-probabilities of the groups (B, 16), regression values (B, 16)."""
    x = torch.cat([exemplar_parts, query_parts], -1)
    x = linear(state, "pair_encoder.mlp.3", torch.relu(linear(state, "pair_encoder.mlp.0", x))).mean(1)
    cls, reg = (linear(state, f"{name}.2", torch.relu(linear(state, f"{name}.0", x))) for name in ("cls", "reg"))
    return F.log_softmax(cls, 1), torch.sigmoid(reg)


def outputs(state, query, exemplar, heads=8):
    """Query, exemplar (B, T, D) -> log-probabilities of the groups (B, 16), regression values (B, 16)."""
    return compare(state, parts(state, query, heads)[0], parts(state, exemplar, heads)[0])


def score(state, query, exemplar, exemplar_score, edges, heads=8):
    """One exemplar per query: score (B,) on the scale of the exemplar's score and of the edges."""
    log_p, values = outputs(state, query, exemplar, heads)
    return exemplar_score + decode(log_p, values, edges.to(values))


def mean_score(state, query, exemplars, scores, edges, heads=8):
    """K exemplars (K, T, D), scores (K,) for every query (B, T, D): (B,)."""
    return over_exemplars(score, state, query, exemplars, scores, edges, heads)


def centres(a):
    """Attention (B, K, T) -> centres (B, K), clips counted from 1."""
    return a @ torch.arange(1, a.shape[2] + 1).to(a)


def hinges(a, margin=None):
    """Attention (B, K, T) -> the K + 1 ranking hinges (B, K + 1); margin 0.8 T / K if None."""
    c, last = centres(a), a.shape[2]
    margin = 0.8 * last / a.shape[1] if margin is None else margin
    points = torch.cat([torch.ones_like(c[:, :1]), c, torch.full_like(c[:, :1], last)], 1)
    return torch.relu(points[:, :-1] + margin - points[:, 1:])


def spread(a):
    """Attention (B, K, T) -> sum_t |t - c_k| a_tk (B, K)."""
    t = torch.arange(1, a.shape[2] + 1).to(a)
    return ((t - centres(a)[:, :, None]).abs() * a).sum(-1)


def parts_loss(attentions, margin=None):
    """Ranking and sparsity, summed over the layers."""
    return sum(hinges(a, margin).sum(1).mean() + 0.05 * spread(a).mean() for a in attentions)


def loss(state, query, exemplar, delta, edges, margin=None, heads=8):
    """Loss of both orders and of the parts of both routines; delta (B,) = query score - exemplar score."""
    (q, first), (x, second) = parts(state, query, heads), parts(state, exemplar, heads)
    total = pair_loss(*compare(state, q, x), delta, edges) + pair_loss(*compare(state, x, q), -delta, edges)
    return total + parts_loss(first, margin) + parts_loss(second, margin)
