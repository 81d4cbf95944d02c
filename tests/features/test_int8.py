"""Feed-forward layers in int8: close to fp32, each row by itself, right on CPUs that would saturate."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import make_video, moving_square
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mlavl_cli.device import place
from mlavl_cli.features.int8 import FEWER_LEVELS, LEVELS, Int8Linear


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 70), st.integers(1, 70), st.booleans(),
    st.sampled_from([LEVELS, FEWER_LEVELS]), st.floats(-8, 8),
)  # fmt: skip
def test_a_layer_is_as_near_as_its_steps(sizes, wide, out, bias, levels, magnitude):
    torch.manual_seed(out)
    linear = nn.Linear(wide, out, bias)
    rows = torch.randn(*sizes, wide) * 10.0**magnitude
    with torch.inference_mode():
        exact, near = linear(rows), Int8Linear(linear, levels)(rows)
        assert near.shape == exact.shape
        # Either factor is off by half a step at the most: of the largest magnitude in its row, divided by the levels.
        largest, weights = rows.abs().amax(-1, keepdim=True), linear.weight.abs()
        off = (weights.sum(1) * largest + rows.abs().sum(-1, keepdim=True) * weights.amax(1)) / levels / 2
        off += wide * largest * weights.amax(1) / (2 * levels) ** 2
        assert ((near - exact).abs() <= 1.01 * off + 1e-5 * (largest + exact.abs())).all()


def test_rows_do_not_depend_on_each_other():
    linear = Int8Linear(nn.Linear(48, 96))
    rows = torch.cat([torch.randn(20, 48), 1e4 * torch.randn(1, 48), torch.zeros(1, 48)])
    with torch.inference_mode():
        together, alone = linear(rows), torch.cat([linear(row[None]) for row in rows])
    assert torch.equal(together, alone)
    assert torch.equal(together[-1], linear.bias)


def test_fewer_levels_hold_where_a_cpu_adds_products_in_16_bits():
    code = """
import torch
from torch import nn
from mlavl_cli.features.int8 import FEWER_LEVELS, Int8Linear
torch.manual_seed(0)
linear = nn.Linear(768, 256)
rows = torch.randn(300, 768)
with torch.inference_mode():
    print(float(torch.cosine_similarity(linear(rows), Int8Linear(linear, FEWER_LEVELS)(rows)).min()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
    )  # fmt: skip
    assert float(done.stdout) > 0.999


def test_scores_in_int8_stay_within_a_fiftieth_of_the_range(run, routine, tmp_path):
    def scored(precision):
        result = run("score", routine, "--precision", precision, "--device", "cpu", "-f", "json")
        assert result.exit_code == 0, result.stderr
        return result.json()

    exact, fast = scored("fp32"), scored("int8")
    assert fast["precision"] == "int8"
    for target, known in exact["scores"].items():
        low, high = known["range"]
        assert abs(fast["scores"][target]["score"] - known["score"]) < (high - low) / 50


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["extract-features", ".", "-o", "store", "--precision", "int8", "--compile"], "int8 is for CPUs"),
        (["train", "fs1000", ".", "--precision", "int8"], "--precision"),
    ],
)
def test_int8_where_it_cannot_be(run, words, cause):
    result = run(*words)
    assert result.exit_code == 2
    assert cause in result.stderr


def test_features_in_int8_are_taken_only_where_int8_is_asked_for(run, routine, tmp_path):
    assert run("extract-features", routine, "-o", tmp_path, "--precision", "int8", "-q").exit_code == 0
    for options, precision in ((("--precision", "int8"), "int8"), ((), place("cpu").precision)):
        score = run("score", routine, "--features", tmp_path, "-f", "json", *options).json()
        assert score["precision"] == precision


def test_int8_features_that_a_manifest_finds_are_told_and_made_anew_where_asked(run, routine, tmp_path):
    store, csv = tmp_path / "s", tmp_path / "m.csv"
    rows = []
    for i in range(4):
        made = make_video(tmp_path / f"{i}.mp4", [moving_square(5 * i + k, 96, 64) for k in range(70 + 8 * i)])
        rows.append(f"{made.name},test,{20 + i}")
    csv.write_text("\n".join(["path,split,TES", *rows]))
    assert run("extract-features", *tmp_path.glob("*.mp4"), "-o", store, "--precision", "int8", "-q").exit_code == 0
    judge = ("evaluate", "manifest", csv, "-w", "mini", "-t", "TES", "--features", store)
    assert "features of 4 videos were made with --precision int8, 0.mp4 first" in run(*judge).stderr
    assert run(*judge, "--extract-again").exit_code == 0
    assert "int8" not in run(*judge).stderr
