"""Every method by its name: what `mlavl train --model` takes and a checkpoint names."""

from typing import TYPE_CHECKING

from mlavl_cli.tables import look_up

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
    return look_up(HEADS, name, "model")
