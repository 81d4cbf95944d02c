import json

import numpy as np
import pytest
from conftest import make_video, shell
from safetensors import safe_open

from mlavl_cli.features.store import read_features


@pytest.fixture
def folder(tmp_path):
    make_video(tmp_path / "in" / "one.mp4", 70)
    make_video(tmp_path / "in" / "deep" / "two.mp4", 40)
    return tmp_path / "in"


def test_a_store_mirrors_the_folder(run, folder, tmp_path):
    result = run("extract-features", folder, "-o", tmp_path / "out", "--precision", "fp32")
    assert result.exit_code == 0
    assert [str(tmp_path / "out" / name) for name in ("deep/two.mp4.safetensors", "one.mp4.safetensors")] == (
        result.stdout.splitlines()
    )
    features = read_features(tmp_path / "out" / "one.mp4.safetensors")
    assert (features.visual.shape, features.audio.shape) == ((2, 192), (2, 96))
    with safe_open(tmp_path / "out" / "one.mp4.safetensors", "np") as file:
        about = json.loads(file.metadata()["mlavl"])
    assert about["provenance"]["precision"] == "fp32"
    assert about["provenance"]["source"]["size"] == (folder / "one.mp4").stat().st_size


def test_only_what_is_missing_or_stale_is_made(run, folder, tmp_path):
    out = tmp_path / "out"
    run("extract-features", folder, "-o", out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.safetensors")}
    make_video(folder / "one.mp4", 100)  # changed
    make_video(folder / "three.mp4", 40)  # new
    result = run("extract-features", folder, "-o", out, "-v")
    assert len(result.stdout.splitlines()) == 3
    assert result.stderr.count("already there") == 1
    assert (out / "deep" / "two.mp4.safetensors").stat().st_mtime_ns == before[out / "deep" / "two.mp4.safetensors"]
    assert read_features(out / "one.mp4.safetensors").clips == 3
    redone = run("extract-features", folder, "-o", out, "-v", "--tail", "pad")  # other settings
    assert "already there" not in redone.stderr
    assert read_features(out / "one.mp4.safetensors").clips == 4


def test_an_interrupted_run_ends_in_the_same_store(run, folder, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run("extract-features", folder, "-o", whole)
    import mlavl_cli.features.extract as extract

    real, calls = extract.prepare_file, []

    def once(*args):
        calls.append(args)
        if len(calls) == 2:
            raise MemoryError
        return real(*args)

    monkeypatch.setattr(extract, "prepare_file", once)
    assert run("extract-features", folder, "-o", broken).exit_code == 1
    monkeypatch.undo()
    assert run("extract-features", folder, "-o", broken).exit_code == 0
    for path in whole.rglob("*.safetensors"):
        assert (broken / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_other_backbones_by_folder(run, folder, tmp_path):
    from mlavl_cli.bundle import find_bundle

    audio = find_bundle("mini").audio.source
    result = run("extract-features", folder, "-o", tmp_path / "out", "--audio", audio)
    assert result.exit_code == 0
    a, b = (read_features(tmp_path / "out" / "one.mp4.safetensors") for _ in range(2))
    np.testing.assert_array_equal(a.audio, b.audio)


def test_backbones_that_are_not_here_stop_the_run_with_one_line(run, folder, tmp_path):
    result = run("extract-features", folder, "-o", tmp_path / "out", "--backbones", "fs1000")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    for part in ("facebook/timesformer-base-finetuned-k400", "8aaf40ea", "hf download", "cache at"):
        assert part in result.stderr


@pytest.mark.parametrize("preset", ["fisv", "rg"])
def test_video_swin_that_is_not_here_says_how_to_get_it(run, folder, tmp_path, preset, monkeypatch):
    import torch

    def refused(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refused)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refused)
    result = run("extract-features", folder, "-o", tmp_path / "out", "--backbones", preset)
    assert result.exit_code == 1
    assert "torchvision/swin3d_b: not in torch's cache" in result.errors[0]


@pytest.mark.slow
def test_a_compiled_backbone_sees_the_same(run, tmp_path, routine):
    stores = [tmp_path / name for name in ("plain", "compiled")]
    for store, options in zip(stores, ([], ["--compile"]), strict=True):
        assert run("extract-features", routine, "-o", store, *options).exit_code == 0
    plain, compiled = (read_features(store / "routine.mp4.safetensors") for store in stores)
    cosines = (plain.visual * compiled.visual).sum(1) / np.prod(
        [np.linalg.norm(features.visual, axis=1) for features in (plain, compiled)], axis=0
    )
    assert cosines.min() > 0.999
    np.testing.assert_array_equal(plain.audio, compiled.audio)


@pytest.mark.slow
def test_no_compiler_is_one_line(tmp_path, routine):
    nothing = {"PATH": str(tmp_path), "CXX": str(tmp_path / "g++"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    result = shell("extract-features", routine, "-o", tmp_path / "store", "--compile", **nothing)
    assert result.exit_code == 1
    (line,) = result.errors
    assert "can't compile the visual backbone" in line
    assert "leave out --compile" in line
