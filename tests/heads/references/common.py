"""Building blocks of the references: attention, TOK, ENC, DEC, GRADE, HTL."""

import math

import torch
import torch.nn.functional as F


def linear(state, name, x):
    """(..., n) -> (..., m); takes weights of k1 convolutions too; a bias if there is one."""
    y = torch.matmul(x, state[f"{name}.weight"].flatten(1).T)
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def layer_norm(state, name, x):
    """Over the last axis."""
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def batch_norm(state, name, x):
    """Eval mode, channels last."""
    scale = state[f"{name}.weight"] / torch.sqrt(state[f"{name}.running_var"] + 1e-5)
    return (x - state[f"{name}.running_mean"]) * scale + state[f"{name}.bias"]


def tok(state, name, x):
    """TOK: (B, T, D) -> (B, T, d)."""
    x = torch.relu(batch_norm(state, f"{name}.1", linear(state, f"{name}.0", x)))
    return batch_norm(state, f"{name}.4", linear(state, f"{name}.3", x))


def attention(state, name, query, key, value, heads):
    """Multi-head attention, batch first: (B, Q, d), (B, T, d), (B, T, d) -> (B, Q, d)."""
    weights, biases = state[f"{name}.in_proj_weight"].chunk(3), state[f"{name}.in_proj_bias"].chunk(3)
    q, k, v = (
        (x @ w.T + b).unflatten(-1, (heads, -1)).transpose(1, 2)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    shares = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1)
    return linear(state, f"{name}.out_proj", (shares @ v).transpose(1, 2).flatten(2))


def feed_forward(state, name, x):
    """linear1, ReLU, linear2."""
    return linear(state, f"{name}.linear2", torch.relu(linear(state, f"{name}.linear1", x)))


def layers_of(state, name):
    """Number of layers name.layers.0, name.layers.1, ..."""
    return len({key.split(".layers.")[1].split(".")[0] for key in state if key.startswith(f"{name}.layers.")})


def encoder(state, name, x, heads):
    """ENC, post-norm, final norm: (B, T, d) -> (B, T, d)."""
    for layer in (f"{name}.layers.{i}" for i in range(layers_of(state, name))):
        x = layer_norm(state, f"{layer}.norm1", x + attention(state, f"{layer}.self_attn", x, x, x, heads))
        x = layer_norm(state, f"{layer}.norm2", x + feed_forward(state, layer, x))
    return layer_norm(state, f"{name}.norm", x)


def decoder(state, name, x, memory, heads):
    """DEC, post-norm, final norm: (B, Q, d), memory (B, T, d) -> (B, Q, d)."""
    for layer in (f"{name}.layers.{i}" for i in range(layers_of(state, name))):
        x = layer_norm(state, f"{layer}.norm1", x + attention(state, f"{layer}.self_attn", x, x, x, heads))
        x = layer_norm(
            state, f"{layer}.norm2", x + attention(state, f"{layer}.multihead_attn", x, memory, memory, heads)
        )
        x = layer_norm(state, f"{layer}.norm3", x + feed_forward(state, layer, x))
    return layer_norm(state, f"{name}.norm", x)


def patterns(state, visual, heads):
    """TOK, ENC, then the learned queries through DEC: (B, T, D) -> q (B, n, d)."""
    memory = encoder(state, "transformer.encoder", tok(state, "in_proj", visual), heads)
    queries = state["prototype.weight"].expand(len(visual), -1, -1)
    return decoder(state, "transformer.decoder", queries, memory, heads)


def shares(state, name, q):
    """Diagonal of the readout, sigmoid, divided by the sum: (B, n, d) -> (B, n)."""
    p = torch.sigmoid((q * state[f"{name}.weight"]).sum(-1) + state[f"{name}.bias"])
    return p / p.sum(-1, keepdim=True)


def hardest_triplet(vectors, labels, margin=1.0):
    """Vectors (N, d), labels (N,): mean hinge of farthest of a label - nearest of another + margin, cosine distance."""
    unit = F.normalize(vectors, dim=-1)
    distance = 1 - unit @ unit.T
    same = labels[:, None] == labels[None, :]
    others = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    farthest = distance.masked_fill(~others, 0.0).amax(1)  # 0 if there is none
    nearest = distance.masked_fill(same, float("inf")).amin(1)
    return torch.relu(farthest - nearest + margin).mean()


def grade_triplet(q, margin=1.0):
    """HTL of q (B, n, d), label = grade."""
    return hardest_triplet(q.flatten(0, 1), torch.arange(q.shape[1], device=q.device).repeat(len(q)), margin)
