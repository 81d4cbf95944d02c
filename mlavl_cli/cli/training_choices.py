"""The words that options of mlavl train take."""

from enum import StrEnum


class Ablation(StrEnum):
    all = "all"


class Box(StrEnum):
    s2ce = "s2ce"
    mag2 = "mag2"
    avcf = "avcf"
    dpg = "dpg"
    tl = "tl"
    ce = "ce"


class Modalities(StrEnum):
    v = "V"
    va = "V+A"
    vl = "V+L"
    val = "V+A+L"


class Graph(StrEnum):
    sage = "sage"
    gcn = "gcn"
    even = "even"


class Regressor(StrEnum):
    linear = "linear"
    mlp = "mlp"


class Optimizer(StrEnum):
    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"
    rmsprop = "rmsprop"


class Schedule(StrEnum):
    cosine = "cosine"
    multistep = "multistep"
    constant = "constant"


class RecipeName(StrEnum):
    mlavl = "mlavl"
    example = "official-example"
    options = "official-options"


class Triplets(StrEnum):
    all = "all"
    patterns = "patterns"
