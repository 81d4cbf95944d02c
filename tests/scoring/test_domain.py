"""Whether a video is like the training set: distances by hand, and the flag through every door."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from typer.testing import CliRunner

from mlavl_cli.cli.app import app
from mlavl_cli.errors import WeightsError
from mlavl_cli.output.report.index import read_index
from mlavl_cli.scoring.domain import fit_detector, load_detector, save_detector
from mlavl_cli.scoring.result import UNFAMILIAR


def routines(seed: int, count: int, scale: float = 1.0, shift: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(shift + scale * rng.normal(size=(30, 6)) * (1, 2, 3, 4, 5, 6)).astype(np.float32) for _ in range(count)]


def visual(rows: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
    return [{"visual": routine} for routine in rows]


def test_distance_is_near_one_at_home_and_grows_with_the_shift():
    detector = fit_detector(visual(routines(0, 20)), visual(routines(1, 5)))
    home = [detector.read(tables) for tables in visual(routines(2, 10))]
    assert np.mean([reading.distance for reading in home]) == pytest.approx(1, abs=0.25)
    assert all(reading.inside and reading.clips_inside.all() for reading in home)
    away = [detector.read(tables) for tables in visual(routines(2, 10, shift=20))]
    assert not any(reading.inside or reading.clips_inside.any() for reading in away)


def test_it_is_the_squared_mahalanobis_distance_of_the_middle_clip():
    """Against numpy's own: no ridge worth speaking of where columns don't go together."""
    rng = np.random.default_rng(5)
    rows = (rng.normal(size=(4000, 3)) * (1, 2, 5) + (5, 0, -70)).astype(np.float32)
    detector = fit_detector(visual([rows]), [])
    there = rows[:5] + np.float32(30)
    away = there - rows.mean(0)
    by_hand = (away @ np.linalg.inv(np.cov(rows, rowvar=False)) * away).sum(1) / 3
    assert detector.read({"visual": there}).distance == pytest.approx(np.median(by_hand), rel=0.05)


@given(st.floats(0.1, 100), st.integers(0, 100))
def test_distance_does_not_depend_on_the_features_scale(scale, seed):
    small = fit_detector(visual(routines(seed, 8)), [])
    large = fit_detector(visual(routines(seed, 8, scale)), [])
    (there,) = routines(seed + 1, 1)
    found = [one.read({"visual": rows}).distance for one, rows in ((small, there), (large, there * np.float32(scale)))]
    assert found[1] == pytest.approx(found[0], rel=2e-3)


def test_a_direction_that_never_varied_does_not_decide_alone():
    flat = [np.concatenate([routine, np.zeros((30, 1), np.float32)], 1) for routine in routines(0, 20)]
    detector = fit_detector(visual(flat), [])
    nudged = flat[0] + np.float32(1e-3) * (np.arange(7) == 6)
    distances = [detector.read({"visual": rows}).distance for rows in (nudged, flat[0])]
    assert distances[0] == pytest.approx(distances[1], rel=2e-2)


def test_routines_that_are_all_the_same_still_make_a_domain():
    same = [np.ones((4, 6), np.float32)] * 3
    detector = fit_detector(visual(same), [])
    assert detector.read({"visual": same[0]}).inside
    other = detector.read({"visual": same[0] + 1})
    assert not other.inside
    assert np.isfinite(other.distance)


def test_the_furthest_table_decides_and_is_named():
    train = [{"visual": a, "sound_statistics": b} for a, b in zip(routines(0, 20), routines(9, 20), strict=True)]
    detector = fit_detector(train, [])
    odd = {"visual": routines(2, 1)[0], "sound_statistics": routines(3, 1, shift=40)[0]}
    reading = detector.read(odd)
    assert (reading.inside, reading.table) == (False, "sound_statistics")
    assert detector.read({"visual": odd["visual"]}).inside  # without sound
    assert detector.read({"visual": odd["visual"][:, :3]}) is None  # of another backbone


def test_single_clips_are_flagged_in_a_routine_that_belongs():
    detector = fit_detector(visual(routines(0, 20)), visual(routines(1, 5)))
    (mixed,) = routines(2, 1)
    mixed[[3, 7]] += 60
    reading = detector.read({"visual": mixed})
    assert reading.inside
    assert np.flatnonzero(~reading.clips_inside).tolist() == [3, 7]


def test_it_comes_back_from_its_file_and_a_broken_one_is_named(tmp_path):
    detector = fit_detector(visual(routines(0, 20)), [])
    save_detector(tmp_path / "d.safetensors", detector)
    again = load_detector(tmp_path / "d.safetensors")
    there = {"visual": routines(3, 1)[0]}
    assert again.read(there).distance == detector.read(there).distance
    assert again.read(there).limit == pytest.approx(detector.read(there).limit)
    (tmp_path / "d.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(WeightsError, match=r"d\.safetensors"):
        load_detector(tmp_path / "d.safetensors")


def test_a_file_of_mlavl_0_1_is_read(tmp_path):
    old = {"mean": np.zeros(3, np.float32), "whitening": np.eye(3, dtype=np.float32), "limit": np.float32([2.0])}
    save_file(old, tmp_path / "d.safetensors")
    detector = load_detector(tmp_path / "d.safetensors")
    assert detector.read({"visual": np.ones((4, 3), np.float32)}).inside
    assert not detector.read({"visual": 2 * np.ones((4, 3), np.float32)}).inside


def test_another_kind_of_video_is_flagged_and_one_of_the_same_kind_is_not(run, tmp_path):
    from conftest import make_video

    for i in range(6):
        make_video(tmp_path / f"{i}.mp4", 300 + 10 * i)
    splits = ["train", "train", "train", "train", "test", "test"]
    rows = [f"{i}.mp4,{split},{10 * i}" for i, split in enumerate(splits)]
    (tmp_path / "m.csv").write_text("path,split,TES\n" + "\n".join(rows))
    trained = run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "b", "--epochs", 1, "--width", 32)
    assert trained.exit_code == 0, trained.stderr
    assert "domain.safetensors" in json.loads((tmp_path / "b" / "bundle.json").read_text())["files"]

    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (96, 128, 3), dtype=np.uint8) for _ in range(70)]
    strange = make_video(tmp_path / "noise.mp4", frames=noise)
    score = run("score", strange, "-w", tmp_path / "b", "-f", "json").json()
    assert score["domain"]["distance"] > score["domain"]["limit"]
    assert not score["domain"]["inside"]
    assert any("unlike" in warning for warning in score["warnings"])
    assert "out of domain" in run("score", strange, "-w", tmp_path / "b").stdout
    for form in ("csv", "json", "jsonl"):  # each says it in a field of its own
        both = [strange, tmp_path / "5.mp4"]
        command = ["score", *both, "-w", tmp_path / "b", "-f", form, "--report", tmp_path / "pages", "--strict"]
        result = CliRunner().invoke(app, list(map(str, command)))
        assert result.exit_code == 1
        said = [line for line in result.stderr.splitlines() if "out of domain" in line]
        assert said == [f"error: {strange}: {UNFAMILIAR}"]
        if form == "csv":
            assert [row["in_domain"] for row in csv.DictReader(io.StringIO(result.stdout))] == ["no", "yes"]
    assert run("score", strange, "-w", tmp_path / "b").exit_code == 0
    assert run("score", tmp_path / "5.mp4", "-w", tmp_path / "b", "--strict").exit_code == 0
    index = (tmp_path / "pages" / "index.html").read_text()
    assert {one.name: one.in_domain for one in read_index(tmp_path / "pages")} == {"noise.mp4": False, "5.mp4": True}
    assert '<tr class="outside">' in index
    assert '<main class="outside">' in (tmp_path / "pages" / "noise.mp4.html").read_text()
    assert '<main class="outside">' not in (tmp_path / "pages" / "5.mp4.html").read_text()

    really = CliRunner().invoke(app, ["score", str(strange), "-w", str(tmp_path / "b")]).stderr
    assert sum(line == f"warning: {strange}: {UNFAMILIAR}" for line in really.splitlines()) == 1

    known = run("score", tmp_path / "5.mp4", "-w", tmp_path / "b", "-f", "json").json()
    assert known["domain"]["inside"]
    assert not any("unlike" in warning for warning in known["warnings"])
