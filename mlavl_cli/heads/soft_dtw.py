"""Soft dynamic time warping (Cuturi & Blondel, ICML 2017), by anti-diagonals of its table."""

import torch


def soft_dtw(one: torch.Tensor, other: torch.Tensor, gamma: float = 0.1) -> torch.Tensor:
    """(B, n, d) and (B, m, d) -> (B,): the soft minimum over alignments of the sum of squared distances."""
    cost = torch.cdist(one, other).square()  # (B, n, m)
    batch, n, m = cost.shape
    far = cost.new_full((batch, n + 1), torch.inf)
    before, last = far.clone(), far.clone()
    before[:, 0] = 0  # r[0, 0], alone on the diagonal of i + j = 0
    for total in range(2, n + m + 1):
        rows = torch.arange(max(1, total - m), min(n, total - 1) + 1, device=cost.device)
        columns = total - rows
        ways = torch.stack([before[:, rows - 1], last[:, rows - 1], last[:, rows]])
        least = -gamma * torch.logsumexp(-ways / gamma, dim=0)
        now = far.clone()
        now[:, rows] = cost[:, rows - 1, columns - 1] + least
        before, last = last, now
    return last[:, n]
