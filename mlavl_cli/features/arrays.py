"""Arrays of features, also of other tools: `.npy`, `.npz` and `.pt`, a row a clip, (T, D), or K tokens, (T, K, D)."""

from pathlib import Path
from typing import Any

import numpy as np

from mlavl_cli.errors import FeatureError, refusing
from mlavl_cli.untrusted import read_npy, read_npz, read_torch

ARRAYS = (".npy", ".npz", ".pt", ".pth")
TABLES = ("visual", "audio", "picture_statistics", "sound_statistics", "flow", "tokens")
TIMES = ("start_s", "end_s")
MOST_CLIPS, MOST_WIDE, MOST_TOKENS = 100_000, 4096, 64  # as many clips as a day has, no wider than any backbone
_STREAMS = ("visual", "audio", "flow")
_MOST_BYTES, _MOST_NUMBERS = 512 << 20, 64 << 20  # of a file; two hours of 16 tokens a clip
_MOST_VALUE = 1e12  # no backbone's; squares of larger ones overflow


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """A file -> (T, D) float32 by stream, visual, audio or flow, and "tokens" (T, K, D) where visual features have K
    tokens a clip; and what else `RoutineFeatures.save` wrote, the clips' times among it.

    A file of one array holds visual features, whatever the array is called; one of several names them.

    Raises:
        FeatureError: it can't be read, or holds something else.
    """
    found = _read(path)
    if len(found) == 1 and not found.keys() & {*TABLES, *TIMES}:
        found = {"visual": next(iter(found.values()))}
    if unknown := sorted(found.keys() - {*TABLES, *TIMES}):
        hint = f"Name them {', '.join(_STREAMS)}, or leave one array in the file."
        raise FeatureError(f"holds arrays of other names: {', '.join(unknown)[:200]}", path=path, hint=hint)
    if "visual" not in found:
        raise FeatureError("holds no visual features", path=path)
    return _tables(found, path)


def _tables(found: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    if sum(array.size for array in found.values()) > _MOST_NUMBERS:
        raise FeatureError("holds more numbers than any routine's features", path=path)
    tables: dict[str, np.ndarray] = {}
    for name, array in found.items():
        sides = 1 if name in TIMES else 3 if name == "tokens" else (2, 3)
        if array.dtype.kind not in "fiu" or array.ndim not in np.atleast_1d(sides):
            cause = f"its {name} features have shape {array.shape} of {array.dtype}, not (clips, width) of numbers"
            raise FeatureError(cause, path=path)
        if 0 in array.shape or any(size > most for size, most in zip(array.shape, _most(array.ndim), strict=True)):
            raise FeatureError(f"its {name} features have shape {array.shape}, which no backbone's have", path=path)
        if array.ndim == 3 and name != "tokens" and len(array) == 1 < array.shape[1]:
            cause = (
                f"its {name} features have shape {array.shape}: one clip of {array.shape[1]} tokens, or a batch of one"
            )
            raise FeatureError(cause, path=path, hint="Save them as (clips, width), without the axis of the batch.")
        with np.errstate(over="ignore"):  # what is too large for float32 is told below
            array = array.astype(np.float64 if name in TIMES else np.float32)
        if name == "visual" and array.ndim == 3 and array.shape[1] > 1:
            tables["tokens"] = array
        tables[name] = array.mean(axis=1) if array.ndim == 3 and name != "tokens" else array
    return tables


def read_stream(path: Path) -> np.ndarray:
    """A file of one array -> (T, D) float32, the mean of its tokens where it has several.

    Raises:
        FeatureError: as `read_arrays`, or it holds several.
    """
    found = _read(path)
    if len(found) != 1:
        raise FeatureError("holds several arrays, where one belongs", path=path)
    return _tables({"visual": next(iter(found.values()))}, path)["visual"]


def wrong_tables(tables: dict[str, np.ndarray]) -> str | None:
    """What keeps tables from being features of the same T clips, (T, width) each, (T, K, width) of tokens; None if
    nothing does.
    """
    count: int | None = None
    for name, rows in tables.items():
        shape = "(clips, tokens, width)" if name == "tokens" else "(clips, width)"
        if rows.ndim != shape.count(",") + 1 or 0 in rows.shape:
            return f"{name} features have shape {rows.shape}, not {shape}"
        count = len(rows) if count is None else count
        if len(rows) != count:
            return f"{len(rows)} clips of {name} features against {count} of {next(iter(tables))} ones"
        if not np.isfinite(rows).all():
            return f"{name} features hold NaN or infinity"
        if float(np.abs(rows).max()) > _MOST_VALUE:
            return f"{name} features hold numbers beyond {_MOST_VALUE:g}"
    return None


def _most(sides: int) -> tuple[int, ...]:
    return {1: (MOST_CLIPS,), 2: (MOST_CLIPS, MOST_WIDE)}.get(sides, (MOST_CLIPS, MOST_TOKENS, MOST_WIDE))


def _read(path: Path) -> dict[str, np.ndarray]:
    with refusing(
        FeatureError, "holds no plain arrays", path, "Save features as npy, npz, or as tensors by torch.save."
    ):
        if not path.exists():
            raise FeatureError("no such feature file", path=path)
        kind = path.suffix.lower()
        if kind in (".npy", ".npz"):
            return {"visual": read_npy(path, _MOST_BYTES)} if kind == ".npy" else read_npz(path)
        return _numbers(read_torch(path, _MOST_BYTES))


def _numbers(value: Any) -> dict[str, np.ndarray]:
    import torch

    if isinstance(value, torch.Tensor):
        value = {"visual": value}
    if not isinstance(value, dict) or not all(isinstance(one, torch.Tensor) for one in value.values()):
        raise TypeError("neither a tensor nor a dict of tensors")
    if len(value) > len(TABLES) + len(TIMES) or sum(one.numel() for one in value.values()) > _MOST_NUMBERS:
        raise ValueError("more than any routine's features")  # several may share their numbers
    floating = {name: one.float() if one.is_floating_point() else one for name, one in value.items()}
    return {str(name): one.detach().numpy() for name, one in floating.items()}
