"""HGCN: clip refinement, scenes, motion graph, a sampled score.

Readings: "x E" sums over the first index of the graph, (x E)_j = sum_i x_i E_ij, in all graphs; (q^T k)_ij = q_i . k_j;
C7 is also from identity; one noise value per scene; alpha, beta are (1,); C (T, T), S (7, T).
"""

import math

import torch
from heads.references.common import linear
from heads.references.states import Fill

NAME = "hgcn"
PARAMETERS = [
    ({"visual": 1024, "clips": 124}, 1.282),
    ({"visual": 1024, "clips": 68}, 1.260),
    ({"visual": 1024, "clips": 48}, 1.255),
]


def state(visual=32, seed=0, clips=124, scenes=7, shot=512, scene=256, move=128, motion=True):
    """Random state dict under the official names; motion: the motion graph is on (AQA-Benchmark), off (official)."""
    fill = Fill(seed)

    def adaptive(name, inputs, size):
        fill.normal(f"{name}.C", size, size, std=0.5)
        fill[f"{name}.C"] += torch.eye(size)
        fill.normal(f"{name}.alpha", 1, std=0.2, mean=1.0)
        fill.linear(f"{name}.conv_q", inputs, inputs // 4, kernel=1, bias=False)
        fill.linear(f"{name}.conv_k", inputs, inputs // 4, kernel=1, bias=False)

    fill.linear("shot_gen.state_gen.0", visual, visual // 4, kernel=1)
    fill.linear("shot_gen.info_trans.0", visual, shot, kernel=1)
    for name, outputs in (("shot_gcn", scene), ("trans_gcn", scenes)):
        adaptive(f"scene_gen.{name}.adp_adj", shot, clips)
        fill.linear(f"scene_gen.{name}.shot_agg.0", shot, outputs, kernel=1)
    fill.normal("scene_gen.trans_gcn.S", scenes, clips, std=0.5 / math.sqrt(clips), mean=1 / clips)
    fill.normal("scene_gen.trans_gcn.alpha", 1, std=0.2 / clips, mean=1 / clips)
    if motion:
        adaptive("mot_agg.adp_A", scene, scenes)
    fill.linear("mot_agg.mot_agg.0", scene, move, kernel=1)
    fill.linear("fc2_mean", move, 1, kernel=1, gain=0.5)
    fill.linear("fc2_logvar", move, 1, kernel=1, gain=0.5)
    return dict(fill)


def band(size, width):
    """(size, size): 1 where |i - j| < width."""
    index = torch.arange(size)
    return ((index[:, None] - index[None, :]).abs() < width).float()


def conv(state, name, x):
    """k1 convolution of (B, C, T)."""
    return linear(state, name, x.transpose(1, 2)).transpose(1, 2)


def refinement(state, x):
    """x (B, D, T) -> E (B, T, T): (tanh differences of the states, mean over channels, + identity) times the band."""
    s = torch.relu(conv(state, "shot_gen.state_gen.0", x))
    differences = torch.stack([torch.tanh(s[:, :, i, None] - s).mean(1) for i in range(s.shape[2])], 1)
    return (differences + torch.eye(s.shape[2]).to(x)) * band(s.shape[2], 2).to(x)


def affinity(state, name, x):
    """alpha * q^T k / sqrt(channels) of x (B, C, T): (B, T, T)."""
    q, k = conv(state, f"{name}.conv_q", x), conv(state, f"{name}.conv_k", x)
    return state[f"{name}.alpha"] * (q.transpose(1, 2) @ k) / math.sqrt(q.shape[1])


def clip_graph(state, name, x):
    """Shot or assignment graph of x (B, C, T): (B, T, T)."""
    return torch.softmax(band(x.shape[2], 3).to(x) + affinity(state, name, x) + state[f"{name}.C"], -1)


def motion_graph(state, name, x):
    """Graph of the scenes x (B, C, 7): (B, 7, 7); the triangle's zeros go through the softmax."""
    lower = torch.ones(x.shape[2], x.shape[2]).tril().to(x)
    return torch.softmax(lower * (affinity(state, name, x) + state[f"{name}.C"]), -1)


def outputs(state, visual):
    """Visual (B, T, D) -> mean and log-variance of each scene, (B, 7) and (B, 7)."""
    x = visual.transpose(1, 2)
    x = torch.relu(conv(state, "shot_gen.info_trans.0", x @ refinement(state, x)))
    shots, assigned = (
        torch.relu(conv(state, f"{name}.shot_agg.0", x @ clip_graph(state, f"{name}.adp_adj", x)))
        for name in ("scene_gen.shot_gcn", "scene_gen.trans_gcn")
    )
    assigned = state["scene_gen.trans_gcn.S"] + state["scene_gen.trans_gcn.alpha"] * assigned
    scenes = shots @ assigned.transpose(1, 2)
    if "mot_agg.adp_A.C" in state:
        scenes = scenes @ motion_graph(state, "mot_agg.adp_A", scenes)
    moves = torch.relu(conv(state, "mot_agg.mot_agg.0", scenes))
    return conv(state, "fc2_mean", moves)[:, 0], conv(state, "fc2_logvar", moves)[:, 0]


def score(state, visual, noise=None):
    """Visual (B, T, D), noise (B, 7) from N(0, 1) (None: zeros, the careful score) -> score (B,)."""
    mean, log_variance = outputs(state, visual)
    if noise is None:
        return mean.sum(1)
    return (mean + torch.exp(log_variance / 2) * noise).sum(1)


def loss(score, label, benchmark=False):
    """Squared error of the sampled score: summed (official) or averaged (AQA-Benchmark)."""
    errors = (score - label) ** 2
    return errors.mean() if benchmark else errors.sum()
