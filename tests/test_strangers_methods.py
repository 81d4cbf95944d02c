"""Strangers' files for the methods of the literature: heads, tokens, tables and features that ask for too much."""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import layouts
from safetensors.torch import save_file

from mlavl_cli.datasets.load import load_dataset
from mlavl_cli.device import place
from mlavl_cli.errors import DataError, FeatureError, WeightsError
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.store import read_features, write_features
from mlavl_cli.features.text_features import read_text_features
from mlavl_cli.heads.checkpoint import TargetHead, load_head, save_head
from mlavl_cli.heads.dims import MOST_CLIPS
from mlavl_cli.heads.methods import head_class
from mlavl_cli.media.decode import VideoInfo

CPU = place("cpu")


def forged(path: Path, model: str, **dims) -> Path:
    """A head without tensors whose metadata says so."""
    sizes = {"visual_dim": 16, "actions": 1, "audio_dim": 8, "language": False, "mag2": False, "width": 8, "heads": 1}
    metadata = {
        "version": 1, "model": model, "dims": {**sizes, **dims}, "target": "TES", "score_range": [0, 45],
        "grades": ["a"] * 6, "prompts": [], "window": None, "full_stop": None,
    }  # fmt: skip
    save_file({}, path, {"mlavl": json.dumps(metadata)})
    return path


@pytest.mark.parametrize(
    ("model", "dims", "cause"),
    [
        ("pamfn", {"candidates": 60_000}, "60000 mixtures"),
        ("tpt", {"parts": 60_000}, "60000 parts"),
        ("mlp-mixer", {"tokens": 8192}, "more than a head has"),
        ("mlavl", {"temporal_conv": 60_000}, "more than a head has"),
        ("mlavl", {"consistency_decay": 60_000}, "more than a head has"),
        ("qtd", {"visual_dim": 8192, "clips": 8}, "no features are"),
        ("cofinal", {"width": 2}, "embed_dim|shape|sizes|heads"),
        ("mcmoe", {"width": 2}, "embed_dim|shape|sizes|heads"),
        ("qtd", {"mag2": True, "language": True, "heads": 3, "width": 6, "clips": 8}, "embed_dim|shape|sizes|heads"),
    ],
)
def test_sizes_that_no_head_has_are_refused_at_once(tmp_path, model, dims, cause):
    begin = time.process_time()
    with pytest.raises(WeightsError, match=cause):
        load_head(forged(tmp_path / "h.safetensors", model, **dims))
    assert time.process_time() - begin < 5


def test_a_checkpoint_of_empty_tensors_is_refused_at_once(run, tmp_path):
    """Its shapes ask for thirty thousand mixtures of nothing."""
    state = {f"stage{stage}.f_fusion.policy.0.weight": torch.zeros(30_000, 0) for stage in (1, 2, 3)}
    torch.save(state, tmp_path / "a.pth")
    options = ["--model", "pamfn", "-t", "TES", "--range", "0:45", "--backbones", "mini", "-o", tmp_path / "o"]
    begin = time.process_time()
    result = run("weights", "import", tmp_path / "a.pth", *options)
    assert result.exit_code == 1
    assert "internal error" not in result.stderr
    assert time.process_time() - begin < 20


@pytest.mark.parametrize("shape", [(150_000, 0, 8192), (2, 20_000, 2), (0, 4, 16)])
def test_tokens_of_fs1000_are_as_many_as_a_clip_has(tmp_path, shape):
    root = layouts.fs1000(tmp_path / "d")
    np.save(root / "output_feature_fs1000_new" / "test0.npy", np.zeros(shape, np.float32))
    with pytest.raises(DataError, match="visual features have shape"):
        load_dataset("fs1000", root, CPU)


def entry(path: Path, clips: int = 3, **changes) -> Path:
    """A feature file as an extraction writes it."""
    times = np.arange(clips, dtype=np.float64)
    rng = np.random.default_rng([*path.name.encode(), clips])
    features = RoutineFeatures(
        rng.normal(size=(clips, 8)).astype(np.float32), rng.normal(size=(clips, 4)).astype(np.float32), times,
        times + 1, VideoInfo("a.mp4", float(clips), 25.0, 96, 64, True), {"backbones": {}},
    )  # fmt: skip
    path.parent.mkdir(exist_ok=True, parents=True)
    write_features(path, replace(features, **changes))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": np.zeros((3, 8192, 2), np.float32)},
        {"picture_statistics": np.zeros((3, 4096), np.float32)},
        {"picture_statistics": np.zeros((3, 7), np.float32)},
        {"sound_statistics": np.zeros((3, 20), np.float32)},
        {"visual": np.zeros((3, 8192), np.float32)},
    ],
)
def test_tables_of_a_store_are_as_wide_as_they_are_made(tmp_path, changes):
    path = entry(tmp_path / "a.safetensors")
    features = read_features(path)
    for name, rows in changes.items():
        object.__setattr__(features, name, rows)  # which it would have refused
    write_features(path, features)
    with pytest.raises(FeatureError, match="no feature file"):
        read_features(path)


def test_features_beyond_any_backbones_are_refused(tmp_path):
    with pytest.raises(FeatureError, match="beyond"):
        entry(tmp_path / "a.safetensors", visual=np.full((3, 8), 3e38, np.float32))


@pytest.fixture
def manifest(tmp_path):
    """Eighteen feature files; the last one may be odd."""

    def write(**odd):
        rows = ["path,split,X"]
        for i in range(18):
            last = odd if i == 17 else {}
            entry(tmp_path / "f" / f"{i}.safetensors", **{"clips": 3 + i % 3, **last})
            rows.append(f"f/{i}.safetensors,{'train' if i < 14 else 'test'},{i}")
        (tmp_path / "m.csv").write_text("\n".join(rows))
        return tmp_path / "m.csv"

    return write


OPTIONS = ("--width", "16", "--epochs", "1", "--batch-size", "4")


def test_learning_from_very_many_clips_needs_a_window(run, manifest, tmp_path):
    path = manifest(clips=22_000)
    for model in ("gdlt", "action-net"):
        options = [*OPTIONS, "--validation", "test", "-o", tmp_path / model]
        result = run("train", "manifest", path, "--model", model, *options)
        assert result.exit_code == 1
        assert "22000 clips" in result.stderr
        assert "--window" in result.stderr
    assert (
        run("train", "manifest", path, "--model", "gdlt", *OPTIONS, "--window", "8", "-o", tmp_path / "w").exit_code
        == 0
    )


@pytest.mark.parametrize("name", ["action-net", "gdlt", "mcmoe", "tpt"])
def test_what_compares_all_clips_with_all_reads_no_endless_routine(run, manifest, tmp_path, name):
    kind = head_class(name)
    audio = 0 if kind.visual_only else 4
    dims = kind.Dims(8, 1, audio_dim=audio, width=16, heads=1, mag2=False, language=False)
    head = TargetHead(kind(dims), "X", (0.0, 12.0), ("a",) * dims.grades)
    assert head.wrong_width(8, audio, 1, MOST_CLIPS) is None
    assert "compares all with all" in head.wrong_width(8, audio, 1, MOST_CLIPS + 1)


def test_a_head_of_billions_of_numbers_is_not_begun(run, manifest, tmp_path):
    path = manifest()
    for file in (tmp_path / "f").iterdir():
        features = read_features(file)
        write_features(file, replace(features, visual=np.zeros((features.clips, 4096), np.float32)))
    result = run("train", "manifest", path, "--model", "qtd", *OPTIONS, "-o", tmp_path / "o")
    assert result.exit_code == 1
    assert "million numbers to learn" in result.stderr


def test_one_method_that_fails_leaves_the_others(run, manifest, tmp_path, monkeypatch):
    from mlavl_cli.heads.usdl import USDL

    def broken(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1000000000000 bytes")

    monkeypatch.setattr(USDL, "loss", broken)
    models = ("--model", "usdl", "--model", "lstm", "--seeds", "1")
    result = run("train", "manifest", manifest(), *models, *OPTIONS, "-o", tmp_path / "o", "-f", "json")
    assert result.exit_code == 0
    assert [row["method"] for row in result.json()] == ["lstm"]
    assert "X usdl: left out, it can't be trained on this" in result.stderr
    alone = run("train", "manifest", tmp_path / "m.csv", "--model", "usdl", *OPTIONS, "-o", tmp_path / "p")
    assert "takes more memory than there is" in alone.stderr


@pytest.mark.parametrize(
    "changes",
    [
        {"predicted": [1.0]}, {"predicted": ["x"] * 4}, {"parameters": "x"}, {"srcc": None}, {"best_srcc": "text"},
        {"variant": {}}, {"mse": float("inf")}, {"epoch": True},
    ],
)  # fmt: skip
def test_a_forged_cell_is_left_out(run, manifest, tmp_path, changes):
    models = ("--model", "lstm", "--model", "usdl", "--seeds", "1")
    command = ("train", "manifest", manifest(), *models, *OPTIONS, "-o", tmp_path / "o", "-f", "json")
    assert run(*command).exit_code == 0
    cell = tmp_path / "o" / "runs" / "X" / "usdl" / "seed-0" / "cell.json"
    cell.write_text(json.dumps({**json.loads(cell.read_text()), **changes}))
    again = run(*command)
    assert again.exit_code == 0
    assert "usdl: left out, " in again.stderr
    assert "cell.json: is no cell of a table" in again.stderr
    assert [row["method"] for row in again.json()] == ["lstm"]


def test_a_state_without_a_look_at_the_test_split_is_no_crash(run, manifest, tmp_path):
    command = ("train", "manifest", manifest(), "--model", "lstm", "--seeds", "1", *OPTIONS, "-o", tmp_path / "o")
    assert run(*command).exit_code == 0
    folder = tmp_path / "o" / "runs" / "X" / "lstm" / "seed-0"
    state = torch.load(folder / "last.pt", weights_only=True)
    for epoch in state["history"]:
        epoch["test_srcc"] = epoch["test_mse"] = None
    torch.save(state, folder / "last.pt")
    (folder / "cell.json").unlink()
    assert "internal error" not in run(*command, "-f", "json").stderr


def test_an_alignment_of_something_else_is_one_line(run, tmp_path):
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    options = ["--text-features", text, "--lambda-c", "1", "--align-epochs", "1", "-t", "TES", "-o", tmp_path / "o"]
    assert run("train", "fisv", root, *options, *OPTIONS).exit_code == 0
    (kept,) = (tmp_path / "o" / "runs").glob("aligned-*.pt")
    state = torch.load(kept, weights_only=True)
    state["asked"] = dict.fromkeys(state["asked"], torch.zeros(3))
    torch.save(state, kept)
    (tmp_path / "o" / "runs" / "TES" / "mlavl" / "last.pt").unlink()
    result = run("train", "fisv", root, *options, *OPTIONS)
    assert result.exit_code in (0, 1)
    assert "internal error" not in result.stderr


def test_exemplars_of_another_width_are_named(run, tmp_path):
    root = layouts.fisv(tmp_path / "d")
    head = head_class("core")
    model = head(head.Dims(layouts.D, 1, audio_dim=0, mag2=False, language=False))
    torch.save(
        {name: t for name, t in model.state_dict().items() if not name.startswith(head.private)}, tmp_path / "c.pth"
    )
    features = np.load(root / "FISV_rgb_VST.npy", allow_pickle=True).item()
    features["train1"] = np.zeros((len(features["train1"]), layouts.D + 1), np.float32)
    np.save(root / "FISV_rgb_VST.npy", np.array(features, dtype=object), allow_pickle=True)
    options = ["--model", "core", "-t", "TES", "--range", "0:45", "--backbones", "mini", "-o", tmp_path / "o"]
    result = run("weights", "import", tmp_path / "c.pth", *options, "--exemplars", "fisv", root)
    assert result.exit_code == 2
    assert "--exemplars: train1: visual features are 17 wide" in result.stderr


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2"])
def test_text_features_of_eight_bits(tmp_path, kind):
    rows = torch.randn(26, 12).to(getattr(torch, kind))
    save_file({"text_features": rows}, tmp_path / "t.safetensors")
    assert read_text_features(tmp_path / "t.safetensors").rows.dtype == torch.float32


def test_a_full_disk_while_training_says_so(tmp_path):
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    command = [sys.executable, "-m", "mlavl_cli", "train", "fisv", root, "--text-features", text, "-t", "TES",
               "--model", "gdlt", *OPTIONS, "-o", tmp_path / "o"]  # fmt: skip
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert "can't be written" in line or "Make room" in line


def test_saved_heads_are_read_again(tmp_path):
    """The bounds are none that a head of ours meets."""
    for name in ("pamfn", "tpt", "mlp-mixer", "qtd"):
        kind = head_class(name)
        sizes = {"clips": 8} if kind.Dims.clips else {}
        dims = kind.Dims(16, 1, audio_dim=0 if kind.visual_only else 8, mag2=False, language=False, **sizes)
        save_head(tmp_path / "h.safetensors", TargetHead(kind(dims), "X", (0.0, 1.0), ("a",) * dims.grades))
        assert asdict(load_head(tmp_path / "h.safetensors").model.dims) == asdict(dims)
