"""A table of features that grows row by row."""

import numpy as np
import torch

_BLOCK = 256


class Rows:
    """Rows (D,) of one width, copied on their device into blocks.

    A row kept as it came would keep alive the whole output it is a view of, megabytes a clip with a large backbone;
    and thousands of small tensors between the large ones of each clip keep freed memory from being used again.
    """

    def __init__(self) -> None:
        self._blocks: list[torch.Tensor] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, row: torch.Tensor) -> None:
        place = self._count % _BLOCK
        if place == 0:
            self._blocks.append(row.new_empty(_BLOCK, *row.shape))
        self._blocks[-1][place] = row
        self._count += 1

    def numpy(self) -> np.ndarray:
        """(T, D); waits for a GPU."""
        last = self._blocks[-1][: (self._count - 1) % _BLOCK + 1]
        return torch.cat([*self._blocks[:-1], last]).cpu().numpy()
