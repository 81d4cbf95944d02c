"""MLP-Mixer (Skating-Mixer): a recurrent token mixer read in both directions.

Readings: with lengths, the backward pass reads a routine's own clips last to first and its padding after them, its
outputs are kept newest first and cut to the length (only this order loses the last clips, as item 7 says); the output
Linear 512-512 is hidden_linear, on the cls position.
"""

import torch
import torch.nn.functional as F
from heads.references.layers import Weights, layer_norm, linear

NAME = "mlp-mixer"
PARAMETERS = [({"visual": 768}, 4.868), ({"visual": 768, "tokens": 1}, 4.863)]
CONSTANTS = ()
BLOCKS = 2


def state(visual=32, seed=0, tokens=15, width=512):
    """tokens: K visual tokens a clip; visual and audio features have one width."""
    w = Weights(seed)
    count = tokens + 3
    w.draw("hidden_state", 1, width)
    w.draw("cls_token", 1, width)
    w.linear("linear1", visual, width)
    for at in (f"linear_forward.{block}" for block in range(BLOCKS)):
        w.layer_norm(f"{at}.0.norm", width)
        w.conv(f"{at}.0.fn.0", count, 4 * count)
        w.conv(f"{at}.0.fn.3", 4 * count, count)
        w.layer_norm(f"{at}.1.norm", width)
        w.linear(f"{at}.1.fn.0", width, 4 * width)
        w.linear(f"{at}.1.fn.3", 4 * width, width)
    w.layer_norm("layer_norm", width)
    w.linear("hidden_linear", width, width)
    w.linear("output.linear", width, 1)
    return dict(w)


def mix(state, x):
    """Two mixer blocks on the tokens of one clip, x (B, K+3, 512)."""
    for at in (f"linear_forward.{block}" for block in range(BLOCKS)):
        y = layer_norm(state, f"{at}.0.norm", x)
        y = F.gelu(F.conv1d(y, state[f"{at}.0.fn.0.weight"], state[f"{at}.0.fn.0.bias"]))
        x = x + F.conv1d(y, state[f"{at}.0.fn.3.weight"], state[f"{at}.0.fn.3.bias"])
        y = F.gelu(linear(state, f"{at}.1.fn.0", layer_norm(state, f"{at}.1.norm", x)))
        x = x + linear(state, f"{at}.1.fn.3", y)
    return x


def read(state, tokens, backward=False):
    """tokens (B, T, 1+K, 512) in reading order -> clip outputs (B, T, 512) in reading order."""
    memory, cls = (state[name].expand(len(tokens), 1, -1) for name in ("hidden_state", "cls_token"))
    out = []
    for clip in tokens.unbind(1):
        x = mix(state, torch.cat([cls, clip, memory] if backward else [memory, clip, cls], 1))
        memory, last = (x[:, -1:], x[:, 0]) if backward else (x[:, :1], x[:, -1])
        out.append(linear(state, "hidden_linear", last))
    return torch.stack(out, 1)


def score(state, visual, audio, lengths=None):
    """visual (B, T, K, D) or (B, T, D), audio (B, T, D), lengths (B,) or None (all T) -> (B,) in points.

    Rows behind a routine's length are taken as zeros, as the public loader pads.
    """
    visual = visual[:, :, None] if visual.dim() == 3 else visual
    tokens = torch.cat([audio[:, :, None], visual], 2)
    clips = tokens.shape[1]
    lengths = [clips] * len(tokens) if lengths is None else [int(n) for n in lengths]
    reverse = torch.zeros_like(tokens)
    for row, length in enumerate(lengths):
        reverse[row, :length] = tokens[row, :length].flip(0)
    forward = read(state, linear(state, "linear1", tokens))
    backward = read(state, linear(state, "linear1", reverse), backward=True).flip(1)
    means = [(f[:n].mean(0) + b[:n].mean(0)) / 2 for f, b, n in zip(forward, backward, lengths, strict=True)]
    return linear(state, "output.linear", torch.stack(means))[:, 0]
