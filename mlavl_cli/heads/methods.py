"""Every method by its name: what `mlavl train --model` takes and a checkpoint names."""

from importlib import import_module
from typing import TYPE_CHECKING

from mlavl_cli.errors import UsageError

if TYPE_CHECKING:  # the command line lists the names before torch is loaded
    from mlavl_cli.heads.base import Head

HEADS = {
    "mlavl": "mlavl_cli.heads.mlavl.model:MLAVL",
    "ms-lstm": "mlavl_cli.heads.ms_lstm:MSLSTM",
    "usdl": "mlavl_cli.heads.usdl:USDL",
    "core": "mlavl_cli.heads.core:CoRe",
    "gdlt": "mlavl_cli.heads.gdlt:GDLT",
}


def head_class(name: str) -> "type[Head]":
    """The method of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in HEADS:
        raise UsageError(f"no such model: {name!r:.40}", hint=f"There are {', '.join(HEADS)}.")
    module, attribute = HEADS[name].split(":")
    return getattr(import_module(module), attribute)
