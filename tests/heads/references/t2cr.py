"""T2CR: dense and sparse views, target-aware attention, contrast inside and across routines.

Readings: names are flat with the dict in front ("taa.fc1.weight"), without the I3D base_model; the shapes of the unused
taa.mlp and taa.ca are not stated, they are left out; the gates over time have no biases (keyword gate_bias), the gate
over D has one and stacks max before mean; k3 convolutions keep the length; InfoNCE is a cross entropy over cosines with
the dense views as anchors; soft-DTW has squared Euclidean costs, mean over the batch; "MSE of 4" is a sum of 4.
"""

import torch
import torch.nn.functional as F
from heads.references.layers import Weights, conv, convs, layer_norm, linear

NAME = "t2cr"
PARAMETERS = [({"visual": 1024}, 0.619)]
CONSTANTS = ()
HEADS = 8


def state(visual=32, seed=0, clips=10, sparse=None, width=64, hidden=256, reduction=10, classes=58, gate_bias=False):
    """sparse: clips of the sparse view; None is 8 for the published 10 clips and T // 2 otherwise."""
    w = Weights(seed)
    sparse = sparse or (8 if clips == 10 else clips // 2)
    w.linear("taa.selayer.fc.0", visual, visual // 16, bias=False)
    w.linear("taa.selayer.fc.2", visual // 16, visual, bias=False)
    w.convs("taa.inconv.conv", sparse, clips, clips, kernels=(3, 3))
    w.conv("taa.cbam.ca.se.0", clips, clips // reduction, bias=gate_bias)
    w.conv("taa.cbam.ca.se.2", clips // reduction, clips, bias=gate_bias)
    w.conv("taa.cbam.sa.conv", 2, 1, 3)
    w.linear("taa.fc1", visual, hidden)
    w.linear("taa.fc2", hidden, width)
    w.linear("taa.fc_score", width, 1)
    w.linear("taa.fc_class", width, classes)
    for name in (f"decoder.model.{number}" for number in range(3)):
        for norm in ("norm_q", "norm_v", "norm2"):
            w.layer_norm(f"{name}.{norm}", width)
        for part in ("q_map", "k_map", "v_map"):
            w.linear(f"{name}.attn.{part}", width, width, bias=False)
        w.linear(f"{name}.attn.proj", width, width)
        w.linear(f"{name}.mlp.fc1", width, 4 * width)
        w.linear(f"{name}.mlp.fc2", 4 * width, width)
    for part, outputs in (("fc_i", 1), ("fc_k", width), ("fc_v", width), ("fc_o", width)):
        w.linear(f"decoder.sa.{part}", width, outputs)
    w.conv("decoder.conv1", clips, clips)
    w.conv("decoder.conv2", clips, clips)
    w.linear("regressor.layer1", width, hidden)
    w.linear("regressor.layer2", hidden, width)
    w.linear("regressor.layer3", width, 1)
    w.linear("regressor.selayer.fc.0", width, width // 16, bias=False)
    w.linear("regressor.selayer.fc.2", width // 16, width, bias=False)
    return dict(w)


def squeeze_excite(state, name, x):
    """x (B, N, C) times a gate over C made of the mean over N."""
    gate = linear(state, f"{name}.fc.2", F.relu(linear(state, f"{name}.fc.0", x.mean(1, keepdim=True))))
    return x * torch.sigmoid(gate)


def encode(state, x, sparse=False):
    """Step (1) for the sparse view, (2) to (4): (B, T or sparse, D) -> z (B, T, 64)."""
    if sparse:
        x = F.relu(convs(state, "taa.inconv.conv", x))
    x = squeeze_excite(state, "taa.selayer", x)
    pools = [F.relu(conv(state, "taa.cbam.ca.se.0", p)) for p in (x.amax(-1, keepdim=True), x.mean(-1, keepdim=True))]
    gated = x * torch.sigmoid(sum(conv(state, "taa.cbam.ca.se.2", p) for p in pools))
    over_time = torch.stack([gated.amax(1), gated.mean(1)], 1)
    x = x + gated * torch.sigmoid(conv(state, "taa.cbam.sa.conv", over_time))
    return F.relu(linear(state, "taa.fc2", F.relu(linear(state, "taa.fc1", x))))


def separable_attention(state, x):
    context = torch.softmax(linear(state, "decoder.sa.fc_i", x), 1) * linear(state, "decoder.sa.fc_k", x)
    return x + linear(state, "decoder.sa.fc_o", linear(state, "decoder.sa.fc_v", x) * context.sum(1, keepdim=True))


def decoder(state, q, v):
    """q, v (B, T, 64) or (B, 2T, 64), dense before sparse -> q's shape."""
    clips = len(state["decoder.conv1.weight"])
    if q.shape[1] == clips:
        q, v = conv(state, "decoder.conv1", q), conv(state, "decoder.conv2", v)
    else:
        q, v = (
            torch.cat([conv(state, "decoder.conv1", x[:, :clips]), conv(state, "decoder.conv2", x[:, clips:])], 1)
            for x in (q, v)
        )
    q, v = separable_attention(state, q), separable_attention(state, v)
    for at in (f"decoder.model.{number}" for number in range(3)):
        memory = layer_norm(state, f"{at}.norm_v", v)
        inputs = (layer_norm(state, f"{at}.norm_q", q), memory, memory)
        a, k, x = (
            linear(state, f"{at}.attn.{part}_map", i).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part, i in zip("qkv", inputs, strict=True)
        )
        x = torch.softmax(a @ k.mT / a.shape[-1] ** 0.5, -1) @ x
        q = q + linear(state, f"{at}.attn.proj", x.transpose(1, 2).flatten(2))
        y = F.gelu(linear(state, f"{at}.mlp.fc1", layer_norm(state, f"{at}.norm2", q)))
        q = q + linear(state, f"{at}.mlp.fc2", y)
    return q


def regressor(state, x):
    """(B, N, 64) -> (B,)."""
    x = F.relu(linear(state, "regressor.layer2", F.relu(linear(state, "regressor.layer1", x))))
    return linear(state, "regressor.layer3", squeeze_excite(state, "regressor.selayer", x)).mean((1, 2))


def outputs(state, query, exemplar, query_sparse=None, exemplar_sparse=None):
    """Dict of lists; video 1 is the query, 2 the exemplar.

    z (B, T, 64) of dense 1, sparse 1, dense 2, sparse 2; all others (B,): abs and aux as z, cross 1-2 and 2-1,
    self 1 and 2.
    """
    views = []
    for dense, sparse in ((query, query_sparse), (exemplar, exemplar_sparse)):
        sparse = dense[:, ::2][:, : dense.shape[1] // 2] if sparse is None else sparse
        views += [encode(state, dense), encode(state, sparse, sparse=True)]
    one, two = torch.cat(views[:2], 1), torch.cat(views[2:], 1)
    return {
        "z": views,
        "cross": [regressor(state, decoder(state, a, b)) for a, b in ((one, two), (two, one))],
        "self": [regressor(state, decoder(state, *views[i : i + 2])) for i in (0, 2)],
        "abs": [regressor(state, z) for z in views],
        "aux": [linear(state, "taa.fc_score", z).mean((1, 2)) for z in views],
    }


def score(state, query, exemplar, exemplar_score, query_sparse=None, exemplar_sparse=None):
    """(B, T, D) twice, (B,) points -> (B,) points for this exemplar."""
    out = outputs(state, query, exemplar, query_sparse, exemplar_sparse)
    return (out["cross"][0] + exemplar_score + out["abs"][0]) / 2
