"""The losses of T2CR, without the class term of dives."""

import torch
import torch.nn.functional as F


def info_nce(dense, sparse, temperature=0.1):
    """Time means of dense (B, T, 64) against those of sparse: the own routine among the batch."""
    a, b = F.normalize(dense.mean(1), dim=-1), F.normalize(sparse.mean(1), dim=-1)
    return F.cross_entropy(a @ b.T / temperature, torch.arange(len(a)))


def soft_dtw(a, b, gamma=0.1):
    """a (B, T, C), b (B, S, C) -> (B,): soft minimum over all alignments of the squared distances."""
    cost = (a[:, :, None] - b[:, None]).square().sum(-1)
    far = cost.new_full((len(a),), float("inf"))
    best = {(i, j): far for i in range(a.shape[1] + 1) for j in range(b.shape[1] + 1) if not (i and j)}
    best[0, 0] = torch.zeros_like(far)
    for i in range(1, a.shape[1] + 1):
        for j in range(1, b.shape[1] + 1):
            before = torch.stack([best[i - 1, j], best[i, j - 1], best[i - 1, j - 1]])
            best[i, j] = cost[:, i - 1, j - 1] - gamma * torch.logsumexp(-before / gamma, 0)
    return best[a.shape[1], b.shape[1]]


def losses(out, query_score, exemplar_score):
    """Dict of terms, already weighted, from t2cr.outputs and both labels (B,); AQA-Benchmark drops "soft_dtw"."""
    z, mse = out["z"], F.mse_loss
    labels = (query_score, query_score, exemplar_score, exemplar_score)
    delta = query_score - exemplar_score
    return {
        "views": mse(z[0], z[1]) + mse(z[2], z[3]),
        "info_nce": info_nce(z[0], z[1]) + info_nce(z[2], z[3]),
        "cross": mse(out["cross"][0], delta) + mse(out["cross"][1], -delta),
        "abs": sum(mse(x, y) for x, y in zip(out["abs"], labels, strict=True)),
        "aux": sum(mse(x, y) for x, y in zip(out["aux"], labels, strict=True)),
        "self": 10 * sum(x.square().mean() for x in out["self"]),
        "soft_dtw": soft_dtw(z[0], z[2]).mean() + soft_dtw(z[1], z[3]).mean(),
    }
