"""The state from which a training run resumes: written whole, read without running code, compared by meaning."""

import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlavl_cli.errors import DataError, refusing
from mlavl_cli.files import atomic_write, lock_handle, make_folder
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.methods import HEADS, head_class
from mlavl_cli.heads.mlavl.losses import LossWeights
from mlavl_cli.training.choices import OptimizerName
from mlavl_cli.training.config import TrainConfig
from mlavl_cli.training.recipes import OPTIMIZERS
from mlavl_cli.untrusted import read_torch, wrong_numbers

LAST = "last.pt"
_LOCK = ".lock"
NO_STATE = "is no state of a training run, or a damaged one"
START_ANEW = "Delete its folder."


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Within it no other process trains in this folder: each would take the other's epochs for its own. Where there
    are no locks (a file system without them) nothing is known of others.

    Raises:
        DataError: another one does.
    """
    make_folder(folder)
    handle = lock_handle(folder / _LOCK)
    if handle is None:
        yield
        return
    import fcntl

    try:
        with suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                hint = "Wait until it is done, or choose another --output."
                raise DataError("another process trains here", path=folder, hint=hint) from None
        yield
    finally:
        os.close(handle)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes it atomically."""
    written = io.BytesIO()
    torch.save(state, written)  # into a file it would wrap what a full disk says
    with atomic_write(path) as file:
        file.write(written.getbuffer())


def refusing_state(path: Path, hint: str = START_ANEW) -> AbstractContextManager[None]:
    """Within it, whatever a file does that is no state of a run is one DataError."""
    return refusing(DataError, NO_STATE, path, hint)


def load_state(path: Path, hint: str = START_ANEW) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU.

    Raises:
        DataError: can't be read.
    """
    with refusing_state(path, hint):  # torch raises many kinds for a damaged file
        return dict(read_torch(path))


def fill(model: nn.Module, path: Path) -> None:
    """Fills a head with tensors that `save_state` wrote.

    Raises:
        DataError: can't be read, or holds what are not its weights.
    """
    with refusing_state(path):
        state = load_state(path)
        if state.keys() != model.state_dict().keys():  # before numbers are looked at, of one tensor under many names
            raise DataError("holds other weights than the run's", path=path, hint=START_ANEW)
        for name, tensor in state.items():
            if wrong := wrong_numbers(name, tensor):
                raise DataError(f"{name} {wrong}", path=path, hint=START_ANEW)
        model.load_state_dict(state)


def dims_of_run(folder: Path) -> HeadDims | None:
    """The dimensions with which the run in a folder was begun; None: there is none.

    Raises:
        DataError: its state can't be read.
    """
    path = folder / LAST
    if not path.exists():
        return None
    return meant_settings(load_state(path).get("settings", {}), path)["dims"]


def meant_settings(settings: dict[str, Any], path: Path) -> dict[str, Any]:
    """Settings as two runs are compared by: what mlavl 0.1 didn't name is as it was then, and how often a run is saved
    and when it may stop need not be the same.

    Raises:
        DataError: settings that this mlavl doesn't know.
    """
    with refusing(DataError, "holds settings that this mlavl doesn't know", path, START_ANEW):
        model = str(settings["model"]).lower()  # mlavl 0.1 wrote the name of a class
        if model not in HEADS:
            raise ValueError("no such model")
        config = TrainConfig(**{**settings["config"], "loss": LossWeights(**settings["config"]["loss"])})
        config = replace(config, save_every=0, patience=None)
        dims = head_class(model).Dims.from_dict(settings["dims"])
        if not dims.language:  # what is said of prompts that aren't read is nobody's
            dims = replace(dims, actions=1, text_dim=512)
        return {**settings, "model": model, "dims": dims, "config": config}


def moments_of(
    saved: dict[int, dict[str, torch.Tensor]], optimizer: OptimizerName, parameters: list[torch.nn.Parameter]
) -> dict[int, dict[str, torch.Tensor]]:
    """Saved running means, by parameter, once they were found to be of an optimizer of this name.

    Raises:
        ValueError: they are not.
    """
    probe = torch.nn.Parameter(torch.zeros(1))
    probe.grad = torch.zeros(1)
    other = OPTIMIZERS[optimizer]([probe], lr=0.1)
    other.step()
    usual = dict(other.state[probe])
    for index, kept in saved.items():
        if kept.keys() != usual.keys():
            raise ValueError("moments of another optimizer")
        for name, tensor in kept.items():
            counts = usual[name].ndim == 0  # how many steps were taken
            shape = torch.Size() if counts else parameters[index].shape
            if tensor.shape != shape or tensor.dtype != usual[name].dtype or (counts and not 0 <= tensor.item() < 1e9):
                raise ValueError("moments of another optimizer")
    return saved
