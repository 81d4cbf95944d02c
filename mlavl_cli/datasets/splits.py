"""Splits that are drawn: a validation split cut from the training split, and folds. Groups stay whole."""

from dataclasses import replace

import numpy as np
from scipy.stats import rankdata

from mlavl_cli.datasets.dataset import Dataset, Routine
from mlavl_cli.errors import DataError

_VALIDATION = 5  # one of so many
_LEAST_HELD = 2


def with_validation(data: Dataset, seed: int = 0) -> Dataset:
    """The dataset with a validation split: its own, or a fifth of the training split, one of each five neighbours in
    their mean rank over all targets. Routines of one group stay together.

    Raises:
        DataError: too few training routines to cut a validation split from them.
    """
    if data.splits.get("val"):
        return data
    places = _dealt(data.splits["train"], _VALIDATION, seed, whole=True)
    val = [one for one, place in zip(data.splits["train"], places, strict=True) if place == 0]
    train = [one for one, place in zip(data.splits["train"], places, strict=True) if place != 0]
    if len(val) < _LEAST_HELD or len(train) < _LEAST_HELD:
        groups = len(set(map(_together, data.splits["train"])))
        count = f"{len(data.splits['train'])} training routines"
        count += f" of {groups} groups" if groups < len(data.splits["train"]) else ""
        cause = f"{count} are too few to choose epochs on some of them"
        raise DataError(f"{data.name}: {cause}", hint="Give a validation split, or more routines.")
    return replace(data, splits={**data.splits, "train": train, "val": val})


def folds(data: Dataset, count: int, seed: int = 0) -> list[Dataset]:
    """The routines of all splits in `count` parts of alike scores, each once the test split of what the others train.

    Raises:
        DataError: fewer groups of routines than parts.
    """
    everybody = all_routines(data)
    places = _dealt(everybody, count, seed)
    if missing := set(range(count)) - set(places):
        cause = f"{len(set(map(_together, everybody)))} groups of routines are too few for {count} folds"
        raise DataError(f"{data.name}: {cause}", hint=f"Give --folds {max(count - len(missing), 2)}.")
    found = []
    for fold in range(count):
        test = [one for one, place in zip(everybody, places, strict=True) if place == fold]
        train = [one for one, place in zip(everybody, places, strict=True) if place != fold]
        found.append(with_validation(replace(data, splits={"train": train, "test": test}), seed))
    return found


def in_one(data: Dataset, seed: int = 0) -> Dataset:
    """All routines as a training split, and a fifth of them as the validation split by which epochs are chosen."""
    return with_validation(replace(data, splits={"train": all_routines(data)}), seed)


def all_routines(data: Dataset) -> list[Routine]:
    """Those of every split."""
    return [one for routines in data.splits.values() for one in routines]


def _dealt(routines: list[Routine], parts: int, seed: int, whole: bool = False) -> list[int]:
    """(n,) the part of each routine, 0 to parts - 1: of each `parts` neighbours in rank one goes to each part.

    Routines with other targets (RG's apparatus) are dealt by themselves, unless groups hold them together. Of what is
    left of a row that isn't `whole`, none is in part 0 if `whole`.
    """
    rng = np.random.default_rng(seed)
    rows: dict[tuple[str, ...], list[Routine]] = {}
    grouped = any(one.group for one in routines)
    for one in routines:
        rows.setdefault(() if grouped else tuple(one.scores), []).append(one)
    part: dict[str, int] = {}
    for some in rows.values():
        ranked = _ranked(some)
        for first in range(0, len(ranked), parts):
            row = ranked[first : first + parts]
            if whole:
                held = int(rng.integers(parts)) if len(row) == parts else -1
                part |= {name: 0 if at == held else 1 for at, name in enumerate(row)}
            else:
                part |= dict(zip(row, rng.permutation(parts)[: len(row)].tolist(), strict=True))
    return [part[_together(one)] for one in routines]


def _together(one: Routine) -> str:
    """A name of what stays with it: its group, or itself."""
    return one.group or f"id {one.id}"


def _ranked(routines: list[Routine]) -> list[str]:
    """Groups by the mean rank of their routines' scores over all targets."""
    targets = list(dict.fromkeys(target for one in routines for target in one.scores))
    scores = np.array([[one.scores.get(target, np.nan) for target in targets] for one in routines])
    ranks = rankdata(scores, axis=0, nan_policy="omit") / np.maximum((~np.isnan(scores)).sum(0), 1)
    means = np.nanmean(np.where(np.isnan(scores), np.nan, ranks), axis=1)
    of_group: dict[str, list[tuple[float, str]]] = {}
    for one, mean in zip(routines, means.tolist(), strict=True):
        of_group.setdefault(_together(one), []).append((mean, one.id))
    order = {name: (float(np.mean([m for m, _ in some])), min(id for _, id in some)) for name, some in of_group.items()}
    return sorted(order, key=lambda name: order[name])
