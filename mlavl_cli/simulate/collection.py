"""Many routines, made in several processes, and the manifest that names them. What is there isn't made again."""

import csv
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import connection
from pathlib import Path

from mlavl_cli.csv_rows import read_csv
from mlavl_cli.errors import DataError
from mlavl_cli.files import atomic_write, csv_text, make_folder, one_at_a_time, refuse_irregular
from mlavl_cli.simulate.truth import COMPONENTS
from mlavl_cli.simulate.write import Recipe, synthesize

MANIFEST = "manifest.csv"
_LOCK = ".manifest.lock"
_MOST_BYTES, _MOST_POINTS = 8 << 20, 1000  # of a truth, and of a score
TARGETS = ("TES", "PCS", *COMPONENTS)
_SHARES = (("train", 0.7), ("val", 0.1), ("test", 0.2))


def routine_id(recipe: Recipe) -> str:
    """Such as gala-7-0012: style, seed, number; gala-7-0012-50fps where the rate is given."""
    rate = f"-{recipe.fps}fps" if recipe.fps else ""
    return f"{recipe.style}-{recipe.seed}-{recipe.index:04d}{rate}"


def video_path(folder: Path, id: str) -> Path:
    return folder / "videos" / f"{id}.mp4"


def truth_path(folder: Path, id: str) -> Path:
    return folder / "truth" / f"{id}.json"


def split_of(number: int, count: int) -> str:
    """Of the routine with this number out of `count`: 70 % train, 10 % val, 20 % test."""
    reached = 0.0
    for name, share in _SHARES:
        reached += share
        if number < round(reached * count):
            return name
    return "test"


def synthesize_set(folder: Path, recipes: list[Recipe], splits: list[str], workers: int) -> Iterator[str]:
    """Makes the routines of a set and adds them to its manifest; yields each id as it is done.

    Raises:
        MlavlError: a routine can't be written. Those that are done stay.
        DataError: the folder's manifest isn't one of these.
    """
    make_folder(folder)
    _read_manifest(folder / MANIFEST)  # before any work
    rows, todo = {}, []
    for recipe, split in zip(recipes, splits, strict=True):
        id = routine_id(recipe)
        if scores := _done(folder, id, recipe):
            rows[id] = _row(id, split, scores)
            yield id
        else:
            todo.append((recipe, id, split))
    # Fresh processes: threads of torch or of a decoder don't survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        jobs = {pool.submit(_make, folder, recipe, id): (id, split) for recipe, id, split in todo}
        try:
            for job in as_completed(jobs):
                id, split = jobs[job]
                rows[id] = _row(id, split, job.result())
                yield id
        except BaseException:  # the pool tells those that wait; one that is cancelled by then, it trips over
            for worker in multiprocessing.active_children():  # what they are drawing would take minutes
                worker.terminate()
            raise
        finally:
            with one_at_a_time(folder / _LOCK):  # what another command has made meanwhile stays
                _write_manifest(folder / MANIFEST, _read_manifest(folder / MANIFEST) | rows)


def _end_with_parent() -> None:
    """A worker must not outlive its command, however that ends; and only the command answers to signals."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # only the pool's own processes begin with this

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _make(folder: Path, recipe: Recipe, id: str) -> dict[str, float]:
    return synthesize(recipe, video_path(folder, id), truth_path(folder, id))["scores"]


def _done(folder: Path, id: str, recipe: Recipe) -> dict[str, float] | None:
    """The scores of a routine that was made by this very recipe; the truth is written after the video."""
    try:
        path = truth_path(folder, id)
        refuse_irregular(path, _MOST_BYTES)
        truth = json.loads(path.read_text("utf-8"))
        same = truth["recipe"] == json.loads(json.dumps(asdict(recipe)))
        scores = {name: float(truth["scores"][name]) for name in TARGETS}
        same &= all(0 <= value <= _MOST_POINTS for value in scores.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    return scores if same and video_path(folder, id).exists() else None


def _row(id: str, split: str, scores: dict[str, float]) -> dict[str, str]:
    return {"path": f"videos/{id}.mp4", "split": split, **{name: f"{scores[name]:.3f}" for name in TARGETS}}


def _read_manifest(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    rows, _ = read_csv(path, most_columns=64)
    if not all(set(row) == {"path", "split", *TARGETS} and all(csv_text(c) == c for c in row.values()) for row in rows):
        raise DataError("was not written by mlavl synthesize", path=path, hint="Choose another folder.")
    return {Path(row["path"]).stem: row for row in rows}


def _write_manifest(path: Path, rows: dict[str, dict[str, str]]) -> None:
    with atomic_write(path, "w") as file:
        out = csv.DictWriter(file, ["path", "split", *TARGETS], lineterminator="\n")
        out.writeheader()
        out.writerows(rows[id] for id in sorted(rows))
