"""CoRe: difference to an exemplar by a group-aware regression tree.

Readings: the first 256 of a node's 512 outputs are its left child's, the other 256 its right child's; leaf k is group
k; the losses of the two orders are computed apart and added.
"""

import torch
import torch.nn.functional as F
from heads.references.common import linear
from heads.references.groups import decode, over_exemplars, pair_loss
from heads.references.states import Fill

NAME = "core"
PARAMETERS = [({"visual": 1024}, 2.510), ({"visual": 768}, 2.379)]


def state(visual=32, seed=0, width=256, levels=4):
    """Random state dict under the official names."""
    fill = Fill(seed)
    fill.linear("first_layer.0", 2 * visual + 1, width, gain=3.0)
    fill["first_layer.0.weight"][:, -1] *= visual**0.5 / 3  # so that the exemplar's score counts
    for level in range(levels):
        fill.linear(f"feature_layers.{level}.0", width, 2 * width * 2**level, kernel=1)
        fill.linear(f"clf_layers.{level}", width, 2 * 2**level, kernel=1)
    fill.linear("reg_layer", width, 2**levels, kernel=1)
    return dict(fill)


def file(state):
    """What the official file holds."""
    return {"base_model": {}, "regressor": dict(state)}


def grouped(state, name, x):
    """One linear per node: x (B, nodes, width) -> (B, nodes, outputs)."""
    nodes = x.shape[1]
    weight = state[f"{name}.weight"].reshape(nodes, -1, x.shape[2])
    return torch.einsum("bnw,now->bno", x, weight) + state[f"{name}.bias"].reshape(nodes, -1)


def outputs(state, query, exemplar, exemplar_score, score_range=1.0):
    """Query, exemplar (B, T, D), score (B,) -> log-probabilities of the groups (B, 16), regression values (B, 16)."""
    known = exemplar_score[:, None].to(query) / score_range
    x = torch.relu(linear(state, "first_layer.0", torch.cat([exemplar.mean(1), query.mean(1), known], 1)))
    x, log_p = x[:, None], x.new_zeros(len(x), 1)
    for level in range(sum(name.startswith("clf_layers.") for name in state) // 2):
        children = F.log_softmax(grouped(state, f"clf_layers.{level}", x), -1)
        log_p = (log_p[:, :, None] + children).flatten(1)
        x = torch.relu(grouped(state, f"feature_layers.{level}.0", x)).reshape(len(x), log_p.shape[1], -1)
    return log_p, grouped(state, "reg_layer", x)[:, :, 0]


def score(state, query, exemplar, exemplar_score, edges, score_range=1.0):
    """One exemplar per query: score (B,) on the scale of the exemplar's score and of the edges."""
    log_p, values = outputs(state, query, exemplar, exemplar_score, score_range)
    return exemplar_score + decode(log_p, values, edges.to(values))


def mean_score(state, query, exemplars, scores, edges, score_range=1.0):
    """K exemplars (K, T, D), scores (K,) for every query (B, T, D): (B,)."""
    return over_exemplars(score, state, query, exemplars, scores, edges, score_range)


def loss(state, query, exemplar, query_score, exemplar_score, edges, score_range=1.0):
    """Loss of both orders."""
    delta = query_score - exemplar_score
    there = outputs(state, query, exemplar, exemplar_score, score_range)
    back = outputs(state, exemplar, query, query_score, score_range)
    return pair_loss(*there, delta, edges) + pair_loss(*back, -delta, edges)
