"""MS-LSTM: self-attentive LSTM and three convolutional skip-LSTMs.

Readings: the norm of the attention is over the 128 channels (the only one that gives the printed count); the four
64-wide parts are joined as skip 1, skip 2, skip 3, attention (MERGE); weight_uh is (1, h) and bias_uh (1,).
"""

import torch
import torch.nn.functional as F
from heads.references.layers import Weights, batch_norm, conv, linear, lstm_cell, lstm_last

NAME = "ms-lstm"
PARAMETERS = [({"visual": 1024}, 2.662), ({"visual": 768}, 2.629)]
CONSTANTS = ()
KERNELS = (2, 4, 8)
MERGE = ("skip1", "skip2", "skip3", "attn")


def state(visual=32, seed=0, width=128, hidden=256, hops=50, inner=64):
    w = Weights(seed)
    w.conv("conv.0", visual, width)
    w.batch_norm("conv.2", width)
    for number, kernel in enumerate(KERNELS, 1):
        w.conv(f"scale{number}.conv.0", width, hidden, kernel)
        w.batch_norm(f"scale{number}.conv.2", hidden)
        w.lstm(f"scale{number}.lstm", hidden, hidden, suffix=".0")
        w.draw(f"scale{number}.lstm.weight_uh", 1, hidden, std=3 / hidden**0.5)
        w.draw(f"scale{number}.lstm.bias_uh", 1, std=0.3, mean=-0.5)
    w.linear("attn.linear_1", width, inner, bias=False)
    w.linear("attn.linear_2", inner, hops, bias=False, gain=3)
    w.batch_norm("attn.bn", width)
    w.lstm("lstm", width, hidden)
    for part in MERGE:
        w.linear(f"linear_{part}", hidden, inner)
    w.linear("linear_merge", 4 * inner, inner)
    w.linear("cls", inner, 1)
    return dict(w)


def skip_lstm(state, name, x, c, h):
    """Skip-LSTM over x (B, T, h) from c, h (B, h) -> last output (B, h), gates (B, T), 1 where a step is read."""
    weights = [state[f"{name}.{part}.0"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    p, u = x.new_ones(len(x), 1), x.new_zeros(len(x), 1)
    gates = []
    for step in x.unbind(1):
        new_h, new_c = lstm_cell(step, h, c, *weights)
        new_p = torch.sigmoid(new_c @ state[f"{name}.weight_uh"].T + state[f"{name}.bias_uh"])
        total = u + torch.minimum(p, 1 - u)
        g = torch.round(total)
        c, h, p = g * new_c + (1 - g) * c, g * new_h + (1 - g) * h, g * new_p + (1 - g) * p
        u = (1 - g) * total
        gates.append(g[:, 0])
    return h, torch.stack(gates, 1)


def clip_features(state, visual):
    """X (B, T, 128)."""
    return batch_norm(state, "conv.2", F.relu(conv(state, "conv.0", visual.mT))).mT


def attention(state, x):
    """A (B, T, 50), each column a softmax over T."""
    return torch.softmax(linear(state, "attn.linear_2", torch.tanh(linear(state, "attn.linear_1", x))), 1)


def branch(state, number, x, start):
    """Branch 1..3: x (B, T, 128) -> last output (B, 256) and gates (B, T')."""
    at = f"scale{number}"
    x = conv(state, f"{at}.conv.0", x.mT, stride=KERNELS[number - 1] // 2, same=False)
    return skip_lstm(state, f"{at}.lstm", batch_norm(state, f"{at}.conv.2", F.relu(x)).mT, *start)


def score(state, visual, starts=None):
    """(B, T, D) -> (B,) in points; starts (3, 2, B, 256) are c and h of the three skip-LSTMs, zero if None."""
    x = clip_features(state, visual)
    if starts is None:
        starts = x.new_zeros(3, 2, len(x), state["scale1.lstm.weight_hh.0"].shape[1])
    parts = {f"skip{n}": branch(state, n, x, starts[n - 1])[0] for n in (1, 2, 3)}
    rows = batch_norm(state, "attn.bn", x.mT @ attention(state, x)).mT
    parts["attn"] = lstm_last(state, "lstm", rows)
    joined = torch.cat([F.relu(linear(state, f"linear_{part}", parts[part])) for part in MERGE], -1)
    return linear(state, "cls", F.relu(linear(state, "linear_merge", joined)))[:, 0]


def attention_penalty(a):
    """||A^T A - I||^2 summed over the batch, divided by B; a (B, T, 50)."""
    gap = a.mT @ a - torch.eye(a.shape[-1]).to(a)
    return gap.square().sum() / len(a)


def loss(predicted, a, label):
    """Predicted and label (B,) in points, a (B, T, 50)."""
    return F.mse_loss(predicted, label) + attention_penalty(a)
