"""MCMoE: unimodal experts, soft routing, generated missing modalities, GRADE.

Readings: streams go missing after the shared encoder; the last norm of an expert and of the fusion is followed by
nothing; the KL is over softmaxes along the width, of each true stream's own expert against the routed stream, mean over
elements; the loss of generated streams is a sum over the missing ones.
"""

import math

import torch
import torch.nn.functional as F
from heads.references.layers import Weights, attention, convs, grade_score, hardest_triplet, linear, tok, transformer

NAME = "mcmoe"
PARAMETERS = [({"visual": 1024}, 9.385), ({"visual": 768}, 9.122)]
CONSTANTS = ("pos_encoder.pe",)
STREAMS = ("v", "a", "f")


def sinusoid(length, width):
    """(length, 1, width): sine on even places, cosine on odd ones, wavelengths from 2 pi to 10000 * 2 pi."""
    angle = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, None]


def state(visual=32, seed=0, audio=768, flow=1024, width=256, layers=3, grades=4, slots=136):
    w = Weights(seed)
    for name, inputs in zip(STREAMS, (visual, audio, flow), strict=True):
        w.convs(f"in_proj.{name}", inputs, inputs // 2, width)
        w.convs(f"experts.{name}", width, width // 2, width, kernels=(3, 1))
        w.attention(f"generators.{name}.cross_attn.0", width)
        w.attention(f"generators.{name}.cross_attn.1", width)
        w.linear(f"generators.{name}.gate.0", 2 * width, width)
    w.linear("router_mix.fc1", width, width // 2)
    w.linear("router_mix.fc2", width // 2, 3)
    for part in ("encoder", "decoder"):
        for layer in range(layers):
            w.transformer_layer(f"transformer.{part}.layers.{layer}", width, part == "decoder")
        w.layer_norm(f"transformer.{part}.norm", width)
    w.convs("fusion", 3 * width, 2 * width, width)
    w.draw("prototype.weight", grades, width)
    w.linear("regressor", width, grades)
    w["pos_encoder.pe"] = sinusoid(slots, width)
    return dict(w)


def generate(state, name, context, clips):
    """A missing stream (B, T, d) from the available ones, context (B, any, d)."""
    x = context.new_zeros(len(context), clips, context.shape[-1])
    for number in (0, 1):
        x = attention(state, f"generators.{name}.cross_attn.{number}", x, context, 4)
    gate = linear(state, f"generators.{name}.gate.0", torch.cat([x.mean(1), context.mean(1)], -1))
    return x * torch.sigmoid(gate)[:, None]


def expert(state, name, x):
    """(B, T, d) -> (B, T, d)."""
    return convs(state, f"experts.{name}", x.mT, F.gelu).mT


def route(state, x):
    """Sum of the three experts on x (B, T, d), weighted for each clip."""
    weights = torch.softmax(linear(state, "router_mix.fc2", F.gelu(linear(state, "router_mix.fc1", x))), -1)
    return sum(weights[..., i : i + 1] * expert(state, name, x) for i, name in enumerate(STREAMS))


def outputs(state, visual=None, audio=None, flow=None, available=STREAMS, slots=None, heads=2):
    """Dict: score (B,), patterns (B, 4, d), and by stream name true (encoded), generated (missing only), routed.

    available: names of the streams in use; an input that is not given is missing. slots (B,) are the batch slots whose
    sinusoid is added to the queries, by default 0, 1, 2, ... as in the public code.
    """
    inputs = {k: x for k, x in zip(STREAMS, (visual, audio, flow), strict=True) if x is not None}
    true = {
        k: transformer(state, "transformer.encoder", tok(state, f"in_proj.{k}", x), heads) for k, x in inputs.items()
    }
    present = {k: x for k, x in true.items() if k in available}
    context = torch.cat(list(present.values()), 1)
    clips = next(iter(present.values())).shape[1]
    generated = {k: generate(state, k, context, clips) for k in STREAMS if k not in present}
    routed = {k: route(state, x) for k, x in sorted((present | generated).items(), key=lambda i: STREAMS.index(i[0]))}
    fused = convs(state, "fusion", torch.cat(list(routed.values()), -1).mT).mT
    slots = torch.arange(len(fused)) if slots is None else slots
    queries = state["prototype.weight"] + state["pos_encoder.pe"][slots].to(fused)
    patterns = transformer(state, "transformer.decoder", queries, heads, memory=fused)
    return {
        "score": grade_score(state, patterns),
        "patterns": patterns,
        "true": true,
        "generated": generated,
        "routed": routed,
    }


def score(state, visual=None, audio=None, flow=None, available=STREAMS, slots=None, heads=2):
    """(B, T, D) each -> (B,) in 0..1; see `outputs`."""
    return outputs(state, visual, audio, flow, available, slots, heads)["score"]


def divergence(own, routed):
    """Mean over all elements of p * (log p - log q), p and q the softmaxes of own and routed (B, T, d)."""
    p, q = torch.log_softmax(own, -1), torch.log_softmax(routed, -1)
    return (p.exp() * (p - q)).mean()


def losses(state, out, label, alpha=1.0):
    """Dict of terms, already weighted, from `outputs` with all three inputs given; label (B,) in 0..1."""
    return {
        "score": 10 * F.mse_loss(out["score"], label),
        "triplet": alpha * hardest_triplet(out["patterns"], 1.0),
        "generated": sum(F.mse_loss(x, out["true"][k]) for k, x in out["generated"].items()),
        "experts": sum(divergence(expert(state, k, x), out["routed"][k]) for k, x in out["true"].items()),
    }
