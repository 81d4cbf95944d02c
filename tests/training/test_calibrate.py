"""Intervals: their coverage on unseen routines, their widths by length, and where they are shown."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlavl_cli.errors import WeightsError
from mlavl_cli.scoring.interval import Interval
from mlavl_cli.training.calibrate import LEAST_ROUTINES, fit_interval


def predictions(seed: int, count: int, by_length: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, true scores and numbers of clips; the error is that of 60 clips at any length, or grows with it."""
    rng = np.random.default_rng(seed)
    clips = np.exp(rng.uniform(np.log(8), np.log(280), count)).round().astype(int)
    true = rng.uniform(0, 90, count)
    return true + rng.normal(size=count) * (clips / 60 if by_length else 1.0), true, clips


def inside(interval: Interval, predicted: np.ndarray, true: np.ndarray, clips: np.ndarray) -> np.ndarray:
    return np.array([
        low <= at <= high
        for at, (low, high) in zip(
            true, (interval.around(p, int(n), (-1e9, 1e9)) for p, n in zip(predicted, clips, strict=True)), strict=True
        )
    ])  # fmt: skip


def test_nine_in_ten_unseen_routines_lie_inside():
    shares = []
    for seed in range(20):
        interval = fit_interval(*predictions(seed, 200, by_length=False))
        shares.append(inside(interval, *predictions(100 + seed, 400, by_length=False)).mean())
    assert np.mean(shares) == pytest.approx(0.9, abs=0.015)
    assert min(shares) > 0.82


def test_where_errors_grow_with_length_intervals_do():
    interval = fit_interval(*predictions(0, 600, by_length=True))
    assert len(interval.clips) > 1
    unseen = predictions(1, 3000, by_length=True)
    held, clips = inside(interval, *unseen), unseen[2]
    for low, high in ((0, 20), (20, 60), (60, 140), (140, 300)):
        assert 0.8 <= held[(clips >= low) & (clips < high)].mean() <= 0.97
    widths = [np.diff(interval.around(40.0, n, (0.0, 90.0))).item() for n in (10, 60, 250)]
    assert widths == sorted(widths)
    assert widths[2] > 4 * widths[0]


def test_where_they_do_not_intervals_are_of_one_width():
    interval = fit_interval(*predictions(3, 600, by_length=False))
    assert len(interval.clips) == 1
    assert interval.quantile * interval.spread[0] == pytest.approx(1.645, abs=0.2)  # of a normal distribution


def test_few_routines_tell_whether_errors_grow_with_length():
    """A hundred: one width where errors are alike, most of the coverage where those of long routines are larger."""
    alike = [fit_interval(*predictions(seed, 100, by_length=False)) for seed in range(20)]
    assert np.mean([len(interval.clips) == 1 for interval in alike]) >= 0.9
    shares = []
    for seed in range(20):
        interval = fit_interval(*predictions(seed, 100, by_length=True))
        assert len(interval.clips) > 1
        unseen = predictions(100 + seed, 1000, by_length=True)
        shares.append(inside(interval, *unseen)[unseen[2] >= 140].mean())
    assert np.mean(shares) > 0.75


def test_from_too_few_routines_there_is_none():
    assert fit_interval(*predictions(0, LEAST_ROUTINES - 1, by_length=False)) is None
    assert fit_interval(*predictions(0, LEAST_ROUTINES, by_length=False)) is not None


@given(st.floats(0, 60), st.integers(1, 10_000))
def test_an_interval_holds_its_score_and_stays_in_range(score, clips):
    interval = Interval(0.9, 2.0, (10, 100), (1.0, 5.0), 100)
    low, high = interval.around(score, clips, (0.0, 60.0))
    assert 0 <= low <= score <= high <= 60


def test_between_lengths_the_usual_error_runs_by_the_logarithm():
    interval = Interval(0.9, 2.0, (10, 1000), (1.0, 3.0), 100)
    assert interval.around(30, 100, (0.0, 60.0)) == pytest.approx((26.0, 34.0))
    assert interval.around(30, 5, (0.0, 60.0)) == pytest.approx((28.0, 32.0))
    assert interval.around(30, 5000, (0.0, 60.0)) == pytest.approx((24.0, 36.0))


@pytest.mark.parametrize(
    "broken",
    [
        {"clips": [], "spread": []},
        {"clips": [3, 3], "spread": [1, 1]},
        {"clips": [9, 3], "spread": [1, 1]},
        {"clips": [0], "spread": [1]},
        {"spread": [float("nan")]},
        {"spread": [-1]},
        {"quantile": "x"},
        {"quantile": float("inf")},
        {"confidence": 1.5},
        {"clips": [1e400]},
        {"clips": None},
        "text",
    ],
)
def test_foreign_numbers_are_refused(broken):
    good = Interval(0.9, 2.0, (10,), (1.0,), 100).to_dict()
    assert Interval.from_dict(json.loads(json.dumps(good))) == Interval(0.9, 2.0, (10,), (1.0,), 100)
    with pytest.raises(WeightsError, match="interval"):
        Interval.from_dict({**good, **broken} if isinstance(broken, dict) else broken)


def test_a_bundle_that_was_calibrated_says_so_everywhere(run, tmp_path):
    """Trained with a split to calibrate on: an interval in every output. Without one: "no interval"."""
    from conftest import make_video

    for i in range(4):
        make_video(tmp_path / f"{i}.mp4", 40 + i)
    features = run("extract-features", tmp_path, "-o", tmp_path / "f")
    assert features.exit_code == 0, features.stderr
    rng = np.random.default_rng(0)
    rows = []
    for i in range(40):
        (tmp_path / "f" / f"r{i}.safetensors").write_bytes((tmp_path / "f" / f"{i % 4}.mp4.safetensors").read_bytes())
        split = "train" if i < 10 else "calibration" if i < 34 else "test"
        rows.append(f"f/r{i}.safetensors,{split},{rng.uniform(0, 60):.2f}")
    text = "path,split,TES\n" + "\n".join(rows)
    for name, table in (("with", text), ("without", text.replace(",calibration,", ",train,"))):
        (tmp_path / f"{name}.csv").write_text(table)
        command = ("train", "manifest", tmp_path / f"{name}.csv", "-o", tmp_path / name, "--epochs", 1, "--width", 32)
        trained = run(*command)
        assert trained.exit_code == 0, trained.stderr
        bundle = json.loads((tmp_path / name / "bundle.json").read_text())
        assert list(bundle["intervals"]) == (["TES"] if name == "with" else [])
    video = tmp_path / "0.mp4"
    scored = run("score", video, "-w", tmp_path / "with", "-f", "json")
    assert scored.exit_code == 0, scored.stderr
    score = scored.json()["scores"]["TES"]
    low, high = score["interval"]
    assert score["confidence"] == 0.9
    assert 0 <= low < score["score"] < high <= score["range"][1]
    table = run("score", video, "-w", tmp_path / "with", "--report", tmp_path / "pages").stdout
    assert "90% interval" in table
    assert f"{low:.1f} to {high:.1f}" in table
    assert f"90%: {low:.1f} to {high:.1f}" in (tmp_path / "pages" / "0.mp4.html").read_text()
    (row,) = csv.DictReader(io.StringIO(run("score", video, "-w", tmp_path / "with", "-f", "csv").stdout))
    assert (float(row["TES_low"]), float(row["TES_high"])) == pytest.approx((low, high), abs=1e-3)

    score = run("score", video, "-w", tmp_path / "without", "-f", "json").json()["scores"]["TES"]
    assert score["interval"] is score["confidence"] is None
    assert "no interval" in run("score", video, "-w", tmp_path / "without").stdout
    (row,) = csv.DictReader(io.StringIO(run("score", video, "-w", tmp_path / "without", "-f", "csv").stdout))
    assert (row["TES_low"], row["TES_high"]) == ("", "")

    evaluated = run("evaluate", "manifest", tmp_path / "with.csv", "-w", tmp_path / "with", "-f", "json")
    assert evaluated.exit_code == 0, evaluated.stderr
    measured = evaluated.json()
    (row,) = [row for row in measured if row["target"] == "TES"]
    assert 0 <= row["in 90% interval"] <= 1
    assert row["its width"] > 0

    bundle = tmp_path / "with" / "bundle.json"
    bundle.write_text(json.dumps(json.loads(bundle.read_text()) | {"intervals": {"TES": "wide"}}))
    for command in (("evaluate", "manifest", tmp_path / "with.csv"), ("score", video)):
        refused = run(*command, "-w", tmp_path / "with")
        assert refused.exit_code != 0
        assert f"{tmp_path / 'with'}: its intervals can't be read" in refused.stderr.replace("\n", " ")
