"""Pickles hold programs. This reads those of the public datasets and refuses everything that isn't plain data.

Even numpy's own pickles can harm: a forged dtype makes numpy follow pointers that aren't there. So arrays are not built
by numpy's unpickling but here, from their bytes, shape and a plain dtype.
"""

import io
import math
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlavl_cli.errors import DataError
from mlavl_cli.files import refuse_irregular
from mlavl_cli.pickles import check_pickle
from mlavl_cli.untrusted import read_npy

_KINDS = "biufcSUO"  # numbers, strings, and objects, which are plain data again


class _DType:
    """Stands for numpy.dtype while a pickle is read."""

    def __init__(self, code: str, *_: Any):
        self.dtype = np.dtype(_plain_code(code))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, subarray, names, fields = state[:5]
        if subarray or names or fields:
            raise pickle.UnpicklingError("it holds an array of records, which is no plain data")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for numpy.ndarray while a pickle is read; `value` is the array."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _build(data, dtype, shape, "F" if fortran else "C")


def _plain_code(code: Any) -> str:
    code = code.decode("ascii") if isinstance(code, bytes) else code
    if not isinstance(code, str) or code.lstrip("<>|=")[:1] not in _KINDS:
        raise pickle.UnpicklingError(f"it holds an array of {code!r:.40}, which is no plain data")
    return code


def _build(data: Any, dtype: _DType, shape: tuple[int, ...], order: Literal["C", "F", "A"]) -> np.ndarray:
    if not isinstance(data, str | bytes | bytearray | list):  # a number would ask for room
        raise pickle.UnpicklingError(f"it holds an array of {type(data).__name__}, which is no plain data")
    if dtype.dtype.hasobject and not isinstance(data, list):  # a byte would become eight
        raise pickle.UnpicklingError(f"it holds objects made of {type(data).__name__}, which is no plain data")
    if dtype.dtype.hasobject:
        array = np.empty(len(data), object)
        array[:] = data
    else:
        array = np.frombuffer(data.encode("latin1") if isinstance(data, str) else bytes(data), dtype.dtype).copy()
    if math.prod(shape) != len(array):
        raise pickle.UnpicklingError("it holds an array whose shape and content disagree")
    return array.reshape(shape, order=order)


def _frombuffer(data: Any, dtype: _DType, shape: tuple[int, ...], order: Literal["C", "F", "A"]) -> np.ndarray:
    return _build(data, dtype, shape, order)


def _scalar(dtype: _DType, data: Any) -> Any:
    return _build(data, dtype, (1,), "C")[0]


_ADMITTED = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),  # how old pickles write bytes
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,  # only named, as an argument of _reconstruct
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # Python 2 and numpy 2 have other names for the same homes.
        old = module.replace("__builtin__", "builtins").replace("numpy._core", "numpy.core")
        if (old, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no plain data")
        return _ADMITTED[old, name]


def _finished(value: Any, seen: dict[int, Any]) -> Any:
    """The value with the stand-ins of arrays replaced by arrays, all the way down; what is shared stays shared."""
    if not isinstance(value, _Array | np.ndarray | dict | list | tuple):
        return value
    if id(value) not in seen:  # all of it is held by what was read, so that numbers of objects stay their own
        seen[id(value)] = _with_arrays(value, seen)
    return seen[id(value)]


def _with_arrays(value: Any, seen: dict[int, Any]) -> Any:
    if isinstance(value, _Array):
        return _finished(value.value, seen)
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            for index in np.ndindex(value.shape):
                value[index] = _finished(value[index], seen)
        return value
    if isinstance(value, dict):
        return {_finished(key, seen): _finished(item, seen) for key, item in value.items()}
    return type(value)(_finished(item, seen) for item in value)


def _load(file: io.BytesIO, size: int) -> Any:
    """What a pickle of `size` bytes holds, from where the file stands."""
    start = file.tell()
    check_pickle(file, size)
    file.seek(start)
    return _finished(_Restricted(file, encoding="latin1").load(), {})


def read_pickle(path: Path) -> Any:
    """The content of a `.pkl`, or of a `.npy` that wraps a pickled object, if it is plain data.

    Raises:
        DataError: it can't be read, or names anything but dict, list, tuple, set, str, numbers and numpy arrays.
    """
    hint = "Never load pickles from people you don't trust."
    try:
        refuse_irregular(path)
        data = path.read_bytes()
        if not data.startswith(np.lib.format.MAGIC_PREFIX):
            return _load(io.BytesIO(data), len(data))
        file = io.BytesIO(data)
        first = np.lib.format.read_magic(file) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        if not dtype.hasobject:
            return read_npy(path)
        value = _load(file, len(data))
        return value.item() if shape == () else value
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", path=path) from error
    except pickle.UnpicklingError as error:
        raise DataError(f"is refused: {error}", path=path, hint=hint) from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(f"is no pickle of plain data ({type(error).__name__})", path=path) from error


def read_array(path: Path) -> np.ndarray:
    """A plain `.npy` -> float32 array; pickled objects in it are refused.

    Raises:
        DataError: missing, or no plain array.
    """
    try:
        return read_npy(path).astype(np.float32)
    except FileNotFoundError as error:
        raise DataError("no such feature file", path=path) from error
    except Exception as error:  # numpy even calls Python's own parser on an old header
        raise DataError(f"is no plain numpy array ({error})", path=path) from error
