"""--plot: what is drawn can be opened, and holds what it should."""

import re

import pytest
from conftest import make_video
from datasets import layouts
from PIL import Image


def test_a_timeline_is_drawn_in_every_form(run, tmp_path, routine, silent_routine):
    for form in ("png", "svg", "pdf"):
        assert run("score", routine, "--plot", tmp_path / f"t.{form}", "-q").exit_code == 0
    with Image.open(tmp_path / "t.png") as picture:
        assert picture.size[0] > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 20  # not empty
    svg = (tmp_path / "t.svg").read_text()
    assert svg.startswith("<?xml")
    assert (tmp_path / "t.pdf").read_bytes().startswith(b"%PDF")
    assert run("score", silent_routine, "--plot", tmp_path / "s.svg", "-q").exit_code == 0
    axes = [len(re.findall(r'id="axes_\d+"', text)) for text in (svg, (tmp_path / "s.svg").read_text())]
    assert axes == [3, 2]  # fit, quality, attention; without sound no fit


def test_what_cannot_be_drawn_is_said_before_the_work(run, tmp_path, routine):
    result = run("score", routine, "--plot", tmp_path / "t.gif")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "can't draw .gif" in result.errors[0]
    make_video(tmp_path / "in" / "a.mp4", 40)
    make_video(tmp_path / "in" / "b.mp4", 40)
    result = run("score", tmp_path / "in", "--plot", tmp_path / "t.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--report" in result.errors[0]


@pytest.mark.parametrize(
    ("options", "panels"),
    [
        ([], 3),
        pytest.param(["--lambda-c", "1", "--align-epochs", "1"], 4, marks=pytest.mark.slow),
    ],
)
def test_training_and_judging_are_drawn(run, tmp_path, options, panels):
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    command = ["train", "fisv", root, "-o", tmp_path / "b", "--text-features", text, "--epochs", 3, "--width", 32]
    result = run(*command, "-t", "TES", "-t", "PCS", "-q", "--plot", tmp_path / "curves.svg", *options)
    assert result.exit_code == 0, result.stderr
    assert len(re.findall(r'id="axes_\d+"', (tmp_path / "curves.svg").read_text())) == panels
    judged = ["evaluate", "fisv", root, "-w", tmp_path / "b", "--bootstrap", 0]
    assert run(*judged, "--plot", tmp_path / "scatter.svg").exit_code == 0
    assert len(re.findall(r'id="axes_\d+"', (tmp_path / "scatter.svg").read_text())) == 4  # two targets, two rows
