"""Checkpoints of public code: read without running anything, and every tensor accounted for."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mlavl_cli.errors import WeightsError
from mlavl_cli.untrusted import read_torch, wrong_numbers

_INSIDE = ("state_dict", "model_state_dict", "model")
_LISTED = 12
_COUNTER = ".num_batches_tracked"  # of a batch norm; nothing depends on it
_CUT = "is cut short"
_MOST_BYTES = 1 << 30  # of a checkpoint; the official ones have 30 MB
_OLD_FORMAT = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # torch's magic number as a pickle
_HINT = (
    "Expected a state dict saved by torch; anything that would run code is refused. A whole module becomes one where "
    "its code is installed: torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW_FILE)."
)


class Tensors:
    """A checkpoint's tensors by our names, which knows what its file calls them.

    Attributes:
        ours: tensors by our names.
        theirs: what the file calls each of them.
    """

    def __init__(self, path: Path):
        self.path = path
        self.ours: dict[str, torch.Tensor] = {}
        self.theirs: dict[str, str] = {}
        self._copies: set[tuple[Any, ...]] = set()  # that were found to be the same: under many names once

    def add(self, ours: str, theirs: str, tensor: torch.Tensor) -> None:
        """One more tensor.

        Raises:
            WeightsError: the file holds another one that is the same to us.
        """
        if ours not in self.ours:
            self.ours[ours], self.theirs[ours] = tensor, theirs
            return
        copy = (ours, tensor.data_ptr(), tensor.dtype, *tensor.shape, *tensor.stride())
        if copy not in self._copies and not _same(self.ours[ours], tensor):
            raise WeightsError(f"{theirs} differs from its second copy", path=self.path)
        self._copies.add(copy)

    def called(self, name: str) -> str:
        """What the file calls a tensor of ours."""
        return self.theirs.get(name, name)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: () if tensor.is_nested else tuple(tensor.shape) for name, tensor in self.ours.items()}

    def refuse_misfits(self, wanted: Mapping[str, torch.Tensor]) -> None:
        """Compares with what the head needs.

        Raises:
            WeightsError: tensors are missing, left over, of a wrong shape or kind, or hold what is no number.
        """
        missing = [name for name in wanted if name not in self.ours and not name.endswith(_COUNTER)]
        spare = [name for name in self.ours if name not in wanted]
        for what, names in (("are missing", missing), ("belong to no part of the head", spare)):
            if names:
                listed = ", ".join(sorted(map(self.called, names))[:_LISTED])
                listed += f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
                raise WeightsError(f"{len(names)} tensors {what}: {listed}", path=self.path)
        for name, tensor in self.ours.items():
            if tensor.is_nested or _without_ones(tensor.shape) != _without_ones(wanted[name].shape):
                shape = () if tensor.is_nested else tuple(tensor.shape)
                cause = f"{self.called(name)} has shape {shape}, expected {tuple(wanted[name].shape)}"
                raise WeightsError(cause, path=self.path)
            if wrong := wrong_numbers(name, tensor):
                raise WeightsError(f"{self.called(name)} {wrong}", path=self.path)

    def fitted(self, wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors in the shapes and kinds of a head's own; counters that are missing are the head's."""
        return {
            name: self.ours[name].to(tensor.dtype).view(tensor.shape) if name in self.ours else tensor
            for name, tensor in wanted.items()
        }


def _without_ones(shape: torch.Size) -> list[int]:
    """A linear map and a convolution of width 1 differ in these alone."""
    return [size for size in shape if size != 1]


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def read_state(path: Path, parts: Mapping[str, str] | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by their names in the file.

    Args:
        path: its file: a state dict, or a dict that holds one beside an optimizer and the like.
        parts: entries of the file that hold a state dict each, and what is put in front of the names in it.

    Raises:
        WeightsError: it can't be read safely, or holds no state dict.
    """
    if path.is_dir():
        raise WeightsError("is a folder, not a checkpoint", path=path, hint=_HINT)
    try:
        if path.stat().st_size == 0:
            raise WeightsError("is empty", path=path, hint=_HINT)
        state = read_torch(path, _MOST_BYTES)
    except FileNotFoundError as error:
        raise WeightsError("no such file", path=path) from error
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"can't be read ({error.strerror})", path=path, hint=_HINT) from error
    except Exception as error:  # torch raises many kinds for a file that isn't its own
        cause = _CUT if _is_cut(path, error) else "can't be read as a checkpoint"
        raise WeightsError(cause, path=path, hint="Copy it again." if cause is _CUT else _HINT) from error
    found = _in_parts(state, parts or {}) or _in_one(state)
    if not found:
        raise WeightsError("holds no state dict", path=path, hint=_HINT)
    return found


def _in_parts(state: Any, parts: Mapping[str, str]) -> dict[str, torch.Tensor]:
    if not isinstance(state, dict):
        return {}
    held = {name: state[name] for name in parts if isinstance(state.get(name), dict)}
    return {parts[name] + key: tensor for name, inside in held.items() for key, tensor in _tensors(inside).items()}


def _in_one(state: Any) -> dict[str, torch.Tensor]:
    while isinstance(state, dict) and (key := next((k for k in _INSIDE if isinstance(state.get(k), dict)), None)):
        state = state[key]
    return _tensors(state)


def _tensors(state: Any) -> dict[str, torch.Tensor]:
    items = state.items() if isinstance(state, dict) else ()
    return {str(name): tensor for name, tensor in items if isinstance(tensor, torch.Tensor)}


def _is_cut(path: Path, error: Exception) -> bool:
    """Whether a file begins as torch's do, in one of its two formats, and lacks its end."""
    with path.open("rb") as file:
        begins = file.read(16)
    if begins.startswith(b"PK\3\4"):
        try:
            return not zipfile.is_zipfile(path)
        except zipfile.BadZipFile:  # its end is there, and broken
            return False
    words = ("truncated", "ran out of input", "exhausted", "unexpected eof", "not enough data", "remain")
    ended = isinstance(error, EOFError) or any(word in str(error).lower() for word in words)
    return begins.startswith(_OLD_FORMAT) and ended
