"""What a training run remembers of its epochs."""

import csv
import io
import math
from dataclasses import dataclass
from typing import Any

from mlavl_cli.files import csv_text

_MOST_TERMS = 64


@dataclass(frozen=True)
class Epoch:
    """One epoch as the log has it: mean weighted loss terms, and metrics on the judged split.

    `auc`, with a consistency objective alone: how often a clip's own music is more consistent than false music.
    `test_srcc`, `test_mse`: on the test split, where it is looked at beside the one that epochs are chosen on.
    """

    epoch: int
    loss: float
    terms: dict[str, float]
    srcc: float
    mse: float
    auc: float | None = None
    test_srcc: float | None = None
    test_mse: float | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Epoch":
        """From a saved state, numbers alone.

        Raises:
            ValueError, TypeError, KeyError: it holds something else.
        """
        numbers = {name: float(values[name]) for name in ("loss", "srcc", "mse")}
        terms = {str(name): float(value) for name, value in values["terms"].items()}
        some: dict[str, Any] = {
            name: None if values.get(name) is None else float(values[name]) for name in ("auc", "test_srcc", "test_mse")
        }
        return cls(int(values["epoch"]), terms=terms, **some, **numbers)

    @property
    def rank(self) -> float:
        """What the best epoch is chosen by: SRCC, plus the AUC where consistency is to be learned too."""
        return -math.inf if math.isnan(self.srcc) else self.srcc + (self.auc or 0.0)


def history_of(values: list[dict[str, Any]], epochs: int) -> list[Epoch]:
    """The epochs of a saved state, of a run of so many.

    Raises:
        ValueError, TypeError, KeyError: it holds something else, more epochs, or more terms than any loss has.
    """
    if len(values) > epochs or len({name for one in values for name in one["terms"]}) > _MOST_TERMS:
        raise ValueError("more epochs or terms than a run has")
    return [Epoch.from_dict(one) for one in values]


def log_csv(history: list[Epoch]) -> str:
    """One row an epoch."""
    names = list(dict.fromkeys(name for epoch in history for name in epoch.terms))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    of_loss = (f"loss_{name}" for name in names)  # the mean squared error is a term and a metric
    tested = ["test_srcc", "test_mse"] if any(epoch.test_mse is not None for epoch in history) else []
    rows.writerow(map(csv_text, ["epoch", "loss", *of_loss, "srcc", "mse", "auc", *tested]))
    for epoch in history:
        terms = (epoch.terms.get(name, "") for name in names)
        more = (getattr(epoch, name) for name in tested)
        rows.writerow([epoch.epoch, epoch.loss, *terms, epoch.srcc, epoch.mse, epoch.auc, *more])
    return text.getvalue()
