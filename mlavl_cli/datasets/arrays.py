"""Features that other tools made: `.npy`, `.npz` and `.pt`, one row a clip, (T, D), or K tokens a clip, (T, K, D)."""

from pathlib import Path
from typing import Any

import numpy as np

from mlavl_cli.datasets.unpickle import read_array
from mlavl_cli.errors import DataError, refusing
from mlavl_cli.untrusted import read_npz, read_torch

ARRAYS = (".npy", ".npz", ".pt", ".pth")
_STREAMS = ("visual", "audio", "flow")
_MOST_CLIPS, _MOST_TOKENS, _MOST_WIDE = 100_000, 64, 4096
_WORDS = {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """A file of another tool -> (T, D) float32 by stream, visual, audio or flow, and "tokens" (T, K, D) where visual
    features have K tokens a clip.

    A file of one array holds visual features, whatever the array is called; one of several names them.

    Raises:
        DataError: it can't be read, or holds something else.
    """
    found = _read(path)
    if len(found) == 1 and not found.keys() & set(_STREAMS):
        found = {"visual": next(iter(found.values()))}
    if unknown := sorted(found.keys() - set(_STREAMS)):
        hint = f"Name them {', '.join(_STREAMS)}, or leave one array in the file."
        raise DataError(f"holds arrays of other names: {', '.join(unknown)[:200]}", path=path, hint=hint)
    tables = {}
    for name, array in found.items():
        if array.dtype.name not in _WORDS or array.ndim not in (2, 3):
            cause = f"its {name} features have shape {array.shape} of {array.dtype}, not (clips, width) of numbers"
            raise DataError(cause, path=path)
        if any(size > most for size, most in zip(array.shape, (_MOST_CLIPS, *_most_of(array)), strict=True)):
            raise DataError(f"its {name} features have shape {array.shape}, larger than any backbone's", path=path)
        array = array.astype(np.float32)
        if array.ndim == 3 and name == "visual" and array.shape[1] > 1:
            tables["tokens"] = array
        tables[name] = array if array.ndim == 2 else array.mean(axis=1)
    return tables


def _most_of(array: np.ndarray) -> tuple[int, ...]:
    return (_MOST_TOKENS, _MOST_WIDE)[-(array.ndim - 1) :]


def read_stream(path: Path) -> np.ndarray:
    """A file of one array -> (T, D) float32, the mean of its tokens where it has several.

    Raises:
        DataError: as `read_arrays`, or it holds several.
    """
    tables = read_arrays(path)
    if tables.keys() - {"visual", "tokens"}:
        raise DataError("holds several arrays, where one belongs", path=path)
    return tables["visual"]


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix.lower() == ".npy":
        return {"visual": read_array(path)}
    with refusing(DataError, "holds no plain arrays", path, "Save features as npy, npz, or as tensors by torch.save."):
        if not path.exists():
            raise DataError("no such feature file", path=path)
        if path.suffix.lower() == ".npz":
            return read_npz(path)
        return _numbers(read_torch(path))


def _numbers(value: Any) -> dict[str, np.ndarray]:
    import torch

    if isinstance(value, torch.Tensor):
        value = {"visual": value}
    if not isinstance(value, dict) or not all(isinstance(one, torch.Tensor) for one in value.values()):
        raise TypeError("neither a tensor nor a dict of tensors")
    floating = {name: one.float() if one.is_floating_point() else one for name, one in value.items()}
    return {str(name): one.detach().numpy() for name, one in floating.items()}
