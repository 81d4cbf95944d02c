"""Every method by its name: what `mlavl train --model` takes and a checkpoint names."""

from typing import TYPE_CHECKING

from mlavl_cli.tables import look_up

if TYPE_CHECKING:  # the command line lists the names before torch is loaded
    from mlavl_cli.heads.base import Head

HEADS = {
    "mlavl": "mlavl_cli.heads.mlavl.model:MLAVL",
    "svr": "mlavl_cli.heads.svr:MeanSVR",
    "lstm": "mlavl_cli.heads.lstm:ClipLSTM",
    "ms-lstm": "mlavl_cli.heads.ms_lstm:MSLSTM",
    "action-net": "mlavl_cli.heads.action_net:ActionNet",
    "usdl": "mlavl_cli.heads.usdl:USDL",
    "core": "mlavl_cli.heads.core:CoRe",
    "gdlt": "mlavl_cli.heads.gdlt:GDLT",
    "tpt": "mlavl_cli.heads.tpt:TPT",
    "hgcn": "mlavl_cli.heads.hgcn:HGCN",
    "t2cr": "mlavl_cli.heads.t2cr:T2CR",
    "cofinal": "mlavl_cli.heads.cofinal:CoFInAl",
    "qtd": "mlavl_cli.heads.qtd:QTD",
    "mlp-mixer": "mlavl_cli.heads.mlp_mixer:MLPMixer",
    "pamfn": "mlavl_cli.heads.pamfn:PAMFN",
    "mcmoe": "mlavl_cli.heads.mcmoe:MCMoE",
}


def head_class(name: str) -> "type[Head]":
    """The method of that name.

    Raises:
        UsageError: there is none.
    """
    return look_up(HEADS, name, "model")
