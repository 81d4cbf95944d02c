"""Words that training takes, here and on the command line, which names them before torch is loaded."""

from enum import StrEnum
from typing import Literal

RecipeName = Literal["mlavl", "official-example", "official-options", "published"]
OptimizerName = Literal["adam", "adamw", "sgd", "rmsprop"]
Schedule = Literal["cosine", "multistep", "constant"]
Modalities = Literal["V", "V+A", "V+L", "V+A+L"]


class Part(StrEnum):  # Typer takes no list of literals
    """Boxes of figure 2, and two losses."""

    s2ce = "s2ce"
    mag2 = "mag2"
    avcf = "avcf"
    dpg = "dpg"
    tl = "tl"
    ce = "ce"
