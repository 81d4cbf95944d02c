"""How the public code of the other methods trains them (docs/methods.md): by method and, where it says, set and target.

Where a method has several public recipes it is that of its authors' code. Rates that differ within a model, schedules
that are declared and never stepped, and training of a backbone are left out.
"""

from typing import Any

_SGD = {"optimizer": "sgd", "lr": 1e-2, "weight_decay": 1e-4, "schedule": "cosine", "batch_size": 32}


def _adam(lr: float, weight_decay: float, batch_size: int, epochs: int) -> dict[str, Any]:
    rates = {"optimizer": "adam", "lr": lr, "weight_decay": weight_decay, "schedule": "constant"}
    return {**rates, "batch_size": batch_size, "epochs": epochs}


# Fields of TrainConfig.
CONFIGS: dict[str, dict[str, Any]] = {
    "svr": {"epochs": 1},
    "lstm": _adam(1e-4, 0.0, 6, 10),
    "ms-lstm": _adam(5e-4, 0.0, 128, 500),
    "action-net": {**_SGD, "schedule": "multistep", "epochs": 400},
    "usdl": _adam(1e-4, 1e-5, 4, 100),
    "core": _adam(1e-3, 0.0, 2, 200),
    "gdlt": {**_SGD, "epochs": 250},
    "tpt": _adam(1e-4, 5e-4, 24, 250),
    "hgcn": _adam(1e-4, 1e-5, 4, 200),
    "t2cr": _adam(1e-3, 0.0, 3, 200),
    "cofinal": {**_SGD, "epochs": 200},
    "qtd": {**_adam(1e-4, 1e-5, 32, 1000), "schedule": "cosine"},
    "mlp-mixer": _adam(1e-4, 5e-6, 16, 500),
    "pamfn": {**_adam(8e-4, 1e-2, 32, 500), "optimizer": "adamw", "clip_grad": 2.0},
    "mcmoe": {**_adam(2e-4, 1e-4, 32, 460), "schedule": "cosine"},
}
_APPARATUS = ("Ball", "Clubs", "Hoop", "Ribbon")
_EPOCHS: dict[str, dict[str, int]] = {
    "action-net": dict(zip(_APPARATUS, (400, 300, 500, 300), strict=True)),
    "gdlt": dict(zip(_APPARATUS, (250, 400, 500, 150), strict=True)),
    "cofinal": dict(zip(_APPARATUS, (250, 400, 300, 150), strict=True)),
    "pamfn": dict(zip(_APPARATUS, (400, 500, 300, 500), strict=True)),
    "mcmoe": {"TES": 460, "PCS": 510, **dict(zip(_APPARATUS, (410, 560, 270, 300), strict=True))},
}
_ON_FS1000 = dict(zip(("TES", "PCS", "SS", "TR", "PE", "CO", "IN"), (360, 460, 360, 210, 520, 520, 390), strict=True))
# Fields of a method's Dims.
_DIMS: dict[str, dict[str, dict[str, Any]]] = {
    "cofinal": {"Ball": {"activate": 2}, "Hoop": {"activate": 2, "align": 2}},
    "pamfn": {name: {"candidates": 10} for name in _APPARATUS},
    "qtd": {**{name: {"query_spread": 2.0} for name in _APPARATUS}, "LOGO": {"query_spread": 0.5, "noise": 0.0}},
}  # fmt: skip


def published_config(model: str, target: str, dataset: str = "") -> dict[str, Any]:
    """Fields of `TrainConfig` that a method's public code sets; none for a method that has no recipe here.

    Args:
        model, target: which.
        dataset: the public one's name; targets are called alike in several.
    """
    found = dict(CONFIGS.get(model, {}))
    if epochs := _EPOCHS.get(model, {}).get(target):
        found["epochs"] = epochs
    if model == "action-net":
        found["milestones"] = (found["epochs"] - 100, found["epochs"] - 50)
    if model == "mcmoe" and dataset == "FS1000":
        found |= {"lr": 1e-4, "epochs": _ON_FS1000[target]}
    if model == "qtd" and dataset in ("RG", "LOGO"):
        found["batch_size"] = 48
    if model == "pamfn" and target in _APPARATUS:
        found |= {"lr": 5e-4, "schedule": "cosine"}
    return found


def published_dims(model: str, target: str, dataset: str = "") -> dict[str, Any]:
    """Fields of the method's `Dims` that its public code sets for a target of a dataset."""
    of_triplets = {"alpha": 0.5} if model in ("cofinal", "mcmoe") and dataset == "Fis-V" else {}
    return of_triplets | _DIMS.get(model, {}).get(target, {})
