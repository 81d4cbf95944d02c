"""Folds, validation splits that are cut, longer runs, and what is told of few routines."""

import csv
import io
import json
import math
from itertools import pairwise

import numpy as np
import pytest
from datasets import layouts
from hypothesis import given, settings
from hypothesis import strategies as st

from mlavl_cli.bundle import find_bundle
from mlavl_cli.datasets.dataset import Dataset, Routine
from mlavl_cli.datasets.splits import folds, with_validation
from mlavl_cli.groups import together

SVR = ["--model", "svr"]
USDL = ["--model", "usdl", "--width", "32", "--lr", "3e-3"]


def season(folder, skaters=20, each=2, split=""):
    """Feature files in which a rule shows: `each` routines of every skater."""
    rng = np.random.default_rng(1)
    folder.mkdir(exist_ok=True)
    lines = ["path,split,skater,TES"]
    for skater in range(skaters):
        for at in range(each):
            score = rng.uniform(20, 110)
            visual = rng.normal(0, 0.05, (4 + at, 12)).astype(np.float32)
            visual[:, :3] += score / 60
            np.save(folder / f"{skater}-{at}.npy", visual)
            name = f"Ana {skater}" if at else f"Ana {skater} / Bo {skater // 2}"
            lines.append(f"{folder.name}/{skater}-{at}.npy,{split},{name},{score:.2f}")
    table = folder.parent / "season.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def lines_of(table):
    return list(csv.DictReader(io.StringIO(table.read_text())))


def test_folds_judge_everybody_once_and_train_on_all(run, tmp_path):
    table = season(tmp_path / "f")
    result = run("train", "manifest", table, *SVR, "-o", tmp_path / "b", "--folds", 4, "-f", "json")
    assert result.exit_code == 0, result.stderr
    (row,) = result.json()
    assert (row["target"], row["folds"], row["n"]) == ("TES", 4, 40)
    assert row["SRCC"] > 0.9
    assert 0 < row["SRCC sd"] < 0.1
    assert row["MSE"] < 100
    bundle = find_bundle(tmp_path / "b")
    assert bundle.metrics["TES"]["split"] == "4 folds"
    assert bundle.metrics["TES"]["srcc"] == pytest.approx(row["SRCC"])
    assert bundle.metrics["TES"]["srcc_sd"] == pytest.approx(row["SRCC sd"])
    assert bundle.intervals["TES"]["routines"] == 40
    assert "train" in bundle.trained_on
    assert run("weights", "verify", tmp_path / "b").exit_code == 0
    again = run("train", "manifest", table, *SVR, "-o", tmp_path / "b", "--folds", 4, "-f", "json")
    assert again.json() == [row]
    whole = run("evaluate", "manifest", table, "-w", tmp_path / "b", "--split", "train", "-f", "json")
    assert whole.json()[0]["n"] == 40


def test_what_folds_say_is_what_was_predicted_without_having_learned(run, tmp_path):
    """Each fold's heads by hand: the same errors."""
    from mlavl_cli.datasets.load import load_dataset
    from mlavl_cli.device import place

    table = season(tmp_path / "f")
    (row,) = run("train", "manifest", table, *SVR, "-o", tmp_path / "b", "--folds", 3, "-f", "json").json()
    data = load_dataset("manifest", table, place("cpu"))
    errors, seen = [], set()
    for number, part in enumerate(folds(data, 3)):
        one = tmp_path / f"{number}.csv"
        where = {routine.id: split for split, some in part.splits.items() for routine in some}
        rows = [line | {"split": where[line["path"]]} for line in lines_of(table)]
        one.write_text("path,split,skater,TES\n" + "\n".join(",".join(line.values()) for line in rows) + "\n")
        trained = run("train", "manifest", one, *SVR, "-o", tmp_path / f"o{number}")
        assert trained.exit_code == 0, trained.stderr
        run("evaluate", "manifest", one, "-w", tmp_path / f"o{number}", "--predictions", tmp_path / "p.csv")
        for said in lines_of(tmp_path / "p.csv"):
            errors.append((float(said["true"]) - float(said["predicted"])) ** 2)
            seen.add(said["id"])
    assert len(seen) == len(errors) == 40
    assert row["MSE"] == pytest.approx(np.mean(errors), rel=1e-3)


def test_a_killed_cross_validation_goes_on(run, tmp_path, monkeypatch):
    import mlavl_cli.training.train as module

    table = season(tmp_path / "f")
    options = ["train", "manifest", table, *USDL, "--epochs", 4, "--folds", 3, "-f", "json"]
    whole = run(*options, "-o", tmp_path / "whole").json()
    real, calls = module._Run.epoch, []

    def killed(self, *args):
        calls.append(1)
        if len(calls) == 7:  # in the second fold
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(module._Run, "epoch", killed)
    assert run(*options, "-o", tmp_path / "cut").exit_code == 130
    monkeypatch.setattr(module._Run, "epoch", real)
    assert run(*options, "-o", tmp_path / "cut").json() == whole


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--folds", 40], "10 groups of routines are too few for 40 folds"),
        (["--folds", 3, "--seeds", 2], "--folds judges one method"),
        (["--folds", 3, "--model", "usdl"], "--folds judges one method"),
        (["--folds", 3, "--group", "club"], "has no column 'club'"),
    ],
)
def test_folds_that_cannot_be(run, tmp_path, options, cause):
    result = run("train", "manifest", season(tmp_path / "f", each=1), *SVR, "-o", tmp_path / "b", *options)
    assert result.exit_code in (1, 2)
    assert cause in result.errors[-1]


def test_a_group_is_any_column(run, tmp_path):
    table = season(tmp_path / "f")
    text = table.read_text().replace("skater", "club", 1)
    table.write_text(text)
    lost = run("train", "manifest", table, *SVR, "-o", tmp_path / "b", "--folds", 3)
    assert "is no number" in lost.errors[0]  # a column of words is no target
    found = run("train", "manifest", table, *SVR, "-o", tmp_path / "b", "--folds", 3, "--group", "club", "-f", "json")
    assert found.exit_code == 0, found.stderr
    assert found.json()[0]["n"] == 40


def test_without_splits_or_folds_it_says_so_before_torch_is_loaded(run, tmp_path, monkeypatch):
    table = season(tmp_path / "f")
    refused = run("train", "manifest", table, *SVR, "-o", tmp_path / "b")
    assert "no row has a split" in refused.errors[0]
    assert "--folds" in refused.errors[0]


# --- How splits are drawn --------------------------------------------------------------------------------------------


def dataset(scores, groups):
    blank = np.zeros((1, 1), np.float32)
    routines = [
        Routine(str(at), blank, None, {"TES": score}, group=group)
        for at, (score, group) in enumerate(zip(scores, groups, strict=True))
    ]
    return Dataset("d", "skating", "mini", {"train": routines}, {"TES": (0.0, 130.0)})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 130), st.integers(0, 30)), min_size=30, max_size=90),
    st.integers(2, 6),
    st.integers(0, 99),
)
def test_groups_are_never_torn_and_everybody_is_tested_once(rows, count, seed):
    scores, numbers = zip(*rows, strict=True)
    groups = [f"g{number}" if number < 25 else "" for number in numbers]
    data = dataset(scores, groups)
    if len({group or at for at, group in enumerate(groups)}) < 3 * count:
        return
    try:
        parts = folds(data, count, seed)
    except Exception as error:
        assert "too few" in str(error)  # all but all are of one group
        return
    assert sorted(one.id for part in parts for one in part.splits["test"]) == sorted(map(str, range(len(rows))))
    for part in parts:
        where = {}
        for split, some in part.splits.items():
            for one in some:
                assert where.setdefault(one.group or one.id, split) == split
        assert sum(map(len, part.splits.values())) == len(rows)


def test_folds_hold_alike_scores():
    scores = np.random.default_rng(0).uniform(0, 130, 100)
    means = [
        np.mean([one.scores["TES"] for one in part.splits["test"]]) for part in folds(dataset(scores, [""] * 100), 5)
    ]
    assert max(means) - min(means) < 8  # of independent draws of 20 it is some 30
    cut = with_validation(dataset(scores, [""] * 100))
    assert len(cut.splits["val"]) == 20


def test_who_skates_together_stays_together():
    names = ["Ana", "Ana / Bo", "Bo / Cy", "Di", "cy ", "", ""]
    found = together(names)
    assert found[0] == found[1] == found[2] == found[4]
    assert found[3] not in (found[0], "")
    assert found[5] == found[6] == ""


def test_a_validation_split_is_cut_by_skater(run, tmp_path):
    table = season(tmp_path / "f", split="train")
    rows = table.read_text().splitlines()
    rows[-6:] = [row.replace(",train,", ",test,") for row in rows[-6:]]
    table.write_text("\n".join(rows) + "\n")
    cut = run("train", "manifest", table, *SVR, "-o", tmp_path / "b")
    assert "4 of 34 training routines choose the epochs" in cut.stderr
    on_test = run("train", "manifest", table, *SVR, "-o", tmp_path / "c", "--validation", "test")
    assert "choose the epochs" not in on_test.stderr
    assert find_bundle(tmp_path / "c").metrics["TES"]["split"] == "test"
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    options = ["-t", "TES", "--text-features", text, "--epochs", 1, "--width", 16]
    assert "choose the epochs" not in run("train", "fisv", root, *options, "-o", tmp_path / "p").stderr
    assert (
        "choose the epochs" in run("train", "fisv", root, *options, "-o", tmp_path / "q", "--validation", "cut").stderr
    )


# --- Runs and their figures ------------------------------------------------------------------------------------------


def test_a_finished_run_can_be_made_longer(run, tmp_path):
    table = season(tmp_path / "f", split="train").read_text()
    path = tmp_path / "season.csv"
    rows = table.splitlines()
    rows[-9:] = [row.replace(",train,", ",test,") for row in rows[-9:]]
    path.write_text("\n".join(rows) + "\n")
    command = ["train", "manifest", path, *USDL, "-o", tmp_path / "b", "-f", "json"]
    assert run(*command, "--epochs", 3).exit_code == 0
    log = tmp_path / "b" / "runs" / "TES" / "usdl" / "log.csv"
    first = log.read_text().splitlines()
    assert len(first) == 4
    longer = run(*command, "--epochs", 6)
    assert longer.exit_code == 0, longer.stderr
    assert log.read_text().splitlines()[:4] == first
    assert len(log.read_text().splitlines()) == 7
    shorter = run(*command, "--epochs", 2)
    assert "a run with other settings (config)" in shorter.errors[0]


def test_tensorboard_keeps_training_and_validation_apart(run, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    options = [
        "-t",
        "TES",
        "--text-features",
        text,
        "--epochs",
        2,
        "--width",
        16,
        "--tensorboard",
        "--validation",
        "cut",
    ]
    assert run("train", "fisv", root, *options, "-o", tmp_path / "b").exit_code == 0
    folder = tmp_path / "b" / "runs" / "TES" / "mlavl"
    events = EventAccumulator(str(folder)).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/loss", "train/mse", "train/triplet", "val/mse", "val/srcc"} <= tags
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows[0]) == len(set(rows[0]))
    for tag, column in (("train/mse", "loss_mse"), ("val/mse", "mse"), ("train/loss", "loss")):
        assert [one.value for one in events.Scalars(tag)] == pytest.approx(
            [float(row[column]) for row in rows], rel=1e-5
        )


@pytest.mark.parametrize("count", [4, 5])
def test_of_four_routines_no_rank_correlation_is_told(run, tmp_path, count):
    table = season(tmp_path / "f", split="train")
    rows = table.read_text().splitlines()
    rows[-count:] = [row.replace(",train,", ",test,") for row in rows[-count:]]
    table.write_text("\n".join(rows) + "\n")
    run("train", "manifest", table, *SVR, "-o", tmp_path / "b")
    judged = run("evaluate", "manifest", table, "-w", tmp_path / "b", "-f", "json", "--save").json()[0]
    assert judged["n"] == count
    assert (judged["SRCC"] is None) == (count == 4)
    assert ("SRCC 95 %" in judged) == (count == 5)
    assert math.isfinite(judged["MSE"])
    assert (find_bundle(tmp_path / "b").metrics["TES"]["srcc"] is None) == (count == 4)
    shown = run("evaluate", "manifest", table, "-w", tmp_path / "b").stdout
    assert ("1.000" in shown.split("MSE 95")[0].splitlines()[3]) == (count == 5) or count == 5


def test_intervals_are_numbers_for_programs_and_words_for_people(run, tmp_path):
    table = season(tmp_path / "f", split="train")
    rows = table.read_text().splitlines()
    rows[-12:] = [row.replace(",train,", ",test,") for row in rows[-12:]]
    table.write_text("\n".join(rows) + "\n")
    run("train", "manifest", table, *SVR, "-o", tmp_path / "b")
    command = ["evaluate", "manifest", table, "-w", tmp_path / "b"]
    row = run(*command, "-f", "json").json()[0]
    low, high = row["MSE 95 %"]
    assert low < row["MSE"] < high
    (cells,) = csv.DictReader(io.StringIO(run(*command, "-f", "csv").stdout))
    assert float(cells["MSE 95 % low"]) == pytest.approx(low)
    assert float(cells["MSE 95 % high"]) == pytest.approx(high)
    assert f"{low:.3f} to {high:.3f}" in run(*command, "-f", "markdown").stdout
    assert all(len(line) <= 80 for line in run(*command).stdout.splitlines())
    assert json.dumps(row)
    assert [a < b for a, b in pairwise((low, high))] == [True]
