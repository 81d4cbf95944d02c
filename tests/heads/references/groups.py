"""G16: the 16 groups of score differences used by CoRe and TPT, their decoding and their loss.

Reading: "all training pairs" are the pairs i < j. A difference that falls in no group has class 0 in the NLL and no
leaf in the regression.
"""

import torch


def edges(labels, score_range, groups=8):
    """Training scores (N,) -> 2 groups + 1 edges in ascending order; group k lies between edges k and k + 1."""
    labels = torch.as_tensor(labels, dtype=torch.float64)
    first, second = torch.triu_indices(len(labels), len(labels), 1)
    differences = (labels[first] - labels[second]).abs().sort().values
    positive = torch.stack([differences[int(i / groups * (len(differences) - 1))] for i in range(groups + 1)])
    positive[0], positive[-1] = 0.0, float(score_range)
    return torch.cat([-positive[1:].flip(0), positive])


def members(delta, edges):
    """Differences (N,) -> membership (N, 16): left <= delta < right, for negative ones left < delta <= right."""
    delta, left, right = delta[:, None], edges[:-1], edges[1:]
    half = len(left) // 2
    upper = torch.arange(len(left), device=delta.device) >= half
    positive = (delta >= 0) & upper & (left <= delta) & (delta < right)
    negative = (delta < 0) & ~upper & (left < delta) & (delta <= right)
    return positive | negative


def group_of(delta, edges, clamp=False):
    """Differences (N,) -> groups (N,); none: official 0, with clamp the outermost group of that sign."""
    member = members(delta, edges)
    group = member.int().argmax(1)
    if clamp:
        outermost = torch.where(delta >= 0, len(edges) - 2, 0)
        group = torch.where(member.any(1), group, outermost)
    return group


def position(delta, edges, group):
    """In-group target (N,): (delta - left) / width, or delta - left if the width is 0."""
    left, width = edges[group], edges[group + 1] - edges[group]
    return (delta - left) / torch.where(width == 0, torch.ones_like(width), width)


def decode(log_p, values, edges):
    """Group log-probabilities (B, 16) and regression values (B, 16) -> difference (B,)."""
    group = log_p.argmax(1)
    value = values.gather(1, group[:, None])[:, 0]
    return edges[group] + (edges[group + 1] - edges[group]) * value


def pair_loss(log_p, values, delta, edges, clamp=False):
    """One order: NLL of the group + sum over groups of the MSE of the position among that group's samples.

    delta (B,) = score of the query - score of the exemplar. Training adds the losses of both orders.
    """
    group = group_of(delta, edges, clamp)
    total = -log_p.gather(1, group[:, None]).mean()
    member = members(delta, edges)
    if clamp:
        member = group[:, None] == torch.arange(len(edges) - 1, device=group.device)
    target = position(delta, edges, group)
    for k in range(member.shape[1]):
        rows = member[:, k]
        if rows.any():
            total = total + ((values[rows, k] - target[rows]) ** 2).mean()
    return total


def over_exemplars(score, state, visual, exemplars, scores, *rest, **more):
    """Mean over K exemplars (K, T, D), scores (K,), of score(state, visual, exemplar, exemplar_score, ...): (B,)."""
    size = len(visual)
    every = [
        score(state, visual, x.expand(size, *x.shape), y.expand(size), *rest, **more)
        for x, y in zip(exemplars, scores, strict=True)
    ]
    return torch.stack(every).mean(0)
