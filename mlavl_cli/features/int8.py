"""Feed-forward layers in int8, where a CPU multiplies integers several times faster than floats."""

import torch
from torch import nn

from mlavl_cli.device import Placement, integers_saturate

# Two products of bytes are added in 16 bits where a CPU has no instruction for it (VNNI): so they have 7 bits there.
LEVELS, FEWER_LEVELS = 127, 63


class Int8Linear(nn.Module):
    """A linear layer: each output channel of its weights and each row of its input has a scale of its own.

    Rows don't depend on each other, so a clip's features don't depend on others of its batch.

    Args:
        linear: (D_in) -> (D_out), in float32.
        levels: the largest integer.
    """

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: nn.Linear, levels: int = LEVELS):
        super().__init__()
        self.bias, self.levels = linear.bias, levels
        scale = _largest(linear.weight) / levels
        whole = (linear.weight / scale).round().to(torch.int8)
        # Laid out as it is multiplied: of a transposed view of one column _int_mm makes nonsense.
        self.register_buffer("weight", whole.t().clone(memory_format=torch.contiguous_format))
        self.register_buffer("scale", scale.squeeze(1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(..., D_in) -> (..., D_out)."""
        flat = rows.flatten(0, -2)
        scale = _largest(flat) / self.levels
        whole = (flat * scale.reciprocal()).round_().to(torch.int8)
        product = torch._int_mm(whole, self.weight).to(flat.dtype)
        product = product.mul_(scale).mul_(self.scale)
        return (product if self.bias is None else product.add_(self.bias)).unflatten(0, rows.shape[:-1])


def put(network: nn.Module, placement: Placement) -> None:
    """Puts a frozen network where it is to run, in its number format.

    In int8 are its feed-forward layers alone: attention loses ten times more by it (docs/performance.md).
    """
    network.to(placement.device, placement.dtype)
    if placement.quantized:
        levels = FEWER_LEVELS if integers_saturate() else LEVELS
        for name, module in list(network.named_modules()):
            if isinstance(module, nn.Linear) and "att" not in name:  # attention, attn
                parent, _, own = name.rpartition(".")
                setattr(network.get_submodule(parent), own, Int8Linear(module, levels))


def _largest(rows: torch.Tensor) -> torch.Tensor:
    """(N, D) -> (N, 1): the largest magnitude of each, and never zero."""
    return torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True)).clamp_min(1e-30)
