"""What is said of each clip: one table, which json, csv, WebVTT, table, plot and page all read.

A measure is a line in `MEASURES`; every output shows it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what shows written scores needs no torch
    from mlavl_cli.features.routine import RoutineFeatures
    from mlavl_cli.heads.base import ClipReading

Read = Callable[["RoutineFeatures", list["ClipReading"]], list[float] | None]


@dataclass(frozen=True)
class Measure:
    """A number in [0, 1] for every clip of a routine.

    Attributes:
        name: its field in json and column in csv.
        label: what tables and pages call it.
        read: features and the readings of all heads that have one -> (T,) values, or None where there are none.
        judges: whether more is better, on the whole scale; if not, it is a share of the routine's.
    """

    name: str
    label: str
    read: Read
    judges: bool = True

    def shown(self, value: float) -> str:
        return f"{value:.2f}" if self.judges else f"{100 * value:.1f} %"


def mean_of(name: str) -> Read:
    """The mean over the heads of one part of their readings."""

    def read(features: "RoutineFeatures", readings: list["ClipReading"]) -> list[float] | None:
        import torch

        values = [value for reading in readings if (value := getattr(reading, name)) is not None]
        return torch.stack(values).mean(0)[0].tolist() if values else None

    return read


MEASURES: list[Measure] = [
    Measure("consistency", "consistency", mean_of("consistency")),
    Measure("quality", "quality", mean_of("quality")),
    Measure("attention", "attention", mean_of("attention"), judges=False),
]
