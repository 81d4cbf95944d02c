"""What the feature files of a dataset may unpack to, all together: archives of zeros and hollow files are small."""

from pathlib import Path

import numpy as np

from mlavl_cli.errors import DataError
from mlavl_cli.files import stored_bytes

_LEAST_MADE, _MOST_MADE = 512 << 20, 8  # bytes that arrays may take, and times that of their files


class Budget:
    """Counts what was made of files.

    Args:
        where: what names the files.
    """

    def __init__(self, where: Path):
        self._where = where
        self._made = self._stored = 0

    def count(self, path: Path, *arrays: np.ndarray) -> None:
        """Arrays that a file was read to.

        Raises:
            DataError: together with those before they are far more than their files.
        """
        self._made += sum(array.nbytes for array in arrays)
        self._stored += stored_bytes(path)
        if self._made > max(_LEAST_MADE, _MOST_MADE * self._stored):
            cause = f"feature files unpack to far more than they are, up to {path.name}"
            raise DataError(cause, path=self._where, hint="Save features of 16 or 32 bits.")
