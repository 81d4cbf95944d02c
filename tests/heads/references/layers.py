"""Random weights under given names, and plain tensor versions of the layers the methods of this folder share."""

import math

import torch
import torch.nn.functional as F

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Weights(dict):
    """A state dict that draws its own tensors: `Weights(seed).linear("fc", 8, 4)`."""

    def __init__(self, seed):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, name, *shape, std=1.0, mean=0.0):
        self[name] = mean + std * torch.randn(*shape, generator=self.generator)

    def linear(self, name, inputs, outputs, bias=True, gain=1.4):
        self.draw(f"{name}.weight", outputs, inputs, std=gain / math.sqrt(inputs))
        if bias:
            self.draw(f"{name}.bias", outputs, std=0.3)

    def conv(self, name, inputs, outputs, kernel=1, bias=True, gain=1.4):
        self.draw(f"{name}.weight", outputs, inputs, kernel, std=gain / math.sqrt(inputs * kernel))
        if bias:
            self.draw(f"{name}.bias", outputs, std=0.3)

    def layer_norm(self, name, width):
        self.draw(f"{name}.weight", width, std=0.3, mean=1.0)
        self.draw(f"{name}.bias", width, std=0.3)

    def batch_norm(self, name, width):
        self.layer_norm(name, width)
        self.draw(f"{name}.running_mean", width, std=0.3)
        self[f"{name}.running_var"] = 0.5 + 1.5 * torch.rand(width, generator=self.generator)
        self[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def convs(self, name, inputs, hidden, outputs, kernels=(1, 1), at=(0, 1, 3, 4)):
        """Conv, batch norm, activation, conv, batch norm: the numbers `at` of an nn.Sequential."""
        self.conv(f"{name}.{at[0]}", inputs, hidden, kernels[0])
        self.batch_norm(f"{name}.{at[1]}", hidden)
        self.conv(f"{name}.{at[2]}", hidden, outputs, kernels[1])
        self.batch_norm(f"{name}.{at[3]}", outputs)

    def lstm(self, name, inputs, hidden, suffix="_l0"):
        dot = name + "." if name else ""
        self.draw(f"{dot}weight_ih{suffix}", 4 * hidden, inputs, std=1 / math.sqrt(inputs))
        self.draw(f"{dot}weight_hh{suffix}", 4 * hidden, hidden, std=1 / math.sqrt(hidden))
        self.draw(f"{dot}bias_ih{suffix}", 4 * hidden, std=0.3)
        self.draw(f"{dot}bias_hh{suffix}", 4 * hidden, std=0.3)

    def attention(self, name, width):
        self.draw(f"{name}.in_proj_weight", 3 * width, width, std=1.4 / math.sqrt(width))
        self.draw(f"{name}.in_proj_bias", 3 * width, std=0.3)
        self.linear(f"{name}.out_proj", width, width)

    def transformer_layer(self, name, width, cross):
        self.attention(f"{name}.self_attn", width)
        if cross:
            self.attention(f"{name}.multihead_attn", width)
        self.linear(f"{name}.linear1", width, 3 * width)
        self.linear(f"{name}.linear2", 3 * width, width)
        for number in range(3 if cross else 2):
            self.layer_norm(f"{name}.norm{number + 1}", width)


def learned(state, constants=()):
    """Number of learned values: no running statistics, no counters, none of the named constants."""
    return sum(t.numel() for k, t in state.items() if k.split(".")[-1] not in STATISTICS and k not in constants)


def linear(state, name, x):
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def conv(state, name, x, stride=1, same=True):
    """x (B, C, T); `same` keeps T for odd kernels."""
    weight = state[f"{name}.weight"]
    return F.conv1d(x, weight, state.get(f"{name}.bias"), stride, weight.shape[-1] // 2 if same else 0)


def layer_norm(state, name, x):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def batch_norm(state, name, x):
    """x (B, C, T) or (B, C), with the running statistics."""
    s = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *s)


def convs(state, name, x, activation=F.relu):
    """Conv 0, norm 1, activation, conv 3, norm 4 on x (B, C, T)."""
    x = activation(batch_norm(state, f"{name}.1", conv(state, f"{name}.0", x)))
    return batch_norm(state, f"{name}.4", conv(state, f"{name}.3", x))


def tok(state, name, x):
    """TOK: (B, T, D) -> (B, T, d)."""
    return convs(state, name, x.mT).mT


def lstm_cell(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """One step, gates in the order input, forget, candidate, output -> h, c."""
    i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm_last(state, name, x):
    """Last output (B, h) of a one-layer LSTM over x (B, T, D), zero start."""
    weights = [state[f"{name}.{part}_l0"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    h = c = x.new_zeros(len(x), weights[1].shape[1])
    for step in x.unbind(1):
        h, c = lstm_cell(step, h, c, *weights)
    return h


def attention(state, name, query, memory, heads):
    """torch's multi-head attention with keys = values = memory: (B, Q, d), (B, T, d) -> (B, Q, d)."""
    weights, biases = state[f"{name}.in_proj_weight"].chunk(3), state[f"{name}.in_proj_bias"].chunk(3)
    q, k, v = (
        (x @ w.T + b).unflatten(-1, (heads, -1)).transpose(1, 2)
        for x, w, b in zip((query, memory, memory), weights, biases, strict=True)
    )
    a = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v
    return linear(state, f"{name}.out_proj", a.transpose(1, 2).flatten(2))


def transformer(state, name, x, heads, memory=None):
    """ENC (no memory) or DEC with all layers found under `name`: (B, Q, d) -> (B, Q, d)."""
    layer = 0
    while f"{name}.layers.{layer}.linear1.weight" in state:
        at = f"{name}.layers.{layer}"
        x = layer_norm(state, f"{at}.norm1", x + attention(state, f"{at}.self_attn", x, x, heads))
        if memory is not None:
            x = layer_norm(state, f"{at}.norm2", x + attention(state, f"{at}.multihead_attn", x, memory, heads))
        y = linear(state, f"{at}.linear2", F.relu(linear(state, f"{at}.linear1", x)))
        x = layer_norm(state, f"{at}.norm{2 if memory is None else 3}", x + y)
        layer += 1
    return layer_norm(state, f"{name}.norm", x)


def grade_score(state, patterns):
    """GRADE's readout, Likert weights 0..1: patterns (B, n, d) -> score (B,)."""
    p = torch.sigmoid((patterns * state["regressor.weight"]).sum(-1) + state["regressor.bias"])
    weights = torch.linspace(0, 1, p.shape[1]).to(p)
    return (p / p.sum(1, keepdim=True)) @ weights


def hardest_triplet(patterns, margin=1.0):
    """HTL: patterns (B, n, d), cosine distances; grade = position on the second axis."""
    count, grades = patterns.shape[:2]
    x = F.normalize(patterns.flatten(0, 1), dim=-1)
    distance = 1 - x @ x.T
    total = distance.new_zeros(())
    for a in range(count * grades):
        same = [distance[a, b] for b in range(count * grades) if b != a and b % grades == a % grades]
        other = [distance[a, b] for b in range(count * grades) if b % grades != a % grades]
        farthest = torch.stack(same).max() if same else distance.new_zeros(())
        total = total + (farthest - torch.stack(other).min() + margin).clamp(min=0)
    return total / (count * grades)
