"""How long a routine is, for targets that are totals: an input of its own. This project's; the paper has fixed T.

TES is a sum over elements, and a longer programme has more of them; components are not. A head whose other parts read
the same clips alike in routines of any length (MAG2's `even`) don't depend on T, so T must be an input.
"""

import math

import torch
from torch import nn

USUAL = 60  # clips; to a routine of this length nothing is added


class Length(nn.Module):
    """Adds to the grade prompts what a function of log T says, the same for all grades."""

    def __init__(self, width: int):
        super().__init__()
        self.hidden = nn.Linear(1, width)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, queries: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
        """Grade prompts (grades, d) and numbers of clips (B,) -> (B, grades, d)."""
        at = (clips.to(queries.dtype) / USUAL).log().unsqueeze(-1) / math.log(2)  # octaves
        added = self.out(self.hidden(at).relu() - self.hidden(torch.zeros_like(at)).relu())
        return queries + added.unsqueeze(1)
